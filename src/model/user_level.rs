//! User levels (ONVIF Core, User-based access control): what the remote may do through an uplink.

use std::fmt;

/// One entry of an uplink's UserLevel list: a built-in level or the name of a role (25.12).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserLevel {
    /// Everything.
    Administrator,
    /// Operation and media, no administration.
    Operator,
    /// Viewing.
    User,
    /// A custom role by name.
    Role(String),
}

impl UserLevel {
    /// Reads a level or role; the built-in ones may carry the prefix `onvif:` of 25.12.
    ///
    /// # Errors
    /// A sentence: an empty name, a name with white space, an unknown name with the reserved prefix, or Anonymous, which
    /// an uplink cannot have because it is the level of nobody.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("onvif:").unwrap_or(text) {
            "Administrator" => Ok(Self::Administrator),
            "Operator" => Ok(Self::Operator),
            "User" => Ok(Self::User),
            "Anonymous" => Err("an uplink cannot have the level Anonymous; use User".to_owned()),
            _ if text.starts_with("onvif:") => Err(format!(
                "`{text}` is none of onvif:Administrator, onvif:Operator, onvif:User; the prefix onvif: is reserved"
            )),
            role if role.is_empty() || role.contains(char::is_whitespace) => {
                Err("a role has a name without spaces; write Administrator, Operator, User or the name of a role"
                    .to_owned())
            }
            role => Ok(Self::Role(role.to_owned())),
        }
    }
}

impl fmt::Display for UserLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Administrator => "Administrator",
            Self::Operator => "Operator",
            Self::User => "User",
            Self::Role(name) => name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_levels_are_read_with_and_without_the_prefix() {
        assert_eq!(UserLevel::parse("Operator"), Ok(UserLevel::Operator));
        assert_eq!(UserLevel::parse("onvif:User"), Ok(UserLevel::User));
        assert_eq!(UserLevel::parse("Guards"), Ok(UserLevel::Role("Guards".to_owned())));
    }

    #[test]
    fn what_is_no_level_is_refused() {
        for text in ["", "night guards", "onvif:Root", "Anonymous"] {
            assert!(UserLevel::parse(text).is_err(), "{text}");
        }
    }
}
