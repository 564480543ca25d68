//! The ONVIF device service: four operations over SOAP 1.2, and faults for everything else.
//!
//! ONVIF Core Specification §8 (device management) and §5.11 (error handling); SOAP 1.2 part 1 §5.4. Pure: the request's text
//! goes in, status and text of the answer come out. A request is known by the namespace and local name of the first child
//! of Body, never by SOAPAction or prefix. Document type declarations are refused (SOAP 1.2 part 1 §5), and with them
//! every entity but the five of XML itself.

use http::StatusCode;
use quick_xml::{
    escape::escape,
    events::{BytesRef, BytesStart, Event},
    name::ResolveResult,
    reader::NsReader,
};

const ENVELOPE: &str = "http://www.w3.org/2003/05/soap-envelope";
const DEVICE: &str = "http://www.onvif.org/ver10/device/wsdl";
/// Nesting that no sane request reaches; deeper ones are refused.
const MAX_DEPTH: usize = 32;
/// The ONVIF release that the answers follow.
const VERSION: &str = "<tt:Major>18</tt:Major><tt:Minor>12</tt:Minor>";

/// What the camera says of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Who made it.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Version of its firmware.
    pub firmware: String,
    /// Its serial number.
    pub serial: String,
    /// Its hardware.
    pub hardware: String,
}

/// An answer: HTTP status and the envelope.
#[derive(Debug)]
pub struct Answer {
    /// 200, or that of a fault (SOAP 1.2 part 2 §7.5.2.2): 400 for the sender's, 500 for others.
    pub status: StatusCode,
    /// The whole document.
    pub xml: String,
}

/// Answers one request. `authority` is host and port that the client used, `unix_ms` the time of day.
pub fn answer(request: &[u8], facts: &Facts, authority: &str, unix_ms: u64) -> Answer {
    match read(request).and_then(|call| perform(&call, facts, authority, unix_ms)) {
        Ok(body) => Answer { status: StatusCode::OK, xml: envelope(&body) },
        Err(fault) => Answer { status: fault.status(), xml: envelope(&fault.body()) },
    }
}

/// The local name of a request's operation; `None` when it is none that can be read.
pub fn operation(request: &[u8]) -> Option<String> {
    read(request).ok().map(|call| call.operation)
}

/// The answer to a request without the credentials that it needs (ONVIF Core, Generic faults).
pub fn not_authorized() -> Answer {
    let fault = Fault::sender(&["ter:NotAuthorized"], "This camera wants a UsernameToken.");
    Answer { status: fault.status(), xml: envelope(&fault.body()) }
}

fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <env:Envelope xmlns:env=\"{ENVELOPE}\" xmlns:tds=\"{DEVICE}\" xmlns:tt=\"http://www.onvif.org/ver10/schema\" \
         xmlns:ter=\"http://www.onvif.org/ver10/error\"><env:Body>{body}</env:Body></env:Envelope>\n"
    )
}

#[derive(Debug)]
struct Fault {
    code: &'static str,
    subcodes: &'static [&'static str],
    reason: &'static str,
}

impl Fault {
    const fn sender(subcode: &'static [&'static str], reason: &'static str) -> Self {
        Self { code: "env:Sender", subcodes: subcode, reason }
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

/// An operation and its plain arguments, as they stood in the request.
#[derive(Debug, Default)]
struct Call {
    namespace: Option<String>,
    operation: String,
    arguments: Vec<(String, String)>,
}

fn perform(call: &Call, facts: &Facts, authority: &str, unix_ms: u64) -> Result<String, Fault> {
    let not_supported = Fault {
        code: "env:Receiver",
        subcodes: &["ter:ActionNotSupported"],
        reason: "This camera emulator does not know the operation.",
    };
    if call.namespace.as_deref() != Some(DEVICE) {
        return Err(not_supported);
    }
    let address = format!("http://{}/onvif/device_service", escape(authority));
    match call.operation.as_str() {
        "GetSystemDateAndTime" => Ok(date_and_time(unix_ms)),
        "GetDeviceInformation" => Ok(device_information(facts)),
        "GetCapabilities" => capabilities(call, &address),
        "GetServices" => services(call, &address),
        _ => Err(not_supported),
    }
}

fn date_and_time(unix_ms: u64) -> String {
    let now = super::clock::utc(unix_ms);
    format!(
        "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:DateTimeType>NTP</tt:DateTimeType>\
         <tt:DaylightSavings>false</tt:DaylightSavings><tt:TimeZone><tt:TZ>UTC0</tt:TZ></tt:TimeZone><tt:UTCDateTime>\
         <tt:Time><tt:Hour>{}</tt:Hour><tt:Minute>{}</tt:Minute><tt:Second>{}</tt:Second></tt:Time>\
         <tt:Date><tt:Year>{}</tt:Year><tt:Month>{}</tt:Month><tt:Day>{}</tt:Day></tt:Date></tt:UTCDateTime>\
         </tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>",
        now.hour(),
        now.minute(),
        now.second(),
        now.year(),
        u8::from(now.month()),
        now.day()
    )
}

fn device_information(facts: &Facts) -> String {
    format!(
        "<tds:GetDeviceInformationResponse><tds:Manufacturer>{}</tds:Manufacturer><tds:Model>{}</tds:Model>\
         <tds:FirmwareVersion>{}</tds:FirmwareVersion><tds:SerialNumber>{}</tds:SerialNumber>\
         <tds:HardwareId>{}</tds:HardwareId></tds:GetDeviceInformationResponse>",
        escape(&facts.manufacturer),
        escape(&facts.model),
        escape(&facts.firmware),
        escape(&facts.serial),
        escape(&facts.hardware)
    )
}

fn capabilities(call: &Call, address: &str) -> Result<String, Fault> {
    for category in call.arguments.iter().filter(|(name, _)| name == "Category") {
        match category.1.trim() {
            "All" | "Device" => {}
            "Analytics" | "Events" | "Imaging" | "Media" | "PTZ" => {
                return Err(Fault {
                    code: "env:Receiver",
                    subcodes: &["ter:ActionNotSupported", "ter:NoSuchService"],
                    reason: "This camera emulator has no service of that category.",
                });
            }
            _ => return Err(Fault::sender(&["ter:InvalidArgVal"], "Category is none of those that ONVIF names.")),
        }
    }
    Ok(format!(
        "<tds:GetCapabilitiesResponse><tds:Capabilities><tt:Device><tt:XAddr>{address}</tt:XAddr><tt:System>\
         <tt:DiscoveryResolve>false</tt:DiscoveryResolve><tt:DiscoveryBye>false</tt:DiscoveryBye>\
         <tt:RemoteDiscovery>false</tt:RemoteDiscovery><tt:SystemBackup>false</tt:SystemBackup>\
         <tt:SystemLogging>false</tt:SystemLogging><tt:FirmwareUpgrade>false</tt:FirmwareUpgrade>\
         <tt:SupportedVersions>{VERSION}</tt:SupportedVersions></tt:System></tt:Device></tds:Capabilities>\
         </tds:GetCapabilitiesResponse>"
    ))
}

fn services(call: &Call, address: &str) -> Result<String, Fault> {
    let wanted = call.arguments.iter().find(|(name, _)| name == "IncludeCapability").map(|(_, value)| value.trim());
    let detail = match wanted {
        Some("true" | "1") => {
            "<tds:Capabilities><tds:Capabilities><tds:Network IPFilter=\"false\" ZeroConfiguration=\"false\" \
             IPVersion6=\"false\" DynDNS=\"false\"/><tds:Security UsernameToken=\"false\" HttpDigest=\"false\"/>\
             <tds:System DiscoveryResolve=\"false\" DiscoveryBye=\"false\" RemoteDiscovery=\"false\"/>\
             </tds:Capabilities></tds:Capabilities>"
        }
        Some("false" | "0") => "",
        Some(_) => return Err(Fault::sender(&["ter:InvalidArgVal"], "IncludeCapability is neither true nor false.")),
        None => return Err(Fault::sender(&["ter:InvalidArgs"], "IncludeCapability is missing.")),
    };
    Ok(format!(
        "<tds:GetServicesResponse><tds:Service><tds:Namespace>{DEVICE}</tds:Namespace><tds:XAddr>{address}</tds:XAddr>\
         {detail}<tds:Version>{VERSION}</tds:Version></tds:Service></tds:GetServicesResponse>"
    ))
}

/// Where the reader stands in the document.
#[derive(Debug, Default)]
struct Reading {
    depth: usize,
    in_body: bool,
    ended: bool,
    call: Option<Call>,
}

fn read(request: &[u8]) -> Result<Call, Fault> {
    let text = std::str::from_utf8(request).map_err(|_| Fault::malformed("The request is not UTF-8."))?;
    let mut reader = NsReader::from_str(text);
    let mut reading = Reading::default();
    loop {
        let (namespace, event) =
            reader.read_resolved_event().map_err(|_| Fault::malformed("The request is not well-formed XML."))?;
        match event {
            Event::Start(element) => reading.open(&namespace, &element)?,
            Event::Empty(element) => {
                reading.open(&namespace, &element)?;
                reading.close();
            }
            Event::End(_) => reading.close(),
            Event::Text(text) => reading.text(&text.xml10_content())?,
            Event::CData(text) => reading.text(&text.xml10_content())?,
            Event::GeneralRef(reference) => reading.text(&resolve(&reference)?.to_string())?,
            Event::DocType(_) => return Err(Fault::malformed("A SOAP message has no document type declaration.")),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => return reading.finish(),
        }
    }
}

fn resolve(reference: &BytesRef<'_>) -> Result<char, Fault> {
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

impl Reading {
    fn open(&mut self, namespace: &ResolveResult<'_>, element: &BytesStart<'_>) -> Result<(), Fault> {
        if element.attributes().any(|attribute| attribute.is_err()) {
            return Err(Fault::malformed("An attribute is not well-formed XML."));
        }
        let namespace = match namespace {
            ResolveResult::Bound(namespace) => Some(namespace.as_ref()),
            ResolveResult::Unbound => None,
            ResolveResult::Unknown(_) => return Err(Fault::malformed("A prefix is not bound to a namespace.")),
        };
        let local = element.local_name();
        let local: &str = local.as_ref();
        match (self.depth, &mut self.call) {
            (0, _) if self.ended => return Err(Fault::malformed("The request has more than one root element.")),
            (0, _) if local != "Envelope" => return Err(Fault::malformed("The request is not a SOAP envelope.")),
            (0, _) if namespace != Some(ENVELOPE) => {
                return Err(Fault {
                    code: "env:VersionMismatch",
                    subcodes: &[],
                    reason: "The envelope is not one of SOAP 1.2.",
                });
            }
            (1, _) => self.in_body = namespace == Some(ENVELOPE) && local == "Body",
            (2, Some(_)) if self.in_body => {
                return Err(Fault::sender(&["ter:InvalidArgs"], "Body has two operations."));
            }
            (2, None) if self.in_body => {
                self.call = Some(Call {
                    namespace: namespace.map(str::to_owned),
                    operation: local.to_owned(),
                    arguments: Vec::new(),
                });
            }
            (3, Some(call)) if self.in_body => call.arguments.push((local.to_owned(), String::new())),
            (MAX_DEPTH, _) => return Err(Fault::malformed("The request is nested too deeply.")),
            _ => {}
        }
        self.depth += 1;
        Ok(())
    }

    fn close(&mut self) {
        // The reader has matched every end with its start, so the depth never goes below zero.
        self.depth -= 1;
        self.ended |= self.depth == 0;
    }

    fn text(&mut self, text: &str) -> Result<(), Fault> {
        if self.depth == 0 && !text.trim().is_empty() {
            return Err(Fault::malformed("The request has text outside its root element."));
        }
        // Text at depth 4 in Body is the value of the argument that was opened last.
        if self.depth == 4
            && self.in_body
            && let Some((_, value)) = self.call.as_mut().and_then(|call| call.arguments.last_mut())
        {
            value.push_str(text);
        }
        Ok(())
    }

    fn finish(self) -> Result<Call, Fault> {
        if !self.ended || self.depth != 0 {
            return Err(Fault::malformed("The request ends before its last element does."));
        }
        self.call.ok_or(Fault::malformed("Body has no operation."))
    }
}

#[cfg(test)]
#[path = "soap_tests.rs"]
mod tests;
