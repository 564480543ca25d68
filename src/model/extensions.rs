//! What a vendor adds to the Configuration of an uplink (ONVIF Uplink WSDL: `any`, `anyAttribute`), kept as it came.
//!
//! It is one XML element, `Extensions`: its attributes are those of the Configuration, its content are further elements there. Each
//! declares the namespaces that it uses, so that it means the same wherever it is put.

use quick_xml::{
    events::{BytesStart, Event},
    name::ResolveResult,
    reader::NsReader,
};

/// Name of the element that holds all of them.
pub const ELEMENT: &str = "Extensions";
/// Longest, in bytes: a document of 1 MiB has room for some dozens.
pub const EXTENSIONS_MAX: usize = 16 * 1024;
/// Most elements that are nested.
const DEPTH_MAX: usize = 32;
/// Prefixes of the answers into which they are put.
pub const RESERVED_PREFIXES: [&str; 3] = ["tup", "env", "tt"];

/// Attributes and elements of a vendor, well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extensions {
    text: String,
    attributes: String,
    content: String,
}

impl Extensions {
    /// Reads an element `Extensions`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() > EXTENSIONS_MAX {
            return Err(format!("the vendor's elements are longer than {EXTENSIONS_MAX} bytes"));
        }
        let mut reader = NsReader::from_str(text);
        reader.config_mut().check_comments = true;
        let (mut depth, mut found) =
            (0usize, Self { text: text.to_owned(), attributes: String::new(), content: String::new() });
        let (mut begin, mut ended) = (0, false);
        loop {
            let before = position(&reader);
            let event =
                reader.read_event().map_err(|error| format!("the vendor's elements are not well-formed: {error}"))?;
            match &event {
                Event::Start(tag) | Event::Empty(tag) => {
                    let closes = matches!(event, Event::Empty(_));
                    check_tag(tag, &reader)?;
                    if depth == 0 {
                        if ended || tag.name().0 != ELEMENT {
                            return Err(format!("the vendor's elements stand within one element `{ELEMENT}`"));
                        }
                        found.attributes = tag.attributes_raw().trim().to_owned();
                        check_reserved(tag)?;
                        begin = position(&reader);
                        ended = closes;
                    }
                    depth += usize::from(!closes);
                    if depth > DEPTH_MAX {
                        return Err("the vendor's elements are nested too deeply".to_owned());
                    }
                }
                Event::End(_) => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        found.content = text.get(begin..before).unwrap_or_default().to_owned();
                        ended = true;
                    }
                }
                Event::Text(text) if depth <= 1 && !text.trim().is_empty() => {
                    return Err(format!("there is text between the elements of `{ELEMENT}`"));
                }
                Event::GeneralRef(reference) => check_reference(reference)?,
                Event::DocType(_) | Event::PI(_) | Event::Decl(_) => {
                    return Err("the vendor's elements have no declarations and no processing instructions".to_owned());
                }
                Event::Eof if ended && depth == 0 => return Ok(found),
                Event::Eof => return Err(format!("the vendor's elements stand within one element `{ELEMENT}`")),
                _ => {}
            }
        }
    }

    /// The element.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its attributes as they are written, declarations of namespaces included; may be empty.
    pub fn attributes(&self) -> &str {
        &self.attributes
    }

    /// What stands between its tags.
    pub fn content(&self) -> &str {
        &self.content
    }
}

fn position(reader: &NsReader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

fn check_tag(tag: &BytesStart<'_>, reader: &NsReader<&[u8]>) -> Result<(), String> {
    const UNBOUND: &str = "a prefix of the vendor's elements is not bound to a namespace";
    if matches!(reader.resolver().resolve_element(tag.name()).0, ResolveResult::Unknown(_)) {
        return Err(UNBOUND.to_owned());
    }
    for attribute in tag.attributes() {
        let attribute =
            attribute.map_err(|error| format!("an attribute of the vendor's is not well-formed: {error}"))?;
        let unbound = matches!(reader.resolver().resolve_attribute(attribute.key).0, ResolveResult::Unknown(_));
        if unbound && attribute.key.as_namespace_binding().is_none() {
            return Err(UNBOUND.to_owned());
        }
        if attribute.value.contains('<') || quick_xml::escape::unescape(&attribute.value).is_err() {
            return Err("the value of an attribute of the vendor's is not well-formed".to_owned());
        }
    }
    Ok(())
}

/// The attributes are put on an element of ours, whose prefixes must keep their meaning.
fn check_reserved(tag: &BytesStart<'_>) -> Result<(), String> {
    let declares = |attribute: &quick_xml::events::attributes::Attribute<'_>, prefix: &str| {
        attribute.key.0.strip_prefix("xmlns:").is_some_and(|name| name == prefix)
    };
    for attribute in tag.attributes().flatten() {
        if let Some(prefix) = RESERVED_PREFIXES.iter().find(|prefix| declares(&attribute, prefix)) {
            return Err(format!(
                "`{ELEMENT}` declares the prefix `{prefix}`, which has a meaning of its own; use another"
            ));
        }
    }
    Ok(())
}

fn check_reference(reference: &str) -> Result<(), String> {
    match quick_xml::escape::unescape(&format!("&{reference};")) {
        Ok(_) => Ok(()),
        Err(_) => Err("a reference of the vendor's elements is to no entity of XML itself".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_and_elements_are_told_apart_and_kept_as_they_are_written() {
        let text = "<Extensions xmlns:n='urn:v' n:a=\"1 &amp; 2\"><v:Site xmlns:v=\"urn:v\"><v:No>7</v:No></v:Site>\n <!-- x --></Extensions>";
        let read = Extensions::parse(text).expect("good");
        assert_eq!(read.attributes(), "xmlns:n='urn:v' n:a=\"1 &amp; 2\"");
        assert_eq!(read.content(), "<v:Site xmlns:v=\"urn:v\"><v:No>7</v:No></v:Site>\n <!-- x -->");
        assert_eq!(read.as_str(), text);
        assert_eq!(Extensions::parse("<Extensions a='1'/>").expect("good").content(), "");
    }

    #[test]
    fn what_is_not_one_sound_element_is_refused() {
        let deep = format!("<Extensions>{}{}</Extensions>", "<a>".repeat(40), "</a>".repeat(40));
        let long = format!("<Extensions>{}</Extensions>", "<a/>".repeat(EXTENSIONS_MAX));
        for text in [
            "",
            "text",
            "<Other/>",
            "<Extensions>",
            "<Extensions/><Extensions/>",
            "<Extensions>text</Extensions>",
            "<Extensions><v:a/></Extensions>",
            "<Extensions v:a='1'/>",
            "<Extensions a='1' a='2'/>",
            "<Extensions xmlns:tup='urn:x'/>",
            "<Extensions><a>&x;</a></Extensions>",
            "<!DOCTYPE x><Extensions/>",
            "<Extensions><?x y?></Extensions>",
            "<Extensions><a></b></Extensions>",
            &deep,
            &long,
        ] {
            assert!(Extensions::parse(text).is_err(), "{}", &text[..text.len().min(60)]);
        }
    }
}
