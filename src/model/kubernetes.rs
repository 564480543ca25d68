//! Names of Kubernetes: those of objects, and of keys in ConfigMaps and Secrets. They become paths of files and of the API, so they
//! are checked before anything is done with them.

use std::fmt;

/// Longest name of an object and longest key (RFC 1123 subdomain, `IsDNS1123Subdomain` and `IsConfigMapKey`).
const MAX_NAME: usize = 253;
/// Longest namespace (RFC 1123 label).
const MAX_NAMESPACE: usize = 63;
/// Key of a ConfigMap that holds the document if none is named.
pub const DEFAULT_KEY: &str = "uplinks.yaml";

/// The document as a key of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConfigMapKey {
    /// Namespace of the ConfigMap.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The key that holds the document.
    pub key: String,
}

impl ConfigMapKey {
    /// Reads `NAMESPACE/NAME[/KEY]`; the key is [`DEFAULT_KEY`] if it is missing.
    ///
    /// # Errors
    /// A sentence: what is wrong and how it is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/');
        let (Some(namespace), Some(name), key, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err("write NAMESPACE/NAME or NAMESPACE/NAME/KEY".to_owned());
        };
        let key = key.unwrap_or(DEFAULT_KEY);
        check_namespace(namespace)?;
        check_name(name)?;
        check_key(key)?;
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned(), key: key.to_owned() })
    }
}

impl fmt::Display for ConfigMapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.name, self.key)
    }
}

fn is_label(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether a namespace may have this name (a DNS label).
///
/// # Errors
/// A sentence that says how namespaces look.
pub fn check_namespace(name: &str) -> Result<&str, String> {
    if name.len() <= MAX_NAMESPACE && is_label(name) {
        return Ok(name);
    }
    Err(format!(
        "`{}` is no namespace: lower-case letters, digits and inner `-`, at most {MAX_NAMESPACE}",
        name.chars().take(MAX_NAME).collect::<String>().escape_debug()
    ))
}

/// Whether an object may have this name (a DNS subdomain).
///
/// # Errors
/// A sentence that says how names look.
pub fn check_name(name: &str) -> Result<&str, String> {
    if name.len() <= MAX_NAME && name.split('.').all(is_label) {
        return Ok(name);
    }
    Err(format!(
        "`{}` is no name of an object of Kubernetes: lower-case letters, digits, inner `-` and `.`, at most {MAX_NAME}",
        name.chars().take(MAX_NAME).collect::<String>().escape_debug()
    ))
}

/// Whether a ConfigMap or Secret may have this key.
///
/// # Errors
/// A sentence that says how keys look.
pub fn check_key(key: &str) -> Result<&str, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    // What begins with `..` are kubelet's own entries, and `.` is the directory.
    if !key.is_empty() && key.len() <= MAX_NAME && key.chars().all(allowed) && key != "." && !key.starts_with("..") {
        return Ok(key);
    }
    Err(format!(
        "`{}` is no key: letters, digits, `-`, `_` and `.`, at most {MAX_NAME}, not beginning with `..`",
        key.chars().take(MAX_NAME).collect::<String>().escape_debug()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_map_key_is_written_with_or_without_its_key() {
        let full = ConfigMapKey::parse("cams/uplinks.v2/a_b.yaml").expect("good");
        assert_eq!((&*full.namespace, &*full.name, &*full.key), ("cams", "uplinks.v2", "a_b.yaml"));
        assert_eq!(ConfigMapKey::parse("cams/uplinks").expect("good").to_string(), "cams/uplinks/uplinks.yaml");
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_rule() {
        for (text, says) in [
            ("uplinks", "NAMESPACE/NAME"),
            ("a/b/c/d", "NAMESPACE/NAME"),
            ("/b", "no namespace"),
            ("Cams/b", "no namespace"),
            ("a.b/c", "no namespace"),
            ("a/-b", "no name of an object"),
            ("a/b..c", "no name of an object"),
            ("a/b/", "no key"),
            ("a/b/..data", "no key"),
            ("a/b/.", "no key"),
        ] {
            let error = ConfigMapKey::parse(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(check_name(&"a".repeat(254)).is_err());
        assert!(check_name("../etc").is_err() && check_name("a/b").is_err() && check_name("").is_err());
        assert!(check_key("a/b").is_err() && check_key("...").is_err() && check_key(".hidden").is_ok());
    }
}
