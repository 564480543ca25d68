//! The service as a handler around a device that says what it got.

use std::sync::Mutex;

use http_body_util::BodyExt;

use super::{store::*, *};
use crate::{
    base::http::text_response,
    config::store::{Entry, StoreError},
    model::{extensions::Extensions, uplink::testing, user_level::UserLevel},
};

const SOAP: &str = "application/soap+xml; charset=utf-8";

#[derive(Default)]
struct Fake {
    set: Mutex<Vec<Entry>>,
    deleted: Mutex<Vec<String>>,
    fails: Option<StoreError>,
}

impl Fake {
    fn outcome(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(std::future::ready(self.fails.clone().map_or(Ok(()), Err)))
    }
}

impl UplinkStore for Fake {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_uplinks: 16,
            protocols: vec!["https".to_owned(), "wss".to_owned()],
            authorization_modes: vec!["mTLS".to_owned(), "AccessToken".to_owned()],
            streaming_over_uplink: true,
        }
    }

    fn list(&self) -> Vec<Shown> {
        let extensions = Extensions::parse("<Extensions a=\"1\"><v:x xmlns:v=\"urn:v\"/></Extensions>").expect("sound");
        vec![Shown {
            entry: Entry {
                remote_address: "https://a/?x=1&y".to_owned(),
                certificate_id: Some("c".to_owned()),
                user_level: vec!["Operator".to_owned(), "Guards".to_owned()],
                cert_path_validation_policy_id: Some("p".to_owned()),
                ..Entry::default()
            },
            extensions: Some(extensions),
            state: State::Online(Default::default()),
            error: Some("dial: <refused>\u{1b}".to_owned()),
        }]
    }

    fn set(&self, entry: Entry) -> BoxFuture<'static, Result<(), StoreError>> {
        self.set.lock().expect("one thread").push(entry);
        self.outcome()
    }

    fn delete(&self, remote_address: String) -> BoxFuture<'static, Result<(), StoreError>> {
        self.deleted.lock().expect("one thread").push(remote_address);
        self.outcome()
    }
}

/// Answers 418 with what it got.
struct Device;

impl Handler for Device {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        Box::pin(async move {
            let body = request.into_body().collect().await.expect("whole").to_bytes();
            text_response(StatusCode::IM_A_TEAPOT, &format!("device got {}", String::from_utf8_lossy(&body)))
        })
    }
}

fn service(level: UserLevel, fails: Option<StoreError>) -> (UplinkService, Arc<Fake>) {
    let store = Arc::new(Fake { fails, ..Fake::default() });
    let mut uplink = testing::uplink("https://cloud/");
    uplink.user_level = vec![level];
    let gate = Arc::new(gate::UplinkGate::new(&uplink));
    (UplinkService::new(Arc::new(Device), Arc::clone(&store) as Arc<dyn UplinkStore>, gate), store)
}

fn message(body: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:t=\"{UPLINK}\"><s:Body>{body}</s:Body></s:Envelope>"
    )
}

async fn ask(service: &UplinkService, method: Method, path: &str, kind: &str, body: impl Into<Bytes>) -> (u16, String) {
    let body = body.into();
    let request = http::Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
    let response = service.handle(request.body(Body::full(body)).expect("valid")).await;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("whole").to_bytes();
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()).expect("a length");
    assert_eq!(length, body.len().to_string());
    (parts.status.as_u16(), String::from_utf8(body.to_vec()).expect("UTF-8"))
}

async fn post(service: &UplinkService, body: &str) -> (u16, String) {
    ask(service, Method::POST, PATHS[0], SOAP, message(body)).await
}

const SET: &str = "<t:SetUplink><t:Configuration><t:RemoteAddress>https://n/</t:RemoteAddress><t:CertificateID>c</t:CertificateID>\
                   <t:UserLevel>User</t:UserLevel></t:Configuration></t:SetUplink>";
const DELETE: &str = "<t:DeleteUplink><t:RemoteAddress>https://n/</t:RemoteAddress></t:DeleteUplink>";

#[tokio::test]
async fn the_capabilities_are_those_of_the_product() {
    let (service, _) = service(UserLevel::User, None);
    let (status, body) = post(&service, "<t:GetServiceCapabilities/>").await;
    let capabilities = "<tup:Capabilities MaxUplinks=\"16\" Protocols=\"https wss\" AuthorizationModes=\"mTLS AccessToken\" \
                        StreamingOverUplink=\"true\"/>";
    assert!(status == 200 && body.contains(capabilities), "{body}");
}

#[tokio::test]
async fn the_uplinks_come_in_the_order_of_the_wsdl_with_what_a_vendor_added() {
    let (service, _) = service(UserLevel::User, None);
    let (status, body) = post(&service, "<t:GetUplinks/>").await;
    let configuration = "<tup:Configuration a=\"1\"><tup:RemoteAddress>https://a/?x=1&amp;y</tup:RemoteAddress><tup:CertificateID>c\
                         </tup:CertificateID><tup:UserLevel>Operator Guards</tup:UserLevel><tup:Status>Connected</tup:Status>\
                         <tup:CertPathValidationPolicyID>p</tup:CertPathValidationPolicyID><tup:Error>dial: &lt;refused&gt;\u{fffd}</tup:Error>\
                         <v:x xmlns:v=\"urn:v\"/></tup:Configuration>";
    assert!(status == 200 && body.contains(configuration), "{body}");
    envelope::read(body.as_bytes(), Some("utf-8")).expect("what we write we can read");
}

#[tokio::test]
async fn an_administrator_sets_and_deletes() {
    let (service, store) = service(UserLevel::Administrator, None);
    let (status, body) = post(&service, SET).await;
    assert!(status == 200 && body.contains("<tup:SetUplinkResponse/>"), "{body}");
    let (status, body) = post(&service, DELETE).await;
    assert!(status == 200 && body.contains("<tup:DeleteUplinkResponse/>"), "{body}");
    assert_eq!(store.set.lock().expect("one thread")[0].remote_address, "https://n/");
    assert_eq!(*store.deleted.lock().expect("one thread"), ["https://n/"]);
}

#[tokio::test]
async fn the_classes_of_the_operations_are_enforced() {
    let (service, store) = service(UserLevel::Operator, None);
    for body in [SET, DELETE] {
        let (status, answer) = post(&service, body).await;
        assert!(status == 400 && answer.contains("ter:NotAuthorized"), "{answer}");
    }
    assert!(store.set.lock().expect("one thread").is_empty() && store.deleted.lock().expect("one thread").is_empty());
    let (none, _) = self::service(UserLevel::Role("Nobody".to_owned()), None);
    assert_eq!(post(&none, "<t:GetUplinks/>").await.0, 400);
    assert_eq!(post(&none, "<t:GetServiceCapabilities/>").await.0, 200);
}

#[tokio::test]
async fn each_reason_has_its_fault() {
    let word = || "x".to_owned();
    for (error, code, subcodes, status) in [
        (StoreError::Certificate(word()), "Sender", ["InvalidArgVal", "CertificateID"], 400),
        (StoreError::Policy(word()), "Sender", ["InvalidArgVal", "CertPathValidationPolicyID"], 400),
        (
            StoreError::AuthorizationServer(word()),
            "Sender",
            ["InvalidArgVal", "AuthorizationServerConfigurationToken"],
            400,
        ),
        (StoreError::MissingAuthentication, "Sender", ["InvalidArgs", "MissingAuthentication"], 400),
        (StoreError::AmbiguousAuthentication, "Sender", ["InvalidArgs", "AmbiguousAuthentication"], 400),
        (StoreError::Protocol(word()), "Sender", ["InvalidArgs", "ProtocolNotSupported"], 400),
        (StoreError::Address, "Sender", ["InvalidArgVal", "Address"], 400),
        (StoreError::MaxUplinks(1), "Receiver", ["Action", "MaxUplinksReached"], 500),
    ] {
        let (service, _) = service(UserLevel::Administrator, Some(error));
        let (found, body) = post(&service, SET).await;
        let codes = format!(
            "<env:Value>env:{code}</env:Value><env:Subcode><env:Value>ter:{}</env:Value><env:Subcode><env:Value>ter:{}</env:Value>",
            subcodes[0], subcodes[1]
        );
        assert!(found == status && body.contains(&codes), "{body}");
    }
    let (service, _) = service(UserLevel::Administrator, Some(StoreError::NotWritable("it is read-only".to_owned())));
    let (status, body) = post(&service, DELETE).await;
    assert!(status == 500 && body.contains("ter:Action") && body.contains("it is read-only"), "{body}");
}

#[tokio::test]
async fn its_operations_are_answered_wherever_they_come_and_all_else_goes_on() {
    let (service, _) = service(UserLevel::Administrator, None);
    for path in
        ["/onvif/uplink_service", "/onvif/Uplink", "/onvif/uplink/", "/onvif//uplink", "/onvif/device_service", "/"]
    {
        let (status, body) = ask(&service, Method::POST, path, SOAP, message("<t:GetUplinks/>")).await;
        assert!(status == 200 && body.contains("GetUplinksResponse"), "{path}: {body}");
    }
    let other = message("<d:GetServices xmlns:d=\"http://www.onvif.org/ver10/device/wsdl\"/>");
    for path in [PATHS[0], "/onvif/device_service"] {
        let (status, body) = ask(&service, Method::POST, path, SOAP, other.clone()).await;
        assert_eq!((status, body), (418, format!("device got {other}\n")));
    }
    let large = format!("{}{}", message("<t:GetUplinks/>"), " ".repeat(MESSAGE_MAX));
    assert_eq!(ask(&service, Method::POST, "/onvif/device_service", SOAP, large.clone()).await.0, 418);
    assert_eq!(ask(&service, Method::POST, PATHS[0], SOAP, large).await.0, 413);
    assert_eq!(ask(&service, Method::GET, "/onvif/device_service", SOAP, "").await.0, 418);
}

#[tokio::test]
async fn utf_16_and_soap_1_1_are_answered_too() {
    let (service, _) = service(UserLevel::User, None);
    let wide: Vec<u8> = message("<t:GetUplinks/>").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (status, body) =
        ask(&service, Method::POST, "/onvif/device_service", "application/soap+xml; charset=utf-16", wide).await;
    assert!(status == 200 && body.contains("GetUplinksResponse"), "{body}");
    let old =
        message("<t:GetUplinks/>").replace("http://www.w3.org/2003/05/soap-envelope", crate::onvif::soap::SOAP_11);
    let (status, body) = ask(&service, Method::POST, PATHS[1], "text/xml", old).await;
    assert!(status == 200 && body.contains(crate::onvif::soap::SOAP_11), "{body}");
}

#[tokio::test]
async fn what_is_no_message_for_it_is_answered_as_the_core_says() {
    let (service, _) = service(UserLevel::Administrator, None);
    assert_eq!(ask(&service, Method::GET, PATHS[0], SOAP, "").await.0, 405);
    assert_eq!(ask(&service, Method::POST, PATHS[0], "text/plain", "x").await.0, 415);
    let (status, body) = ask(&service, Method::POST, PATHS[0], SOAP, "<s:Envelope").await;
    assert!(status == 400 && body.contains("ter:WellFormed"), "{body}");
    let (status, body) = post(&service, "<t:RebootUplink/>").await;
    assert!(status == 500 && body.contains("ter:ActionNotSupported"), "{body}");
    let (status, body) = post(&service, "<t:DeleteUplink/>").await;
    assert!(status == 400 && body.contains("ter:InvalidArgs") && body.contains("RemoteAddress"), "{body}");
    let header = "<s:Header><l:Lock xmlns:l=\"urn:locks\" s:mustUnderstand=\"1\"/></s:Header><s:Body>";
    let strange = message("<t:GetUplinks/>").replace("<s:Body>", header);
    let (status, body) = ask(&service, Method::POST, PATHS[0], SOAP, strange).await;
    assert!(status == 500 && body.contains("env:MustUnderstand"), "{body}");
}
