//! Lists of services of devices, with and without the uplink service, in several spellings.

use super::*;

fn capabilities() -> Capabilities {
    Capabilities {
        max_uplinks: 4,
        protocols: vec!["https".to_owned()],
        authorization_modes: vec!["mTLS".to_owned()],
        streaming_over_uplink: true,
    }
}

fn soap(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:d=\"{DEVICE}\" xmlns:t=\"{SCHEMA}\">\
         <s:Body>{body}</s:Body></s:Envelope>\n"
    )
}

fn wanted(services: bool, capability: bool) -> Wanted {
    Wanted { services, capability, asked: "https://cloud".to_owned() }
}

fn request(body: &str) -> Option<Wanted> {
    let request = http::Request::post("https://cloud/onvif/device_service").header("accept-encoding", "gzip").body(());
    let (mut parts, ()) = request.expect("valid").into_parts();
    let found = Wanted::of(&mut parts, soap(body).as_bytes(), None);
    assert_eq!(parts.headers.contains_key("accept-encoding"), found.is_none());
    found
}

const OWN: &str = "<d:Service><d:Namespace>http://www.onvif.org/ver10/device/wsdl</d:Namespace><d:XAddr>http://192.168.1.5:80/onvif/device_service\
                   </d:XAddr><d:Version><t:Major>2</t:Major><t:Minor>42</t:Minor></d:Version></d:Service>";

#[test]
fn lists_of_services_are_told_from_other_requests() {
    assert_eq!(
        request("<d:GetServices><d:IncludeCapability>true</d:IncludeCapability></d:GetServices>"),
        Some(wanted(true, true))
    );
    assert_eq!(
        request("<d:GetServices><d:IncludeCapability>false</d:IncludeCapability></d:GetServices>"),
        Some(wanted(true, false))
    );
    assert_eq!(request("<d:GetCapabilities/>"), Some(wanted(false, false)));
    assert_eq!(
        request("<d:GetCapabilities><d:Category>All</d:Category></d:GetCapabilities>"),
        Some(wanted(false, false))
    );
    assert_eq!(request("<d:GetCapabilities><d:Category>PTZ</d:Category></d:GetCapabilities>"), None);
    assert_eq!(request("<d:GetUsers>GetServices</d:GetUsers>"), None);
    assert_eq!(request("<GetServices xmlns=\"urn:other\"/>"), None);
}

#[test]
fn a_service_is_added_behind_the_others_and_nothing_else_changes() {
    let answer = soap(&format!("<d:GetServicesResponse>\n{OWN} <!-- the end --></d:GetServicesResponse >"));
    let new = complete(answer.as_bytes(), &wanted(true, false), &capabilities()).expect("completed");
    let (before, after) = answer.split_once("</d:GetServicesResponse").expect("there");
    assert!(new.starts_with(before) && new.ends_with(after), "{new}");
    assert!(new.contains("<tds:XAddr>http://192.168.1.5:80/onvif/uplink_service</tds:XAddr>"), "{new}");
    assert!(!new.contains("MaxUplinks"));
    read(new.as_bytes(), None).expect("sound");
    assert_eq!(complete(new.as_bytes(), &wanted(true, false), &capabilities()), None, "it is there now");
}

#[test]
fn the_capabilities_are_there_only_if_they_are_wanted() {
    let answer = soap("<d:GetServicesResponse> </d:GetServicesResponse>");
    let new = complete(answer.as_bytes(), &wanted(true, true), &capabilities()).expect("completed");
    assert!(new.contains(" MaxUplinks=\"4\" Protocols=\"https\""), "{new}");
    assert!(new.contains("https://cloud/onvif/uplink_service"), "the address that was asked: {new}");
}

#[test]
fn a_byte_order_mark_stays_where_it_is() {
    let answer = format!("\u{feff}{}", soap(&format!("<d:GetServicesResponse>{OWN}</d:GetServicesResponse>")));
    let new = complete(answer.as_bytes(), &wanted(true, false), &capabilities()).expect("completed");
    assert!(new.contains("</d:Service><tds:Service"), "{new}");
}

#[test]
fn capabilities_have_it_first_in_their_extension() {
    let device = "<t:Device><t:XAddr>http://192.168.1.5/onvif/device_service</t:XAddr></t:Device>";
    let uplink = format!(
        "<tup:Uplink xmlns:tup=\"{UPLINK}\"><tup:XAddr>http://192.168.1.5/onvif/uplink_service</tup:XAddr></tup:Uplink>"
    );
    let of = |inner: &str| {
        let answer = soap(&format!(
            "<d:GetCapabilitiesResponse><d:Capabilities>{inner}</d:Capabilities></d:GetCapabilitiesResponse>"
        ));
        complete(answer.as_bytes(), &wanted(false, false), &capabilities())
    };
    let new = of(&format!("{device}<t:Extension a=\"x>y\"><t:DeviceIO/></t:Extension>")).expect("completed");
    assert!(new.contains(&format!("<t:Extension a=\"x>y\">{uplink}<t:DeviceIO/>")), "{new}");
    let new = of(device).expect("completed");
    assert!(new.contains(&format!("{device}<tt:Extension xmlns:tt=\"{SCHEMA}\">{uplink}</tt:Extension>")), "{new}");
    assert_eq!(of(&format!("{device}<t:Extension>{uplink}</t:Extension>")), None);
}

#[test]
fn what_is_no_list_passes() {
    for answer in [soap("<d:GetUsersResponse/>"), soap("<d:GetServicesResponse/>"), "<html/>".to_owned()] {
        assert_eq!(complete(answer.as_bytes(), &wanted(true, false), &capabilities()), None);
    }
}
