//! Tests of messages and of the device service: answers are read back with a namespace-aware reader, faults are compared by code.

use futures_util::FutureExt as _;
use quick_xml::{events::Event, name::ResolveResult, reader::NsReader};

use super::{
    device::NAMESPACE as DEVICE,
    soap::{ENVELOPE, MAX_DEPTH, resolve},
    *,
};

const NOON: u64 = 1_795_348_800_000;

fn facts() -> Facts {
    Facts {
        manufacturer: "A & B <Cameras>".to_owned(),
        model: "Model".to_owned(),
        firmware: "1.2.3".to_owned(),
        serial: "camera-1".to_owned(),
        hardware: "none".to_owned(),
        user: "admin".to_owned(),
    }
}

/// Asks a new camera, which has nothing to wait for.
fn ask_bytes(request: &[u8]) -> Answer {
    let services = Services::new(facts(), Arc::default());
    let addresses = Addresses::new("192.0.2.7", Some(8080), None);
    let answer = services.answer(request, "/onvif/device_service", &addresses, NOON);
    answer.now_or_never().expect("answered at once")
}

fn ask(request: &str) -> Answer {
    ask_bytes(request.as_bytes())
}

fn ask_body(body: &str) -> Answer {
    ask(&format!(
        "<s:Envelope xmlns:s=\"{ENVELOPE}\" xmlns:d=\"{DEVICE}\"><s:Header/><s:Body>{body}</s:Body></s:Envelope>"
    ))
}

/// Every element of a document in order, as `{namespace}local`, with its text. Panics when it is not well-formed.
fn elements(xml: &str) -> Vec<(String, String)> {
    let mut reader = NsReader::from_str(xml);
    let mut found: Vec<(String, String)> = Vec::new();
    loop {
        let (namespace, event) = reader.read_resolved_event().unwrap();
        match event {
            Event::Start(element) | Event::Empty(element) => {
                let ResolveResult::Bound(namespace) = namespace else { panic!("unbound element in {xml}") };
                found.push((format!("{{{}}}{}", namespace.as_ref(), element.local_name().as_ref()), String::new()));
            }
            Event::Text(text) => {
                found.iter_mut().last().into_iter().for_each(|e| e.1 += text.xml10_content().trim_end_matches('\n'))
            }
            Event::GeneralRef(text) => found.last_mut().unwrap().1.push(resolve(&text).unwrap()),
            Event::Eof => return found,
            _ => {}
        }
    }
}

fn value(answer: &Answer, name: &str) -> String {
    let found = elements(&answer.xml);
    found.iter().find(|(element, _)| element == name).unwrap_or_else(|| panic!("no {name} in {found:?}")).1.clone()
}

fn assert_fault(answer: &Answer, status: u16, code: &str, subcodes: &[&str]) {
    assert_eq!(answer.status, status, "{}", answer.xml);
    let values: Vec<String> = elements(&answer.xml)
        .into_iter()
        .filter(|(element, _)| *element == format!("{{{ENVELOPE}}}Value"))
        .map(|(_, text)| text)
        .collect();
    assert_eq!(values, [&[code], subcodes].concat());
    assert!(!value(answer, &format!("{{{ENVELOPE}}}Text")).is_empty());
}

#[test]
fn the_date_is_that_of_the_clock_in_utc() {
    let answer = ask_body("<d:GetSystemDateAndTime/>");
    assert_eq!(answer.status, 200);
    let names = ["Year", "Month", "Day", "Hour", "Minute", "Second"];
    let values = names.map(|name| value(&answer, &format!("{{http://www.onvif.org/ver10/schema}}{name}")));
    assert_eq!(values, ["2026", "11", "22", "12", "0", "0"]);
    assert_eq!(elements(&answer.xml)[2].0, format!("{{{DEVICE}}}GetSystemDateAndTimeResponse"));
}

#[test]
fn device_information_is_escaped() {
    let answer = ask_body("<d:GetDeviceInformation/>");
    assert_eq!(value(&answer, &format!("{{{DEVICE}}}Manufacturer")), "A & B <Cameras>");
    assert_eq!(value(&answer, &format!("{{{DEVICE}}}SerialNumber")), "camera-1");
}

#[test]
fn capabilities_name_the_address_that_the_client_used() {
    for body in [
        "<d:GetCapabilities/>",
        "<d:GetCapabilities><d:Category>All</d:Category></d:GetCapabilities>",
        "<d:GetCapabilities><d:Category>Media</d:Category><d:Category>Device</d:Category></d:GetCapabilities>",
        "<d:GetCapabilities><d:Category> Device </d:Category></d:GetCapabilities>",
    ] {
        let address = value(&ask_body(body), "{http://www.onvif.org/ver10/schema}XAddr");
        assert_eq!(address, "http://192.0.2.7:8080/onvif/device_service");
    }
}

#[test]
fn a_category_without_a_service_and_one_that_is_unknown_are_different_faults() {
    let analytics = ask_body("<d:GetCapabilities><d:Category>Analytics</d:Category></d:GetCapabilities>");
    assert_fault(&analytics, 500, "env:Receiver", &["ter:ActionNotSupported", "ter:NoSuchService"]);
    let nonsense = ask_body("<d:GetCapabilities><d:Category>Coffee</d:Category></d:GetCapabilities>");
    assert_fault(&nonsense, 400, "env:Sender", &["ter:InvalidArgVal"]);
}

#[test]
fn services_hold_capabilities_only_if_asked_for() {
    let ask = |wanted: &str| {
        ask_body(&format!("<d:GetServices><d:IncludeCapability>{wanted}</d:IncludeCapability></d:GetServices>"))
    };
    for (wanted, expected) in [("true", true), ("1", true), ("false", false), ("0", false), ("tr&#117;e", true)] {
        let answer = ask(wanted);
        assert_eq!(answer.status, 200, "{wanted}");
        assert_eq!(value(&answer, &format!("{{{DEVICE}}}Namespace")), DEVICE);
        let has = elements(&answer.xml).iter().any(|(name, _)| *name == format!("{{{DEVICE}}}Capabilities"));
        assert_eq!(has, expected, "{wanted}");
    }
    assert_fault(&ask("maybe"), 400, "env:Sender", &["ter:InvalidArgVal"]);
    assert_fault(&ask_body("<d:GetServices/>"), 400, "env:Sender", &["ter:InvalidArgs"]);
}

#[test]
fn an_operation_is_known_by_its_namespace_whatever_the_prefix() {
    let default = format!("<GetDeviceInformation xmlns=\"{DEVICE}\"/>");
    assert_eq!(ask_body(&default).status, 200);
    let foreign = "<d:GetDeviceInformation xmlns:d=\"http://www.onvif.org/ver10/media/wsdl\"/>";
    assert_fault(&ask_body(foreign), 500, "env:Receiver", &["ter:ActionNotSupported"]);
    assert_fault(&ask_body("<GetDeviceInformation/>"), 500, "env:Receiver", &["ter:ActionNotSupported"]);
    assert_fault(&ask_body("<d:SetSystemFactoryDefault/>"), 500, "env:Receiver", &["ter:ActionNotSupported"]);
}

#[test]
fn an_operation_in_the_header_is_not_performed() {
    let answer = ask(&format!(
        "<s:Envelope xmlns:s=\"{ENVELOPE}\" xmlns:d=\"{DEVICE}\"><s:Header><d:GetDeviceInformation/></s:Header>\
         <s:Body><d:SetSystemFactoryDefault/></s:Body></s:Envelope>"
    ));
    assert_fault(&answer, 500, "env:Receiver", &["ter:ActionNotSupported"]);
}

#[test]
fn what_is_not_well_formed_is_the_senders_fault() {
    let deep = "<d:a>".repeat(MAX_DEPTH) + &"</d:a>".repeat(MAX_DEPTH);
    let whole = |body: &str| format!("<s:Envelope xmlns:s=\"{ENVELOPE}\"><s:Body>{body}</s:Body></s:Envelope>");
    for request in [
        String::new(),
        "hello".to_owned(),
        "<a/>".to_owned(),
        format!("<s:Envelope xmlns:s=\"{ENVELOPE}\"><s:Body>"),
        whole(""),
        whole("<a></b>"),
        whole("<x:a/>"),
        whole("<a b='1' b='2'/>"),
        whole("<a>&undefined;</a>"),
        whole("<a/>") + "<a/>",
        whole("<a/>") + "text",
        whole(&format!("<d:a xmlns:d='u'>{deep}</d:a>")),
        format!("<!DOCTYPE x [<!ENTITY e 'v'>]>{}", whole("<a/>")),
    ] {
        assert_fault(&ask(&request), 400, "env:Sender", &["ter:WellFormed"]);
    }
    let latin = ask_bytes(b"<a>\xFF</a>");
    assert_fault(&latin, 400, "env:Sender", &["ter:WellFormed"]);
}

#[test]
fn an_envelope_of_soap_11_is_a_version_mismatch() {
    let soap11 = "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body/></s:Envelope>";
    assert_fault(&ask(soap11), 500, "env:VersionMismatch", &[]);
}

#[test]
fn an_addressed_message_gets_an_addressed_answer() {
    let message = |operation: &str| {
        ask(&format!(
            "<s:Envelope xmlns:s=\"{ENVELOPE}\" xmlns:d=\"{DEVICE}\" xmlns:a=\"http://www.w3.org/2005/08/addressing\"><s:Header>\
             <a:Action>urn:x/GetHostnameRequest</a:Action><a:MessageID>urn:1&amp;2</a:MessageID></s:Header>\
             <s:Body><d:{operation}/></s:Body></s:Envelope>"
        ))
    };
    let addressed =
        |answer: &Answer, name: &str| value(answer, &format!("{{http://www.w3.org/2005/08/addressing}}{name}"));
    let answer = message("GetHostname");
    assert_eq!(addressed(&answer, "Action"), "urn:x/GetHostnameResponse");
    assert_eq!(addressed(&answer, "RelatesTo"), "urn:1&2");
    let fault = message("GetHostnames");
    assert_eq!(addressed(&fault, "Action"), "http://www.w3.org/2005/08/addressing/soap/fault");
    assert!(!ask_body("<d:GetHostname/>").xml.contains("<env:Header>"));
}

#[test]
fn two_bodies_are_refused() {
    let two = format!(
        "<s:Envelope xmlns:s=\"{ENVELOPE}\" xmlns:d=\"{DEVICE}\"><s:Body><d:GetHostname/></s:Body><s:Body/></s:Envelope>"
    );
    assert_fault(&ask(&two), 400, "env:Sender", &["ter:WellFormed"]);
}

#[test]
fn two_operations_in_one_body_are_refused() {
    let two = ask_body("<d:GetDeviceInformation/><d:GetSystemDateAndTime/>");
    assert_fault(&two, 400, "env:Sender", &["ter:InvalidArgs"]);
}
