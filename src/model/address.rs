//! RemoteAddress (ONVIF Uplink §6.1): the URL by which the remote is reached and the key of an uplink within its device.

use std::fmt;

use url::{Host, Url};

/// How the reversed connection is carried: the scheme of RemoteAddress decides (ONVIF Uplink 26.06, Establishing the reverse tunnel).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Native h2c-reverse over TLS.
    Https,
    /// h2c-reverse within a WebSocket over TLS.
    Wss,
}

impl Scheme {
    /// The scheme as it is written in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Wss => "wss",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A parsed RemoteAddress. Equality and order go by the text as it was configured: that is the specification's key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteAddress {
    text: String,
    scheme: Scheme,
    host: Host<String>,
    port: u16,
    path_and_query: String,
}

impl RemoteAddress {
    /// Reads a RemoteAddress. A bare `host:port` means https: the draft device test specification configures it so
    /// (UPLINK-1-1-1).
    ///
    /// # Errors
    /// A sentence that says what is wrong with the text and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bare;
        let absolute = if text.contains("://") {
            text
        } else {
            bare = format!("https://{text}");
            &bare
        };
        let url = Url::parse(absolute).map_err(|error| {
            // A query may hold an access token, and what stands before an `@` a password: neither is quoted.
            let plain = text.split(['?', '#']).next().unwrap_or_default();
            let plain = plain.rsplit('@').next().unwrap_or_default();
            format!("`{plain}` is not a URL ({error}); write https://HOST:PORT/PATH")
        })?;
        let scheme = match url.scheme() {
            "https" => Scheme::Https,
            "wss" => Scheme::Wss,
            other => return Err(format!("the scheme `{other}` is not one of an uplink; write https:// or wss://")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "a remote address has no user name or password; use certificateID or authorizationServer".to_owned()
            );
        }
        if url.fragment().is_some() {
            return Err("a remote address has no fragment (`#…`); remove it".to_owned());
        }
        let host = url
            .host()
            .ok_or_else(|| "the remote address names no host; write https://HOST:PORT/PATH".to_owned())?
            .to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let path_and_query = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        let path_and_query = if path_and_query.is_empty() { "/".to_owned() } else { path_and_query };
        Ok(Self { text: text.to_owned(), scheme, host, port, path_and_query })
    }

    /// The carrier.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// DNS name or IP address of the remote.
    pub fn host(&self) -> &Host<String> {
        &self.host
    }

    /// TCP port; 443 if the address has none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The request target of the upgrade (design decision: path and query of RemoteAddress, `/` if none).
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// The value of the `Host` header: the port only when it is not the scheme's default (RFC 9112 §3.2).
    pub fn authority(&self) -> String {
        if self.port == 443 { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }

    /// The address as it was configured: the key in the specification's sense. It may hold a token in its query: for logs
    /// and metrics use `Display`.
    pub fn as_configured(&self) -> &str {
        &self.text
    }
}

/// Prints the address without its query, which may hold an access token (RFC 6750 §2.3).
impl fmt::Display for RemoteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        write!(f, "{}://{}{path}", self.scheme, self.authority())
    }
}

impl fmt::Debug for RemoteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_address_is_taken_apart() {
        let address = RemoteAddress::parse("https://cloud.example.com:8443/uplink?site=7").expect("valid");
        assert_eq!(address.scheme(), Scheme::Https);
        assert_eq!(address.authority(), "cloud.example.com:8443");
        assert_eq!(address.path_and_query(), "/uplink?site=7");
        assert_eq!(address.port(), 8443);
    }

    #[test]
    fn a_bare_host_and_port_means_https() {
        let address = RemoteAddress::parse("192.0.2.7:8080").expect("quirk Q7");
        assert_eq!(address.to_string(), "https://192.0.2.7:8080/");
        assert_eq!(address.as_configured(), "192.0.2.7:8080");
    }

    #[test]
    fn an_ipv6_address_keeps_its_brackets_in_the_authority() {
        let address = RemoteAddress::parse("https://[2001:db8::1]:444").expect("valid");
        assert_eq!(address.authority(), "[2001:db8::1]:444");
        assert_eq!(address.path_and_query(), "/");
    }

    #[test]
    fn the_query_never_shows_in_logs() {
        let address = RemoteAddress::parse("wss://cloud/u?access_token=secret").expect("valid");
        assert!(!format!("{address} {address:?}").contains("secret"));
    }

    #[test]
    fn an_error_quotes_neither_the_query_nor_a_password() {
        for text in [
            "https://cloud:99999/u?access_token=secret",
            "https://?access_token=secret",
            "https://me:secret@cloud:99999/",
            "http://cloud/?access_token=secret",
            "https://cloud/?access_token=secret#top",
        ] {
            let error = RemoteAddress::parse(text).expect_err(text);
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_is_no_uplink_address_is_refused_with_the_mend() {
        for (text, part) in [
            ("http://cloud/", "https:// or wss://"),
            ("https://user:pw@cloud/", "certificateID"),
            ("https://cloud/#top", "fragment"),
            ("https://", "not a URL"),
            ("", "not a URL"),
        ] {
            let error = RemoteAddress::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
