//! Where a SOAP message names addresses of the device: byte ranges, so that all else stays byte for byte.
//!
//! Only the fields count whose meaning ONVIF fixes (Core §GetServices, §GetSystemUris, §StartFirmwareUpgrade, §Events; Media,
//! Media2 and Replay §Get…Uri). Addresses elsewhere (network settings, NTP, receivers, notification consumers) are data.

use std::ops::Range;

use quick_xml::{
    events::{BytesStart, Event},
    name::{Namespace, ResolveResult},
    reader::NsReader,
};

/// Elements nested deeper than this hold no address, and no camera sends them.
const DEPTH_MAX: usize = 64;
/// Namespaces of ONVIF's own elements begin like this.
const ONVIF: &str = "http://www.onvif.org/";
/// WS-Addressing: the one that ONVIF uses, and the one before it that some cameras still send.
const ADDRESSING: [&str; 2] =
    ["http://www.w3.org/2005/08/addressing", "http://schemas.xmlsoap.org/ws/2004/08/addressing"];
const NOTIFICATION: &str = "http://docs.oasis-open.org/wsn/";
/// Parents below which `Uri` is an address of the device.
const URI_PARENTS: [&str; 5] =
    ["MediaUri", "GetStreamUriResponse", "GetSnapshotUriResponse", "GetReplayUriResponse", "SystemLog"];
/// Elements that are addresses of the device wherever they stand.
const ADDRESSES: [&str; 4] = ["XAddr", "SupportInfoUri", "SystemBackupUri", "UploadUri"];
/// The attribute of the streaming capabilities of Media2 and Replay.
const WEBSOCKET_ATTRIBUTE: &str = "RTSPWebSocketUri";

/// One address in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where its text stands in the message, escaped as XML wants it.
    pub range: Range<usize>,
    /// The text itself.
    pub text: String,
}

/// Which addresses are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the device: what it calls itself.
    Answer,
    /// To the device: `wsa:To`.
    Request,
}

/// The addresses of `message`, in their order. `None` when it is no XML that is understood to its end: then nothing of it
/// is changed.
pub fn find(message: &str, way: Way) -> Option<Vec<Place>> {
    let mut reader = NsReader::from_str(message);
    let mut places = Vec::new();
    let mut open: Vec<Element> = Vec::new();
    loop {
        let before = usize::try_from(reader.buffer_position()).ok()?;
        let (resolved, event) = reader.read_resolved_event().ok()?;
        let namespace = match resolved {
            ResolveResult::Bound(Namespace(namespace)) => namespace.to_owned(),
            _ => String::new(),
        };
        let after = usize::try_from(reader.buffer_position()).ok()?;
        match event {
            Event::Start(tag) => {
                if let Some(parent) = open.last_mut() {
                    parent.is_leaf = false;
                }
                if way == Way::Answer {
                    attribute(message, before, after, &tag, &mut places);
                }
                open.push(Element::new(namespace, &tag, after));
                if open.len() > DEPTH_MAX {
                    return None;
                }
            }
            Event::Empty(tag) => {
                if let Some(parent) = open.last_mut() {
                    parent.is_leaf = false;
                }
                if way == Way::Answer {
                    attribute(message, before, after, &tag, &mut places);
                }
            }
            Event::End(_) => {
                let element = open.pop()?;
                if element.is_leaf && is_address(&element, &open, way) {
                    push(message, element.text_start..before, &mut places);
                }
            }
            // Comments and CDATA within an address are unheard of; such a text is left alone.
            Event::Comment(_) | Event::CData(_) | Event::PI(_) => {
                if let Some(parent) = open.last_mut() {
                    parent.is_leaf = false;
                }
            }
            Event::DocType(_) => return None,
            Event::Eof => return open.is_empty().then_some(places),
            _ => {}
        }
    }
}

struct Element {
    namespace: String,
    name: String,
    text_start: usize,
    is_leaf: bool,
}

impl Element {
    fn new(namespace: String, tag: &BytesStart<'_>, text_start: usize) -> Self {
        Self { namespace, name: tag.local_name().as_ref().to_owned(), text_start, is_leaf: true }
    }
}

fn is_address(element: &Element, parents: &[Element], way: Way) -> bool {
    let parent = parents.last().map(|parent| parent.name.as_str()).unwrap_or_default();
    let addressing = ADDRESSING.contains(&element.namespace.as_str());
    match way {
        Way::Request => addressing && element.name == "To" && parent == "Header",
        Way::Answer if addressing => element.name == "Address" && parent == "SubscriptionReference",
        Way::Answer => {
            let ours = element.namespace.starts_with(ONVIF) || element.namespace.starts_with(NOTIFICATION);
            let name = element.name.as_str();
            ours && (ADDRESSES.contains(&name) || (name == "Uri" && URI_PARENTS.contains(&parent)))
        }
    }
}

fn push(message: &str, range: Range<usize>, places: &mut Vec<Place>) {
    let Some(raw) = message.get(range.clone()) else { return };
    let Ok(text) = quick_xml::escape::unescape(raw.trim()) else { return };
    if !text.is_empty() {
        let start = range.start + raw.len() - raw.trim_start().len();
        places.push(Place { range: start..start + raw.trim().len(), text: text.into_owned() });
    }
}

/// The value of the attribute for RTSP over WebSocket, if this tag has it.
fn attribute(message: &str, before: usize, after: usize, tag: &BytesStart<'_>, places: &mut Vec<Place>) {
    let Ok(Some(found)) = tag.try_get_attribute(WEBSOCKET_ATTRIBUTE) else { return };
    let Some(whole) = message.get(before..after) else { return };
    let value: &str = &found.value;
    // The attribute's name followed by its value: the first such run is the attribute itself.
    let Some(name) = whole.find(WEBSOCKET_ATTRIBUTE) else { return };
    let Some(offset) = whole[name..].find(value) else { return };
    let start = before + name + offset;
    push(message, start..start + value.len(), places);
}

/// `message` with the texts of some places replaced; `replace` gives the new text, or `None` to leave it.
pub fn replace(message: &str, places: &[Place], mut replace: impl FnMut(&str) -> Option<String>) -> Option<String> {
    let mut changed = String::new();
    let mut from = 0;
    for place in places {
        let Some(new) = replace(&place.text).filter(|new| *new != place.text) else { continue };
        changed.push_str(message.get(from..place.range.start)?);
        changed.push_str(&quick_xml::escape::escape(new.as_str()));
        from = place.range.end;
    }
    if from == 0 {
        return None;
    }
    changed.push_str(message.get(from..)?);
    Some(changed)
}
