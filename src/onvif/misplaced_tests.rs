//! Which messages are sent on to the device service, and that nothing else is touched.

use std::sync::Mutex;

use http_body_util::BodyExt;

use super::*;
use crate::base::http::text_response;

/// Knows only some paths; remembers what it was asked.
struct Device {
    knows: &'static str,
    asked: Mutex<Vec<(String, Bytes)>>,
}

impl Device {
    fn new(knows: &'static str) -> Arc<Self> {
        Arc::new(Self { knows, asked: Mutex::default() })
    }
}

struct Ask(Arc<Device>);

impl Handler for Ask {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let device = Arc::clone(&self.0);
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.expect("a whole body").to_bytes();
            let known = path == device.knows;
            device.asked.lock().expect("one thread").push((path, body));
            text_response(if known { StatusCode::OK } else { StatusCode::NOT_FOUND }, "device")
        })
    }
}

const NS: &str = "http://www.onvif.org/ver10/device/wsdl";
const SOAP: &str = "http://www.w3.org/2003/05/soap-envelope";

fn envelope(header: &str, body: &str) -> String {
    format!("<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"{SOAP}\">{header}<s:Body>{body}</s:Body></s:Envelope>")
}

async fn post(device: &Arc<Device>, path: &str, kind: &str, message: &str) -> (StatusCode, usize) {
    let request = http::Request::post(format!("https://cloud{path}"))
        .header(header::CONTENT_TYPE, kind)
        .header(header::CONTENT_LENGTH, message.len())
        .body(Body::full(message.to_owned()))
        .expect("valid");
    let response = Misplaced::new(Arc::new(Ask(Arc::clone(device)))).handle(request).await;
    (response.status(), device.asked.lock().expect("one thread").len())
}

#[tokio::test]
async fn an_operation_of_the_device_service_finds_its_path_with_the_same_bytes() {
    for message in [
        envelope(
            "",
            &format!("<GetServices xmlns=\"{NS}\"><IncludeCapability>false</IncludeCapability></GetServices>"),
        ),
        envelope("<s:Header><a xmlns=\"urn:x\"><b>1</b></a></s:Header>", &format!("<d:GetServices xmlns:d=\"{NS}\"/>")),
        envelope("<s:Header/>", &format!("\n <!-- c --> <d:GetServices xmlns:d=\"{NS}\"/>")),
    ] {
        let device = Device::new(DEVICE_SERVICE);
        let (status, _) = post(&device, "/onvif/uplink_service", "application/soap+xml; charset=utf-8", &message).await;
        assert_eq!(status, StatusCode::OK, "{message}");
        let asked = device.asked.lock().expect("one thread");
        assert_eq!(asked[0], ("/onvif/uplink_service".to_owned(), message.clone().into()));
        assert_eq!(asked[1], (DEVICE_SERVICE.to_owned(), message.into()));
    }
}

#[tokio::test]
async fn what_is_no_operation_of_the_device_service_keeps_its_404() {
    for message in [
        envelope("", "<GetProfiles xmlns=\"http://www.onvif.org/ver10/media/wsdl\"/>"),
        envelope("", "<GetServices/>"),
        envelope(&format!("<s:Header><d:GetServices xmlns:d=\"{NS}\"/></s:Header>"), ""),
        format!("<e><s:Body xmlns:s=\"{SOAP}\"><d:GetServices xmlns:d=\"{NS}\"/></s:Body></e>"),
        format!(
            "<!DOCTYPE x><s:Envelope xmlns:s=\"{SOAP}\"><s:Body><d:GetServices xmlns:d=\"{NS}\"/></s:Body></s:Envelope>"
        ),
        "not XML".to_owned(),
        "<a>".repeat(1000),
    ] {
        let device = Device::new(DEVICE_SERVICE);
        assert_eq!(
            post(&device, "/x", "application/soap+xml", &message).await,
            (StatusCode::NOT_FOUND, 1),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_path_that_the_device_knows_is_never_changed() {
    let message = envelope("", &format!("<d:GetServices xmlns:d=\"{NS}\"/>"));
    let device = Device::new("/onvif/uplink_service");
    assert_eq!(post(&device, "/onvif/uplink_service", "application/soap+xml", &message).await, (StatusCode::OK, 1));
}

#[tokio::test]
async fn other_content_and_large_messages_are_not_looked_at() {
    let message = envelope("", &format!("<d:GetServices xmlns:d=\"{NS}\"/>"));
    let device = Device::new(DEVICE_SERVICE);
    assert_eq!(post(&device, "/x", "application/octet-stream", &message).await, (StatusCode::NOT_FOUND, 1));
    let large = envelope("", &format!("<d:GetServices xmlns:d=\"{NS}\">{}</d:GetServices>", " ".repeat(MESSAGE_MAX)));
    let device = Device::new(DEVICE_SERVICE);
    assert_eq!(post(&device, "/x", "application/soap+xml", &large).await, (StatusCode::NOT_FOUND, 1));
}

proptest::proptest! {
    #[test]
    fn no_message_is_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400), cut in 0usize..200) {
        is_device_operation(&bytes);
        let good = envelope("", &format!("<d:GetServices xmlns:d=\"{NS}\"/>"));
        is_device_operation(&good.as_bytes()[..cut.min(good.len())]);
    }
}
