//! Names, attributes and references of XML, checked as a strict parser does (XML 1.0 §2.3, §3.1, §4.1; Namespaces in XML 1.0).
//!
//! The library splits a text into tags and resolves prefixes; what it leaves to its user is checked here, so that no device can
//! take for one element what we take for another.

use quick_xml::{
    escape::unescape,
    events::{BytesStart, attributes::Attribute},
    name::{Namespace, NamespaceResolver, ResolveResult},
};

use super::{Malformed, text::is_character};

/// Most attributes of an element, namespace declarations included; toolkits declare some thirty on the envelope.
const ATTRIBUTES_MAX: usize = 64;
/// Longest name in bytes; ONVIF's longest has fifty.
const NAME_MAX: usize = 256;

const NOT_A_NAME: Malformed = Malformed::WellFormed("an element or attribute has a name that XML does not allow");
const UNBOUND: Malformed = Malformed::WellFormed("a prefix is not bound to a namespace");

/// The namespace of an element; empty if it has none.
///
/// # Errors
/// Its name is none, or its prefix is not bound.
pub(super) fn namespace_of<'r>(tag: &BytesStart<'_>, resolver: &'r NamespaceResolver) -> Result<&'r str, Malformed> {
    check_name(tag.name().0)?;
    match resolver.resolve_element(tag.name()).0 {
        ResolveResult::Bound(Namespace(namespace)) => Ok(namespace),
        ResolveResult::Unbound => Ok(""),
        ResolveResult::Unknown(_) => Err(UNBOUND),
    }
}

/// Checks the attributes of an element and calls `each` with namespace, local name and raw value of those that are no
/// declarations.
///
/// # Errors
/// Something that a strict parser would not accept, or too many of them.
pub(super) fn attributes(
    tag: &BytesStart<'_>,
    resolver: &NamespaceResolver,
    mut each: impl FnMut(&str, &str, &str),
) -> Result<(), Malformed> {
    let raw = tag.attributes_raw();
    if raw.is_empty() {
        return Ok(());
    }
    let mut prefixed: Vec<(&str, &str)> = Vec::new();
    for (index, attribute) in tag.attributes().enumerate() {
        let attribute =
            attribute.map_err(|_| Malformed::WellFormed("an attribute is not well-formed, or is there twice"))?;
        if index >= ATTRIBUTES_MAX {
            return Err(Malformed::WellFormed("an element has too many attributes"));
        }
        let key = attribute.key;
        check_name(key.0)?;
        check_space_before(raw, key.0)?;
        check_value(&attribute)?;
        if key.as_namespace_binding().is_some() {
            if attribute.value.contains('&') {
                // Namespaces are compared as they are written; this one would not be what it looks like.
                return Err(Malformed::WellFormed("a namespace declaration holds a reference"));
            }
            continue;
        }
        let (namespace, local) = resolver.resolve_attribute(key);
        let local: &str = local.into_inner();
        match namespace {
            ResolveResult::Bound(Namespace(namespace)) => {
                if prefixed.contains(&(namespace, local)) {
                    return Err(Malformed::WellFormed("an attribute is there twice, with two prefixes"));
                }
                prefixed.push((namespace, local));
                each(namespace, local, &attribute.value);
            }
            ResolveResult::Unbound => each("", local, &attribute.value),
            ResolveResult::Unknown(_) => return Err(UNBOUND),
        }
    }
    Ok(())
}

/// The library takes `a="1"b="2"` for two attributes; XML wants a space.
fn check_space_before(raw: &str, key: &str) -> Result<(), Malformed> {
    let at = (key.as_ptr() as usize).saturating_sub(raw.as_ptr() as usize);
    let before = raw.get(..at).and_then(|before| before.as_bytes().last());
    match before {
        Some(b' ' | b'\t' | b'\n' | b'\r') => Ok(()),
        _ => Err(Malformed::WellFormed("there is no space before an attribute")),
    }
}

fn check_value(attribute: &Attribute<'_>) -> Result<(), Malformed> {
    if attribute.value.contains('<') {
        return Err(Malformed::WellFormed("the value of an attribute holds `<`"));
    }
    if attribute.value.contains('&') && !unescape(&attribute.value).is_ok_and(|value| value.chars().all(is_character)) {
        return Err(Malformed::WellFormed("a reference is to no entity of XML itself, or to no character"));
    }
    Ok(())
}

/// One or two names joined by a colon.
fn check_name(name: &str) -> Result<(), Malformed> {
    let (prefix, local) = name.split_once(':').map_or((None, name), |(prefix, local)| (Some(prefix), local));
    let good = name.len() <= NAME_MAX && is_ncname(local) && prefix.is_none_or(is_ncname);
    if good { Ok(()) } else { Err(NOT_A_NAME) }
}

/// A name without a colon. Beyond ASCII letters, marks and digits stand for the tables of the specification.
fn is_ncname(name: &str) -> bool {
    let is_start = |c: char| if c.is_ascii() { c.is_ascii_alphabetic() || c == '_' } else { c.is_alphabetic() };
    let is_rest = |c: char| {
        if c.is_ascii() { c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') } else { !c.is_whitespace() }
    };
    let mut characters = name.chars();
    characters.next().is_some_and(is_start) && characters.all(is_rest)
}
