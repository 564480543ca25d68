//! A SOAP message as far as credentials are concerned: where a WS-Security header block stands or may be put, and whether an
//! answer says that credentials are missing (SOAP 1.2 part 1 §5; ONVIF Core, Generic faults).
//!
//! Blocks are cut out and put in at their byte positions; every other byte of the message stays. What is no well-formed
//! envelope is refused, because nobody could say what of it the device would take for credentials.

use std::{borrow::Cow, ops::Range};

use quick_xml::{
    events::Event,
    name::{Namespace, ResolveResult},
    reader::{NsReader, Reader},
};

/// SOAP 1.2 (the specification's) and 1.1 (of old remotes).
const ENVELOPES: [&str; 2] = ["http://www.w3.org/2003/05/soap-envelope", "http://schemas.xmlsoap.org/soap/envelope/"];
/// Nesting that no sane message reaches.
const DEPTH_MAX: usize = 64;
/// Tags and texts that are read of a fault; a long one has fifty.
const FAULT_EVENTS_MAX: usize = 400;

/// The places in one message.
#[derive(Debug)]
pub struct Envelope<'m> {
    text: Cow<'m, str>,
    /// WS-Security blocks, in order.
    security: Vec<Range<usize>>,
    place: Place,
}

/// Where a header block may be put.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Behind the start tag of Header.
    Within(usize),
    /// Instead of an empty Header, whose name this is.
    Instead(Range<usize>, String),
    /// Behind the start tag of Envelope, with a Header of this name around it.
    Around(usize, String),
}

impl<'m> Envelope<'m> {
    /// Reads a message in UTF-8, or in UTF-16 with a byte order mark.
    ///
    /// # Errors
    /// A sentence: not text, not well-formed, no envelope, two headers, a document type.
    pub fn read(message: &'m [u8]) -> Result<Self, &'static str> {
        let text = decode(message)?;
        let (security, place) = places(&text)?;
        Ok(Self { text, security, place })
    }

    /// Whether the sender put credentials of its own into it.
    pub fn has_security(&self) -> bool {
        !self.security.is_empty()
    }

    /// The message without WS-Security, with `block` in its place if there is one. UTF-8.
    pub fn with(&self, block: Option<&str>) -> String {
        let text = &*self.text;
        let mut message = String::with_capacity(text.len() + block.map_or(0, |block| block.len() + 64));
        let mut at = 0;
        let mut copy_to = |message: &mut String, end: usize, next: usize| {
            message.push_str(&text[at..end]);
            at = next;
        };
        // The header begins before the blocks in it, so the places come in their order.
        match (block, &self.place) {
            (None, _) => {}
            (Some(block), Place::Within(place)) => {
                copy_to(&mut message, *place, *place);
                message.push_str(block);
            }
            (Some(block), Place::Instead(tag, name)) => {
                copy_to(&mut message, tag.start, tag.end);
                // Attributes and declarations of the empty tag hold for what is put into it.
                message.push_str(text[tag.clone()].trim_end_matches('>').trim_end_matches('/'));
                message.push_str(&format!(">{block}</{name}>"));
            }
            (Some(block), Place::Around(place, name)) => {
                copy_to(&mut message, *place, *place);
                message.push_str(&format!("<{name}>{block}</{name}>"));
            }
        }
        for range in &self.security {
            copy_to(&mut message, range.start, range.end);
        }
        copy_to(&mut message, text.len(), text.len());
        message
    }
}

fn decode(message: &[u8]) -> Result<Cow<'_, str>, &'static str> {
    let wide = |order: fn([u8; 2]) -> u16| {
        let units = message[2..].chunks_exact(2).map(|pair| order([pair[0], pair[1]]));
        let text: Result<String, _> = char::decode_utf16(units).collect();
        // Its declaration names UTF-16, and what goes on is UTF-8: it goes on without one.
        text.map_err(|_| "the message is not UTF-16").map(|text| match text.split_once("?>") {
            Some((declaration, rest)) if declaration.starts_with("<?xml") => Cow::Owned(rest.to_owned()),
            _ => Cow::Owned(text),
        })
    };
    match message {
        [0xff, 0xfe, rest @ ..] if rest.len() % 2 == 0 => wide(u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] if rest.len() % 2 == 0 => wide(u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => {
            std::str::from_utf8(rest).map(Cow::Borrowed).map_err(|_| "the message is not UTF-8")
        }
        _ => std::str::from_utf8(message).map(Cow::Borrowed).map_err(|_| "the message is not UTF-8"),
    }
}

/// What the reader has seen so far.
#[derive(Default)]
struct Seen {
    depth: usize,
    in_header: bool,
    header: bool,
    body: bool,
    place: Option<Place>,
    security: Vec<Range<usize>>,
    /// Begin of the block that is open.
    open: Option<usize>,
}

fn places(text: &str) -> Result<(Vec<Range<usize>>, Place), &'static str> {
    let mut reader = NsReader::from_str(text);
    let mut seen = Seen::default();
    loop {
        let start = position(&reader)?;
        let (namespace, event) = reader.read_resolved_event().map_err(|_| "the message is not well-formed XML")?;
        let soap = matches!(&namespace, ResolveResult::Bound(Namespace(name)) if ENVELOPES.contains(name));
        let (tag, empty) = match &event {
            Event::Start(tag) => (tag, false),
            Event::Empty(tag) => (tag, true),
            Event::End(_) => {
                let end = position(&reader)?;
                seen.close(end);
                continue;
            }
            Event::DocType(_) => return Err("a SOAP message has no document type declaration"),
            Event::Eof => break,
            _ => continue,
        };
        let name = tag.name().as_ref().to_owned();
        let local = tag.local_name().as_ref().to_owned();
        let end = position(&reader)?;
        seen.open_tag(&name, &local, soap, empty, start..end)?;
    }
    match seen.place {
        Some(place) if seen.body && seen.depth == 0 => Ok((seen.security, place)),
        _ => Err("the message is not a whole SOAP envelope"),
    }
}

/// Where the reader stands.
fn position(reader: &NsReader<&[u8]>) -> Result<usize, &'static str> {
    usize::try_from(reader.buffer_position()).map_err(|_| "the message is too long")
}

impl Seen {
    fn open_tag(
        &mut self,
        name: &str,
        local: &str,
        soap: bool,
        empty: bool,
        range: Range<usize>,
    ) -> Result<(), &'static str> {
        match (self.depth, local) {
            (0, "Envelope") if soap && !empty && self.place.is_none() => {
                let header =
                    name.rsplit_once(':').map_or("Header".to_owned(), |(prefix, _)| format!("{prefix}:Header"));
                self.place = Some(Place::Around(range.end, header));
            }
            (0, _) => return Err("the message is not a SOAP envelope"),
            (1, "Header") if soap => {
                if self.header || self.body {
                    return Err("the message has more than one SOAP header, or one behind its body");
                }
                (self.header, self.in_header) = (true, !empty);
                self.place =
                    Some(if empty { Place::Instead(range, name.to_owned()) } else { Place::Within(range.end) });
            }
            (1, "Body") if soap && !self.body => self.body = true,
            (1, _) => return Err("the message has something else than one SOAP header and one body"),
            // Whatever its namespace: devices exist that look at the local name only.
            (2, "Security") if self.in_header && empty => self.security.push(range),
            (2, "Security") if self.in_header => self.open = Some(range.start),
            (DEPTH_MAX, _) => return Err("the message is nested too deeply"),
            _ => {}
        }
        if !empty {
            self.depth += 1;
        }
        Ok(())
    }

    /// `end` is the position behind the end tag.
    fn close(&mut self, end: usize) {
        // The reader has matched every end with its start.
        self.depth = self.depth.saturating_sub(1);
        if self.depth == 2
            && let Some(start) = self.open.take()
        {
            self.security.push(start..end);
        }
        if self.depth == 1 {
            self.in_header = false;
        }
    }
}

/// Whether an answer is a fault that says: credentials are missing or wrong (ter:NotAuthorized; wsse:FailedAuthentication
/// of gSOAP devices).
pub fn is_not_authorized(answer: &[u8]) -> bool {
    // Nearly every answer is none, and is known for that without being parsed.
    let Some(text) = std::str::from_utf8(answer).ok().filter(|text| text.contains("Fault")) else { return false };
    let mut reader = Reader::from_str(text);
    let (mut in_fault, mut in_code) = (false, false);
    for _ in 0..FAULT_EVENTS_MAX {
        match reader.read_event() {
            Ok(Event::Start(tag)) => {
                in_fault |= tag.local_name().as_ref() == "Fault";
                in_code = in_fault && matches!(tag.local_name().as_ref(), "Value" | "faultcode");
            }
            Ok(Event::End(_)) => in_code = false,
            Ok(Event::Text(value)) if in_code => {
                let value = value.xml10_content();
                let local = value.trim().rsplit(':').next().unwrap_or_default().to_owned();
                if matches!(local.as_str(), "NotAuthorized" | "FailedAuthentication" | "FailedCheck") {
                    return true;
                }
            }
            Ok(Event::Eof) | Err(_) => return false,
            Ok(_) => {}
        }
    }
    false
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
