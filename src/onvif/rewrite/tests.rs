//! Whole messages through the handler, places in messages, RTSP messages.

use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::{
    base::rtsp::Message,
    model::addresses::{Addresses, Rewrite as Rule},
};

const SERVICES: &str = r#"<?xml version="1.0"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:d="http://www.onvif.org/ver10/device/wsdl"><s:Body><d:GetServicesResponse><!-- http://192.168.1.10/x -->
<d:Service><d:Namespace>http://www.onvif.org/ver10/device/wsdl</d:Namespace><d:XAddr> http://192.168.1.10/onvif/device_service?a=1&amp;b=2 </d:XAddr></d:Service></d:GetServicesResponse></s:Body></s:Envelope>"#;

fn mapping(rewrite: Rule, ports: &[u16]) -> Map {
    Map::new(&Addresses { rewrite, ports: ports.iter().copied().collect() }, 80)
}

/// Answers with one message and remembers what it was asked.
struct Camera {
    answer: &'static str,
    asked: Mutex<Vec<(String, String, Option<DevicePort>)>>,
}

impl Handler for Arc<Camera> {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let camera = Arc::clone(self);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.expect("sound").to_bytes();
            let port = parts.extensions.get::<DevicePort>().copied();
            let asked = (parts.uri.path().to_owned(), String::from_utf8_lossy(&body).into_owned(), port);
            camera.asked.lock().expect("one thread").push(asked);
            let mut response = Response::new(Body::full(camera.answer));
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/soap+xml; charset=utf-8"));
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(camera.answer.len()));
            response
        })
    }
}

fn scene(answer: &'static str) -> (Rewrite, Arc<Camera>) {
    let camera = Arc::new(Camera { answer, asked: Mutex::default() });
    let map = Arc::new(mapping(Rule::Authority, &[8081]));
    (Rewrite::new(Arc::new(Arc::clone(&camera)), map, "cloud"), camera)
}

fn post(uri: &str, body: &str) -> Request {
    let builder =
        http::Request::builder().method(Method::POST).uri(uri).header(header::CONTENT_TYPE, "application/soap+xml");
    builder.body(Body::full(body.to_owned())).expect("a request")
}

async fn ask(rewrite: &Rewrite, request: Request) -> (http::response::Parts, String) {
    let (parts, body) = rewrite.handle(request).await.into_parts();
    (parts, String::from_utf8(body.collect().await.expect("sound").to_bytes().to_vec()).expect("text"))
}

#[tokio::test]
async fn an_xaddr_becomes_the_address_of_the_request_and_nothing_else_changes() {
    let (rewrite, _) = scene(SERVICES);
    let (parts, answer) = ask(&rewrite, post("https://cams.example/onvif/device_service", "<x/>")).await;
    let expected = SERVICES.replace("http://192.168.1.10/onvif", "https://cams.example/onvif");
    assert_eq!(answer, expected);
    assert_eq!(parts.headers[header::CONTENT_LENGTH], expected.len().to_string());
}

#[tokio::test]
async fn a_message_to_a_subscription_reaches_the_camera_under_its_own_name() {
    let subscribed = r#"<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://www.w3.org/2005/08/addressing" xmlns:e="http://www.onvif.org/ver10/events/wsdl"><s:Body><e:CreatePullPointSubscriptionResponse><e:SubscriptionReference><a:Address>http://192.168.1.10/event/7</a:Address></e:SubscriptionReference></e:CreatePullPointSubscriptionResponse></s:Body></s:Envelope>"#;
    let (rewrite, camera) = scene(subscribed);
    let (_, answer) = ask(&rewrite, post("https://cams/onvif/event", "<x/>")).await;
    assert!(answer.contains("<a:Address>https://cams/event/7</a:Address>"), "{answer}");
    let pull = r#"<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Header><To xmlns="http://www.w3.org/2005/08/addressing">https://cams/event/7</To></s:Header><s:Body/></s:Envelope>"#;
    ask(&rewrite, post("https://cams/event/7", pull)).await;
    let asked = camera.asked.lock().expect("one thread");
    assert_eq!(asked[1].1, pull.replace("https://cams/", "http://192.168.1.10/"));
}

#[tokio::test]
async fn a_further_port_is_told_to_forwarding_and_one_that_is_not_allowed_is_not_there() {
    let (rewrite, camera) = scene("<x/>");
    ask(&rewrite, post("https://cams/onvif-uplink-port/8081/snap?x", "<x/>")).await;
    let (parts, _) = ask(&rewrite, post("https://cams/onvif-uplink-port/22/", "<x/>")).await;
    assert_eq!(parts.status, StatusCode::NOT_FOUND);
    let asked = camera.asked.lock().expect("one thread");
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].0.as_str(), asked[0].2), ("/snap", Some(DevicePort(8081))));
}

#[tokio::test]
async fn what_is_no_well_formed_xml_passes_as_it_came() {
    for broken in
        ["<a><XAddr>http://1.2.3.4/</a>", "\u{1}", "<!DOCTYPE x [<!ENTITY e 'x'>]><x/>", "plain http://1.2.3.4/"]
    {
        let (rewrite, _) = scene(broken);
        assert_eq!(ask(&rewrite, post("https://cams/", "<x/>")).await.1, broken);
    }
}

#[test]
fn only_fields_whose_meaning_is_fixed_are_addresses() {
    let within = |inner: &str| {
        format!(
            r#"<e xmlns="http://www.onvif.org/ver10/schema" xmlns:m="http://www.onvif.org/ver20/media/wsdl" xmlns:o="urn:other" xmlns:a="http://www.w3.org/2005/08/addressing">{inner}</e>"#
        )
    };
    let found = |inner: &str| {
        let message = within(inner);
        places::find(&message, Way::Answer).expect(inner).into_iter().map(|place| place.text).collect::<Vec<_>>()
    };
    for address in [
        "<MediaUri><Uri>http://c/1</Uri></MediaUri>",
        "<m:GetSnapshotUriResponse><m:Uri>http://c/1</m:Uri></m:GetSnapshotUriResponse>",
        "<SystemLog><Type>System</Type><Uri>http://c/1</Uri></SystemLog>",
        "<SystemBackupUri>http://c/1</SystemBackupUri>",
        "<UploadUri><![CDATA[http://no/]]></UploadUri><UploadUri>http://c/1</UploadUri>",
        "<SubscriptionReference><a:Address>http://c/1</a:Address></SubscriptionReference>",
        "<m:Capabilities><StreamingCapabilities RTSPStreaming='true' RTSPWebSocketUri='http://c/1'/></m:Capabilities>",
    ] {
        assert_eq!(found(address), ["http://c/1"], "{address}");
    }
    for data in [
        "<NTPFromDHCP>http://c/1</NTPFromDHCP>",
        "<Uri>http://c/1</Uri>",
        "<o:XAddr>http://c/1</o:XAddr>",
        "<MediaUri>http://c/1</MediaUri>",
        "<ConsumerReference><a:Address>http://c/1</a:Address></ConsumerReference>",
        "<a:To>http://c/1</a:To>",
        "<XAddr><b>http://c/1</b></XAddr>",
    ] {
        assert_eq!(found(data), Vec::<String>::new(), "{data}");
    }
}

fn at_the_gateway() -> (Map, Outside) {
    let map = mapping(Rule::Authority, &[]);
    let outside = map.outside(&Uri::from_static("https://gw/x"), &HeaderMap::new(), "");
    (map, outside)
}

#[test]
fn rtsp_addresses_are_changed_together_and_a_setup_comes_back_to_the_camera() {
    let (map, outside) = at_the_gateway();
    let mut answer = Message::response(200, "OK");
    answer.add_field("Content-Base", "rtsp://192.168.1.10:554/live/");
    answer.add_field("Content-Type", "application/sdp");
    answer
        .set_body("v=0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\na=control:rtsp://192.168.1.10:554/live/trackID=1\r\n");
    rtsp::outward(&mut answer, &map, &outside);
    assert_eq!(answer.field("Content-Base"), Some("rtsp://gw/live/"));
    assert_eq!(answer.body(), "v=0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\na=control:rtsp://gw/live/trackID=1\r\n");
    assert_eq!(answer.field("Content-Length"), Some(answer.body().len().to_string().as_str()));
    let mut setup = Message::request("SETUP", "rtsp://gw/live/trackID=1");
    rtsp::inward(&mut setup, &map, &outside);
    assert!(setup.to_bytes().starts_with(b"SETUP rtsp://192.168.1.10:554/live/trackID=1 RTSP/1.0"));
}

#[test]
fn rtp_info_keeps_its_other_parts() {
    let (map, outside) = at_the_gateway();
    let mut answer = Message::response(200, "OK");
    answer.add_field("RTP-Info", "url=rtsp://10.0.0.9/live/1;seq=1;rtptime=2,url=rtsp://10.0.0.9/live/2;seq=3");
    rtsp::outward(&mut answer, &map, &outside);
    assert_eq!(answer.field("RTP-Info"), Some("url=rtsp://gw/live/1;seq=1;rtptime=2,url=rtsp://gw/live/2;seq=3"));
}

proptest! {
    #[test]
    fn bytes_outside_of_the_places_never_change(before in "[a-zA-Z &;]{0,20}", host in "[a-z0-9.]{1,10}") {
        let text = quick_xml::escape::escape(before.as_str());
        let message = format!(r#"<r xmlns="http://www.onvif.org/ver10/schema"><n>{text}</n><XAddr>http://{host}/</XAddr><m>{text}</m></r>"#);
        let found = places::find(&message, Way::Answer).expect("XML");
        let changed = places::replace(&message, &found, |_| Some("NEW".to_owned())).expect("one place");
        prop_assert_eq!(changed, message.replace(&format!("http://{host}/"), "NEW"));
    }

    #[test]
    fn no_message_makes_it_panic(message in "\\PC{0,200}") {
        let _ = places::find(&message, Way::Answer);
        let _ = places::find(&message, Way::Request);
    }
}
