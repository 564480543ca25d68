//! Paths of a device that are allowed by rule, and the one form in which paths are compared.
//!
//! A path is brought into its canonical form once (RFC 3986 §6.2.2): what need not be percent-encoded is decoded, dot segments
//! and empty segments are resolved. What a device might read in two ways has no canonical form. The canonical form is what is
//! compared *and* what is forwarded, so the device cannot read another path than the one that was allowed.

use super::class::AccessClass;

/// Methods of a rule that names none: those that only read (RFC 9110 §9.2.1).
pub const READING: [&str; 2] = ["GET", "HEAD"];

/// One rule: requests for this path have this class.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathRule {
    path: String,
    /// Whether everything below `path`, which ends with a slash, is meant.
    below: bool,
    query: Option<String>,
    class: AccessClass,
    methods: Vec<String>,
}

impl PathRule {
    /// Reads a rule. `path` is a path in its canonical form, alone (any query), with `?` and the one query that is meant, or
    /// with `/*` at its end for all that is below it.
    ///
    /// # Errors
    /// A sentence: what is wrong with the path, and its canonical form if there is one.
    pub fn new(path: &str, class: AccessClass, methods: Vec<String>) -> Result<Self, String> {
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path, None),
        };
        let (path, below) = match path.strip_suffix('*') {
            Some(path) if path.ends_with('/') => (path, true),
            Some(_) => return Err("`*` stands only after the last slash; write for example /pictures/*".to_owned()),
            None => (path, false),
        };
        let form = canonical(path).ok_or_else(|| {
            "this is no path that can be compared: it begins with a slash and has neither %2F, %5C, %25, `\\`, `;` nor control \
             characters"
                .to_owned()
        })?;
        if form != path {
            return Err(format!("write it in its canonical form: {form}{}", if below { "*" } else { "" }));
        }
        Ok(Self { path: form, below, query, class, methods })
    }

    /// Whether it is meant for a request. `path` is in its canonical form.
    pub fn matches(&self, method: &str, path: &str, query: Option<&str>) -> bool {
        let named = if self.below { path.starts_with(&self.path) } else { path == self.path };
        let method =
            if self.methods.is_empty() { READING.contains(&method) } else { self.methods.iter().any(|m| m == method) };
        named && method && self.query.as_deref().is_none_or(|wanted| query == Some(wanted))
    }

    /// The class of requests for it.
    pub fn class(&self) -> AccessClass {
        self.class
    }
}

/// The canonical form of a path. `None` when it has none: it does not begin with a slash, holds an octet that is not encoded as
/// it must be, or something that web servers are known to read differently (an encoded slash, backslash or percent sign, a
/// path parameter, dot segments beside empty segments).
pub fn canonical(path: &str) -> Option<String> {
    if !path.starts_with('/') {
        return None;
    }
    let plain = path.bytes().all(|byte| is_plain(byte) || byte == b'/');
    if plain && !path.contains("//") && !path.contains("/.") {
        return Some(path.to_owned());
    }
    let mut segments: Vec<String> = Vec::new();
    let (mut empty, mut dots) = (false, false);
    let mut parts = path[1..].split('/').peekable();
    while let Some(part) = parts.next() {
        let segment = segment(part)?;
        let last = parts.peek().is_none();
        match segment.as_str() {
            "" if !last => empty = true,
            "." | ".." => {
                dots = true;
                if segment == ".." {
                    // Above the root there is nothing that two servers agree on.
                    segments.pop()?;
                }
                if last {
                    segments.push(String::new());
                }
            }
            _ => segments.push(segment),
        }
    }
    if empty && dots {
        return None;
    }
    Some(format!("/{}", segments.join("/")))
}

/// One segment: decoded where it may be, upper-case where it must stay encoded.
fn segment(part: &str) -> Option<String> {
    let mut form = String::with_capacity(part.len());
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let (high, low) = (hex(bytes.next()?)?, hex(bytes.next()?)?);
            match high << 4 | low {
                b'/' | b'\\' | b'%' | b';' | 0..=0x1f | 0x7f => return None,
                decoded if is_plain(decoded) => form.push(char::from(decoded)),
                other => form.push_str(&format!("%{other:02X}")),
            }
        } else if is_plain(byte) {
            form.push(char::from(byte));
        } else {
            return None;
        }
    }
    Some(form)
}

/// What stands in a segment as itself (RFC 3986 §3.3), without `;`, which begins a parameter for some servers.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_that_mean_the_same_have_one_form() {
        for (path, form) in [
            ("/", "/"),
            ("/snapshot.jpg", "/snapshot.jpg"),
            ("/%73napshot%2Ejpg", "/snapshot.jpg"),
            ("//snapshot.jpg", "/snapshot.jpg"),
            ("/a///b/", "/a/b/"),
            ("/a/./b/../c", "/a/c"),
            ("/a/%2e%2E/c", "/c"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/caf%c3%a9%20x", "/caf%C3%A9%20x"),
            ("/a?", "/a?"),
        ] {
            let expected = (!path.contains('?')).then(|| form.to_owned());
            assert_eq!(canonical(path), expected, "{path}");
        }
    }

    #[test]
    fn what_servers_read_in_two_ways_has_no_form() {
        for path in [
            "",
            "x",
            "*",
            "/..",
            "/a/../../b",
            "/%2e%2e/x",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/%252e%252e/x",
            "/a%00",
            "/a%0d%0ab",
            "/a;x=1",
            "/a%3Bx",
            "/a//../b",
            "/a/%2e//b",
            "/%",
            "/%4",
            "/%zz",
            "/é",
            "/a b",
            "/a#b",
        ] {
            assert_eq!(canonical(path), None, "{path}");
        }
    }

    #[test]
    fn a_rule_is_for_its_path_its_query_and_its_methods() {
        let rule = |path, methods: &[&str]| {
            PathRule::new(path, AccessClass::ReadMedia, methods.iter().map(|m| (*m).to_owned()).collect()).expect(path)
        };
        let picture = rule("/snapshot.jpg", &[]);
        assert!(picture.matches("GET", "/snapshot.jpg", None) && picture.matches("HEAD", "/snapshot.jpg", Some("t=1")));
        assert!(!picture.matches("POST", "/snapshot.jpg", None) && !picture.matches("GET", "/snapshot.jpg/x", None));
        let below = rule("/pictures/*", &["GET"]);
        assert!(below.matches("GET", "/pictures/a/b", None) && below.matches("GET", "/pictures/", None));
        assert!(!below.matches("GET", "/pictures", None) && !below.matches("GET", "/picturesque", None));
        assert!(!below.matches("HEAD", "/pictures/a", None));
        let asked = rule("/cgi?action=get", &[]);
        assert!(asked.matches("GET", "/cgi", Some("action=get")));
        assert!(!asked.matches("GET", "/cgi", Some("action=get&action=set")) && !asked.matches("GET", "/cgi", None));
    }

    #[test]
    fn a_rule_that_could_not_match_is_refused_with_the_form_that_would() {
        let refused = |path| PathRule::new(path, AccessClass::ReadMedia, Vec::new()).expect_err(path);
        assert!(refused("/a%2Db").ends_with("/a-b"), "{}", refused("/a%2Db"));
        assert!(refused("//x/*").ends_with("/x/*"));
        for path in ["snapshot.jpg", "/a%2fb", "/a*", ""] {
            refused(path);
        }
    }

    proptest! {
        #[test]
        fn a_canonical_form_is_its_own_and_can_be_forwarded(path in "/([a-z.%2eEfF5cC/;\\\\ ~é]|%[0-9a-fA-F]{2}){0,12}") {
            if let Some(form) = canonical(&path) {
                prop_assert_eq!(canonical(&form), Some(form.clone()));
                prop_assert!(form.starts_with('/') && !form.contains("//") && !form.split('/').any(|s| s == "." || s == ".."));
                prop_assert!(form.parse::<http::Uri>().is_ok());
            }
        }
    }
}
