//! SOAP 1.2 as the camera reads and writes it: the operation of a message with its arguments, envelopes, faults.
//!
//! SOAP 1.2 part 1 §5.4, ONVIF Core §5.11 (error handling). A request is known by the namespace and local name of the only
//! child of Body, never by SOAPAction or prefix. Document type declarations are refused (SOAP 1.2 part 1 §5), and with them
//! every entity but the five of XML itself. Whoever sends a message has read its schema: arguments are found by local name.

use http::StatusCode;
use quick_xml::{
    XmlVersion,
    escape::escape,
    events::{BytesRef, BytesStart, Event},
    name::ResolveResult,
    reader::NsReader,
};

pub(super) const ENVELOPE: &str = "http://www.w3.org/2003/05/soap-envelope";
const ADDRESSING: &str = "http://www.w3.org/2005/08/addressing";
/// Nesting that no sane request reaches; deeper ones are refused.
pub(super) const MAX_DEPTH: usize = 32;

/// An answer: HTTP status and the envelope.
#[derive(Debug)]
pub struct Answer {
    /// 200, or that of a fault (SOAP 1.2 part 2 §7.5.2.2): 400 for the sender's, 500 for others.
    pub status: StatusCode,
    /// The whole document.
    pub xml: String,
}

impl Answer {
    /// The answer to a message: what its operation gave, or why it gave nothing. Addressed if the message was.
    pub(super) fn new(result: Result<String, Fault>, call: Option<&Call>) -> Self {
        let (status, body, action) = match (result, call) {
            (Ok(body), call) => (StatusCode::OK, body, call.and_then(Call::answer_action)),
            (Err(fault), _) => (fault.status(), fault.body(), Some(format!("{ADDRESSING}/soap/fault"))),
        };
        let header = match (call.and_then(|call| call.message_id.as_deref()), action) {
            (Some(message), Some(action)) => format!(
                "<env:Header><wsa:Action>{}</wsa:Action><wsa:RelatesTo>{}</wsa:RelatesTo></env:Header>",
                escape(&action),
                escape(message)
            ),
            _ => String::new(),
        };
        let xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <env:Envelope xmlns:env=\"{ENVELOPE}\" xmlns:tds=\"http://www.onvif.org/ver10/device/wsdl\" \
             xmlns:trt=\"http://www.onvif.org/ver10/media/wsdl\" xmlns:tr2=\"http://www.onvif.org/ver20/media/wsdl\" \
             xmlns:tptz=\"http://www.onvif.org/ver20/ptz/wsdl\" xmlns:timg=\"http://www.onvif.org/ver20/imaging/wsdl\" \
             xmlns:tev=\"http://www.onvif.org/ver10/events/wsdl\" xmlns:tt=\"http://www.onvif.org/ver10/schema\" \
             xmlns:ter=\"http://www.onvif.org/ver10/error\" xmlns:wsa=\"{ADDRESSING}\" \
             xmlns:wsnt=\"http://docs.oasis-open.org/wsn/b-2\" xmlns:wstop=\"http://docs.oasis-open.org/wsn/t-1\" \
             xmlns:wsrf-rw=\"http://docs.oasis-open.org/wsrf/rw-2\" xmlns:tns1=\"http://www.onvif.org/ver10/topics\">\
             {header}<env:Body>{body}</env:Body></env:Envelope>\n"
        );
        Self { status, xml }
    }
}

/// Why an operation gave nothing.
#[derive(Debug)]
pub(super) struct Fault {
    code: &'static str,
    subcodes: &'static [&'static str],
    reason: &'static str,
}

impl Fault {
    /// The request is to blame.
    pub(super) const fn sender(subcodes: &'static [&'static str], reason: &'static str) -> Self {
        Self { code: "env:Sender", subcodes, reason }
    }

    /// The camera is.
    pub(super) const fn receiver(subcodes: &'static [&'static str], reason: &'static str) -> Self {
        Self { code: "env:Receiver", subcodes, reason }
    }

    /// The camera has no such operation.
    pub(super) const fn not_supported() -> Self {
        Self::receiver(&["ter:ActionNotSupported"], "This camera emulator does not know the operation.")
    }

    const fn malformed(reason: &'static str) -> Self {
        Self::sender(&["ter:WellFormed"], reason)
    }

    fn status(&self) -> StatusCode {
        if self.code == "env:Sender" { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR }
    }

    fn body(&self) -> String {
        let subcodes = self.subcodes.iter().rev().fold(String::new(), |inner, subcode| {
            format!("<env:Subcode><env:Value>{subcode}</env:Value>{inner}</env:Subcode>")
        });
        format!(
            "<env:Fault><env:Code><env:Value>{}</env:Value>{subcodes}</env:Code>\
             <env:Reason><env:Text xml:lang=\"en\">{}</env:Text></env:Reason></env:Fault>",
            self.code, self.reason
        )
    }
}

/// An element of a message, without the prefixes of its names.
#[derive(Debug, Default)]
pub(super) struct Element {
    namespace: String,
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// The first child of this local name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All children of this local name.
    pub(super) fn all<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text in it, without space around it.
    pub(super) fn text(&self) -> &str {
        self.text.trim()
    }

    /// The text of the first child of this local name.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.child(name).map(Self::text)
    }

    /// The value of an attribute without a namespace.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// An operation with its arguments.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) arguments: Element,
    message_id: Option<String>,
    action: Option<String>,
}

impl Call {
    /// Namespace and local name of the operation.
    pub(super) fn operation(&self) -> (&str, &str) {
        (&self.arguments.namespace, &self.arguments.name)
    }

    /// The action of the answer by the rule of WS-Addressing (Metadata §4.4.4), made from that of the request.
    fn answer_action(&self) -> Option<String> {
        let action = self.action.as_deref()?;
        Some(format!("{}Response", action.strip_suffix("Request").unwrap_or(action)))
    }

    /// Takes the operation out of a message.
    ///
    /// # Errors
    /// It is not well-formed, no envelope of SOAP 1.2, or does not have exactly one operation.
    pub(super) fn read(request: &[u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(request).map_err(|_| Fault::malformed("The request is not UTF-8."))?;
        let envelope = tree(text)?;
        let (mut header, mut body) = (None, None);
        for part in envelope.children.into_iter().filter(|part| part.namespace == ENVELOPE) {
            match part.name.as_str() {
                "Header" => header = Some(part),
                "Body" if body.is_none() => body = Some(part),
                _ => return Err(Fault::malformed("The envelope has more than a header and a body.")),
            }
        }
        let mut operations = body.map(|body| body.children).unwrap_or_default();
        let arguments = operations.pop().ok_or(Fault::malformed("Body has no operation."))?;
        if !operations.is_empty() {
            return Err(Fault::sender(&["ter:InvalidArgs"], "Body has two operations."));
        }
        let addressed = |name: &str| {
            let block = header.as_ref()?.all(name).find(|block| block.namespace == ADDRESSING)?;
            Some(block.text().to_owned())
        };
        Ok(Self { arguments, message_id: addressed("MessageID"), action: addressed("Action") })
    }
}

/// The document as a tree.
fn tree(text: &str) -> Result<Element, Fault> {
    let mut reader = NsReader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    loop {
        let (namespace, event) =
            reader.read_resolved_event().map_err(|_| Fault::malformed("The request is not well-formed XML."))?;
        let text = match event {
            Event::Start(tag) => {
                open.push(element(&namespace, &tag, open.len(), root.is_some())?);
                continue;
            }
            Event::Empty(tag) => {
                let element = element(&namespace, &tag, open.len(), root.is_some())?;
                close(&mut open, &mut root, element);
                continue;
            }
            Event::End(_) => {
                // The reader has matched every end with its start.
                if let Some(element) = open.pop() {
                    close(&mut open, &mut root, element);
                }
                continue;
            }
            Event::Text(text) => text.xml10_content().into_owned(),
            Event::CData(text) => text.xml10_content().into_owned(),
            Event::GeneralRef(reference) => resolve(&reference)?.to_string(),
            Event::DocType(_) => return Err(Fault::malformed("A SOAP message has no document type declaration.")),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => continue,
            Event::Eof if !open.is_empty() => {
                return Err(Fault::malformed("The request ends before its last element does."));
            }
            Event::Eof => return root.ok_or(Fault::malformed("The request has no element.")),
        };
        match open.last_mut() {
            Some(element) => element.text.push_str(&text),
            None if text.trim().is_empty() => {}
            None => return Err(Fault::malformed("The request has text outside its root element.")),
        }
    }
}

fn close(open: &mut [Element], root: &mut Option<Element>, element: Element) {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
}

fn element(namespace: &ResolveResult<'_>, tag: &BytesStart<'_>, depth: usize, ended: bool) -> Result<Element, Fault> {
    let namespace = match namespace {
        ResolveResult::Bound(namespace) => namespace.as_ref(),
        ResolveResult::Unbound => "",
        ResolveResult::Unknown(_) => return Err(Fault::malformed("A prefix is not bound to a namespace.")),
    };
    let name = tag.local_name();
    let name: &str = name.as_ref();
    match depth {
        0 if ended => return Err(Fault::malformed("The request has more than one root element.")),
        0 if name != "Envelope" => return Err(Fault::malformed("The request is not a SOAP envelope.")),
        0 if namespace != ENVELOPE => {
            return Err(Fault {
                code: "env:VersionMismatch",
                subcodes: &[],
                reason: "The envelope is not one of SOAP 1.2.",
            });
        }
        MAX_DEPTH => return Err(Fault::malformed("The request is nested too deeply.")),
        _ => {}
    }
    let mut attributes = Vec::new();
    for attribute in tag.attributes() {
        let wrong = || Fault::malformed("An attribute is not well-formed XML.");
        let attribute = attribute.map_err(|_| wrong())?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| wrong())?;
        if attribute.key.prefix().is_none() {
            attributes.push((attribute.key.local_name().as_ref().to_owned(), value.into_owned()));
        }
    }
    Ok(Element { namespace: namespace.to_owned(), name: name.to_owned(), attributes, ..Element::default() })
}

pub(super) fn resolve(reference: &BytesRef<'_>) -> Result<char, Fault> {
    let unknown = || Fault::malformed("The request refers to an entity that XML does not define.");
    if let Some(character) = reference.resolve_char_ref().map_err(|_| unknown())? {
        return Ok(character);
    }
    match &*reference.xml10_content() {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "apos" => Ok('\''),
        "quot" => Ok('"'),
        _ => Err(unknown()),
    }
}
