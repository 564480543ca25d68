//! How a device is named outside: what becomes of the addresses in its answers (ONVIF Core §GetServices).

use std::collections::BTreeSet;

/// Addresses of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Addresses {
    /// What its addresses become.
    pub rewrite: Rewrite,
    /// Further loopback ports of its web services that may be reached, each by a path of its own.
    pub ports: BTreeSet<u16>,
}

/// What the addresses in a device's answers become.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rewrite {
    /// That by which it was asked.
    #[default]
    Authority,
    /// Always this one: `https://cameras.example.com/camera-1`, without a slash at the end.
    Fixed(String),
    /// What the device says.
    None,
}

impl Rewrite {
    /// Reads `authority`, `none`, or a fixed address.
    ///
    /// # Errors
    /// A sentence with the mend.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "authority" => return Ok(Self::Authority),
            "none" => return Ok(Self::None),
            _ => {}
        }
        let mend = "write authority, none, or an address such as https://cameras.example.com/camera-1";
        let url = url::Url::parse(text).map_err(|error| format!("`{text}` is not a URL ({error}); {mend}"))?;
        let plain =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() || !plain {
            return Err(format!("`{text}` is no address that could stand before a path; {mend}"));
        }
        Ok(Self::Fixed(text.trim_end_matches('/').to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_address_has_no_slash_at_its_end() {
        assert_eq!(Rewrite::parse("authority"), Ok(Rewrite::Authority));
        assert_eq!(Rewrite::parse("none"), Ok(Rewrite::None));
        assert_eq!(Rewrite::parse("https://c.example/a/"), Ok(Rewrite::Fixed("https://c.example/a".to_owned())));
    }

    #[test]
    fn what_could_not_stand_before_a_path_is_refused() {
        for text in ["", "yes", "rtsp://c/", "https://", "https://u:p@c/", "https://c/?q", "https://c/#f"] {
            assert!(Rewrite::parse(text).is_err(), "{text}");
        }
    }
}
