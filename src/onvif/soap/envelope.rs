//! Reads an envelope: which operation it is, what its header holds, and where each of them stands (SOAP 1.2 part 1 §5).
//!
//! Strict and bounded, because it decides what a remote may do: one pass over the very bytes that are forwarded, real namespace
//! resolution, one element in one body, no document type, no processing instruction, no entity but those of XML itself.
//! What a device could read in another way is malformed. Ranges are of the text, so that others can edit without a second parse.

use std::{borrow::Cow, ops::Range};

use quick_xml::{
    escape::unescape,
    events::{BytesDecl, BytesRef, BytesStart, Event},
    reader::NsReader,
};

use super::{
    Malformed, SOAP_11, SOAP_12, Version,
    names::{attributes, namespace_of},
    text::{Encoding, decode, is_character},
};

/// Most elements that are nested; ONVIF's deepest messages have some fifteen.
const DEPTH_MAX: usize = 64;
/// Most namespace declarations that are in force at once.
const BINDINGS_MAX: usize = 256;
/// Longest `wsa:Action` in bytes.
const ACTION_MAX: usize = 512;
/// WS-Addressing: 1.0, and what old toolkits send.
const ADDRESSING: [&str; 2] =
    ["http://www.w3.org/2005/08/addressing", "http://schemas.xmlsoap.org/ws/2004/08/addressing"];
/// Roles of a header block that mean whoever answers (SOAP 1.2 part 1 §2.2).
const OUR_ROLES: [&str; 4] = [
    "",
    "http://www.w3.org/2003/05/soap-envelope/role/next",
    "http://www.w3.org/2003/05/soap-envelope/role/ultimateReceiver",
    "http://schemas.xmlsoap.org/soap/actor/next",
];

/// An element's name: namespace (empty for none) and local name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name {
    /// Namespace.
    pub namespace: String,
    /// Local name.
    pub local: String,
}

impl Name {
    /// Whether it is this name.
    pub fn is(&self, namespace: &str, local: &str) -> bool {
        self.namespace == namespace && self.local == local
    }
}

/// One block of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its name.
    pub name: Name,
    /// Whether whoever answers must understand it or answer with the fault MustUnderstand.
    pub must_understand: bool,
    /// Where it stands, tags included.
    pub range: Range<usize>,
}

/// A message that is one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'m> {
    /// The characters that were read, without a byte order mark. All ranges are of this text.
    pub text: Cow<'m, str>,
    /// How they were encoded.
    pub encoding: Encoding,
    /// Version of SOAP.
    pub version: Version,
    /// The XML declaration, if there is one.
    pub declaration: Option<Range<usize>>,
    /// The start tag of the envelope; a header that is missing belongs right behind it.
    pub start: Range<usize>,
    /// The header, tags included.
    pub header: Option<Range<usize>>,
    /// The blocks of the header.
    pub blocks: Vec<Block>,
    /// The body, tags included.
    pub body: Range<usize>,
    /// The one element in the body.
    pub operation: Name,
    /// Where that stands, tags included.
    pub operation_range: Range<usize>,
    /// `wsa:Action`, if the header has one.
    pub action: Option<String>,
}

impl Envelope<'_> {
    /// The block of the header with this name.
    pub fn block(&self, namespace: &str, local: &str) -> Option<&Block> {
        self.blocks.iter().find(|block| block.name.is(namespace, local))
    }

    /// The blocks that must be understood and have none of the `known` namespaces: whoever answers the message itself must
    /// refuse it then (SOAP 1.2 part 1 §5.4.8).
    pub fn not_understood(&self, known: &[&str]) -> Vec<&Name> {
        let strange = |block: &&Block| block.must_understand && !known.contains(&block.name.namespace.as_str());
        self.blocks.iter().filter(strange).map(|block| &block.name).collect()
    }
}

/// Reads a message. `charset` is that of its Content-Type.
///
/// # Errors
/// [`Malformed`]: it is not one operation in one envelope, or could be read in two ways.
pub fn read<'m>(message: &'m [u8], charset: Option<&str>) -> Result<Envelope<'m>, Malformed> {
    let (text, encoding) = decode(message, charset)?;
    let mut reading = Reading::default();
    reading.all(&text, encoding)?;
    let Reading { version, declaration, start, header, blocks, body, operation, action, .. } = reading;
    let (Some(version), Some(body)) = (version, body) else {
        return Err(Malformed::Arguments("the envelope has no body"));
    };
    let Some((operation, operation_range)) = operation else {
        return Err(Malformed::Arguments("the body is empty; it holds exactly one operation"));
    };
    Ok(Envelope {
        text,
        encoding,
        version,
        declaration,
        start,
        header,
        blocks,
        body,
        operation,
        operation_range,
        action,
    })
}

/// Where the reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the envelope, or behind it.
    #[default]
    Outside,
    /// In the envelope.
    Envelope,
    /// In the header.
    Header,
    /// In a block of the header.
    Block,
    /// In the body.
    Body,
    /// In the operation.
    Operation,
}

#[derive(Debug, Default)]
struct Reading {
    place: Place,
    depth: usize,
    ended: bool,
    in_action: bool,
    version: Option<Version>,
    declaration: Option<Range<usize>>,
    start: Range<usize>,
    header: Option<Range<usize>>,
    blocks: Vec<Block>,
    body: Option<Range<usize>>,
    operation: Option<(Name, Range<usize>)>,
    action: Option<String>,
}

impl Reading {
    fn all(&mut self, text: &str, encoding: Encoding) -> Result<(), Malformed> {
        let mut reader = NsReader::from_str(text);
        reader.config_mut().check_comments = true;
        reader.resolver_mut().set_max_namespace_bindings(BINDINGS_MAX);
        let position = |reader: &NsReader<&[u8]>| usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        loop {
            let from = position(&reader);
            let event = reader.read_event().map_err(|_| Malformed::WellFormed("the message is not well-formed XML"))?;
            let range = from..position(&reader);
            match event {
                Event::Start(tag) => self.open(&tag, &reader, range)?,
                Event::Empty(tag) => {
                    self.open(&tag, &reader, range.clone())?;
                    self.close(range.end);
                }
                Event::End(_) => self.close(range.end),
                Event::Text(text) => self.text(&text)?,
                Event::CData(text) => self.content(&text)?,
                Event::GeneralRef(reference) => self.reference(&reference)?,
                Event::Decl(declaration) => self.declare(&declaration, range, text, encoding)?,
                Event::Comment(_) => {}
                Event::DocType(_) => {
                    return Err(Malformed::WellFormed("a SOAP message has no document type declaration"));
                }
                Event::PI(_) => return Err(Malformed::WellFormed("a SOAP message has no processing instructions")),
                Event::Eof if self.ended => return Ok(()),
                Event::Eof => return Err(Malformed::WellFormed("the message is no whole XML document")),
            }
        }
    }

    fn open(&mut self, tag: &BytesStart<'_>, reader: &NsReader<&[u8]>, range: Range<usize>) -> Result<(), Malformed> {
        if self.depth >= DEPTH_MAX {
            return Err(Malformed::WellFormed("the message is nested too deeply"));
        }
        let namespace = namespace_of(tag, reader.resolver())?;
        let local: &str = tag.local_name().into_inner();
        let (mut must_understand, mut ours) = (false, true);
        let soap = if self.version == Some(Version::Soap11) { SOAP_11 } else { SOAP_12 };
        attributes(tag, reader.resolver(), |namespace, local, value| match local {
            "mustUnderstand" if namespace == soap => must_understand = matches!(value.trim(), "1" | "true"),
            "role" | "actor" if namespace == soap => ours = OUR_ROLES.contains(&value.trim()),
            _ => {}
        })?;
        self.depth += 1;
        match self.place {
            Place::Outside => self.envelope(namespace, local, range),
            Place::Envelope if namespace == soap => self.part(local, range),
            Place::Envelope => {
                Err(Malformed::Arguments("the envelope holds something that is neither Header nor Body"))
            }
            Place::Header => {
                let name = Name { namespace: namespace.to_owned(), local: local.to_owned() };
                self.in_action = ADDRESSING.contains(&namespace) && local == "Action";
                if self.in_action && self.action.replace(String::new()).is_some() {
                    return Err(Malformed::Arguments("the header has two actions"));
                }
                self.blocks.push(Block { name, must_understand: must_understand && ours, range });
                self.place = Place::Block;
                Ok(())
            }
            Place::Body if self.operation.is_some() => {
                Err(Malformed::Arguments("the body holds more than one element; it holds exactly one operation"))
            }
            Place::Body => {
                let name = Name { namespace: namespace.to_owned(), local: local.to_owned() };
                self.operation = Some((name, range));
                self.place = Place::Operation;
                Ok(())
            }
            Place::Block if self.in_action => Err(Malformed::Arguments("the action of the header is no text")),
            Place::Block | Place::Operation => Ok(()),
        }
    }

    fn envelope(&mut self, namespace: &str, local: &str, range: Range<usize>) -> Result<(), Malformed> {
        if self.ended {
            return Err(Malformed::WellFormed("the message has more than one root element"));
        }
        if local != "Envelope" {
            return Err(Malformed::Arguments("the message is no SOAP envelope"));
        }
        self.version = match namespace {
            SOAP_12 => Some(Version::Soap12),
            SOAP_11 => Some(Version::Soap11),
            _ => return Err(Malformed::Version),
        };
        self.start = range;
        self.place = Place::Envelope;
        Ok(())
    }

    /// A child of the envelope.
    fn part(&mut self, local: &str, range: Range<usize>) -> Result<(), Malformed> {
        match local {
            "Header" if self.header.is_none() && self.body.is_none() => {
                self.header = Some(range);
                self.place = Place::Header;
            }
            "Body" if self.body.is_none() => {
                self.body = Some(range);
                self.place = Place::Body;
            }
            _ => {
                return Err(Malformed::Arguments(
                    "the envelope holds more than one header and one body, in this order",
                ));
            }
        }
        Ok(())
    }

    /// The element that is open ends at `end`.
    fn close(&mut self, end: usize) {
        self.depth = self.depth.saturating_sub(1);
        let (place, range) = match (self.place, self.depth) {
            (Place::Envelope, _) => {
                self.ended = true;
                (Place::Outside, None)
            }
            (Place::Header, _) => (Place::Envelope, self.header.as_mut()),
            (Place::Body, _) => (Place::Envelope, self.body.as_mut()),
            (Place::Block, 2) => {
                self.in_action = false;
                (Place::Header, self.blocks.last_mut().map(|block| &mut block.range))
            }
            (Place::Operation, 2) => (Place::Body, self.operation.as_mut().map(|(_, range)| range)),
            (place, _) => (place, None),
        };
        self.place = place;
        if let Some(range) = range {
            range.end = end;
        }
    }

    fn text(&mut self, text: &str) -> Result<(), Malformed> {
        if text.contains("]]>") {
            return Err(Malformed::WellFormed("the text holds `]]>` outside of CDATA"));
        }
        if !matches!(self.place, Place::Block | Place::Operation) {
            let blank = text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
            return if blank { Ok(()) } else { Err(STRAY) };
        }
        self.content(text)
    }

    /// Text where text may be.
    fn content(&mut self, text: &str) -> Result<(), Malformed> {
        if !matches!(self.place, Place::Block | Place::Operation) {
            return Err(STRAY);
        }
        if let Some(action) = self.action.as_mut().filter(|_| self.in_action) {
            if action.len() + text.len() > ACTION_MAX {
                return Err(Malformed::Arguments("the action of the header is too long"));
            }
            action.push_str(text);
        }
        Ok(())
    }

    fn reference(&mut self, reference: &BytesRef<'_>) -> Result<(), Malformed> {
        let written = format!("&{};", &**reference);
        match unescape(&written) {
            Ok(text) if text.chars().all(is_character) => self.content(&text),
            _ => Err(Malformed::WellFormed("a reference is to no entity of XML itself, or to no character")),
        }
    }

    fn declare(
        &mut self,
        declaration: &BytesDecl<'_>,
        range: Range<usize>,
        text: &str,
        encoding: Encoding,
    ) -> Result<(), Malformed> {
        if range.start != 0 {
            return Err(Malformed::WellFormed("an XML declaration stands only at the very beginning"));
        }
        if !declaration.version().is_ok_and(|version| version == "1.0") {
            return Err(Malformed::WellFormed("the message is not XML 1.0"));
        }
        let named = declaration.encoding().is_none_or(|name| name.is_ok_and(|name| encoding.is_named(&name, text)));
        if !named {
            return Err(Malformed::WellFormed("the message is not encoded as its XML declaration says"));
        }
        self.declaration = Some(range);
        Ok(())
    }
}

const STRAY: Malformed = Malformed::Arguments("there is text where only elements may be");

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
