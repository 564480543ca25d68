//! What answers give, and what they do not.

use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};

use super::*;
use crate::onvif::soap::SOAP_12;

fn answer(prefix: &str, operation: &str, content: &str) -> String {
    let namespace = Operation::by_function(&format!("{prefix}:{operation}")).expect("known").namespace();
    format!(
        "<e:Envelope xmlns:e=\"{SOAP_12}\" xmlns:tt=\"http://www.onvif.org/ver10/schema\"><e:Body><o:{operation}Response \
         xmlns:o=\"{namespace}\">{content}</o:{operation}Response></e:Body></e:Envelope>"
    )
}

fn learned(answer: &str, address: &str) -> Vec<(Use, &'static str)> {
    let addresses = Addresses::default();
    read(answer.as_bytes(), &addresses);
    addresses.find(address, |_| true).iter().map(|grant| (grant.used, grant.class.as_str())).collect()
}

#[test]
fn addresses_get_the_class_of_what_lies_there() {
    let snapshot = "<o:MediaUri><tt:Uri>http://192.0.2.9/snap?a=1&amp;b=2</tt:Uri></o:MediaUri>";
    assert_eq!(learned(&answer("trt", "GetSnapshotUri", snapshot), "/snap?a=1&b=2"), [(Use::Read, "READ_MEDIA")]);
    let stream = "<o:Uri><![CDATA[rtsp://192.0.2.9:554/live]]></o:Uri>";
    assert_eq!(learned(&answer("tr2", "GetStreamUri", stream), "/live"), [(Use::Stream, "READ_MEDIA")]);
    let system = "<o:SystemLogUris><tt:SystemLog><tt:Type>System</tt:Type><tt:Uri>http://c/log</tt:Uri></tt:SystemLog></o:SystemLogUris>\
                  <o:SupportInfoUri>http://c/support</o:SupportInfoUri><o:SystemBackupUri>http://c/backup</o:SystemBackupUri>";
    for path in ["/log", "/support", "/backup"] {
        assert_eq!(
            learned(&answer("tds", "GetSystemUris", system), path),
            [(Use::Read, "READ_SYSTEM_SECRET")],
            "{path}"
        );
    }
    let upload = "<o:UploadUri>http://c/fw</o:UploadUri><o:UploadDelay>PT1S</o:UploadDelay>";
    assert_eq!(learned(&answer("tds", "StartFirmwareUpgrade", upload), "/fw"), [(Use::Upload, "UNRECOVERABLE")]);
    let services = "<o:Service><o:XAddr>http://c/ptz?x</o:XAddr><o:Capabilities><c RTSPWebSocketUri=\"ws:/ws\"/></o:Capabilities></o:Service>";
    assert_eq!(learned(&answer("tds", "GetServices", services), "/ptz"), [(Use::Service, "PRE_AUTH")]);
    assert_eq!(learned(&answer("tds", "GetServices", services), "/ws"), [(Use::Stream, "READ_MEDIA")]);
    let subscription =
        "<o:SubscriptionReference><a:Address xmlns:a=\"urn:a\">http://c/sub/7</a:Address></o:SubscriptionReference>";
    assert_eq!(learned(&answer("tev", "CreatePullPointSubscription", subscription), "/sub/7")[0].0, Use::Service);
    assert_eq!(learned(&answer("wsnt", "Subscribe", subscription), "/sub/7")[0].0, Use::Service);
}

#[test]
fn other_answers_and_requests_give_nothing() {
    let content = "<o:Uri>http://c/x</o:Uri>";
    let snapshot = answer("trt", "GetSnapshotUri", content);
    assert_eq!(learned(&snapshot, "/x").len(), 1);
    for other in [
        answer("trt", "GetProfiles", content),
        snapshot.replace("Response", ""),
        snapshot.replace("ver10/media", "ver10/other"),
        snapshot.replace("</o:Uri>", ""),
        snapshot.replace("<o:Uri>", "<o:Other>").replace("</o:Uri>", "</o:Other>"),
        snapshot.replace("<e:Body>", "<e:Body><x/>"),
        String::new(),
    ] {
        assert!(learned(&other, "/x").is_empty(), "{other}");
    }
}

fn response(kind: &'static str, chunks: Vec<Bytes>) -> Response {
    let frames = chunks.into_iter().map(|chunk| Ok::<_, BodyError>(Frame::data(chunk)));
    let mut response = Response::new(Body::new(StreamBody::new(stream::iter(frames))));
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

#[tokio::test]
async fn an_answer_passes_unchanged_and_is_learned_before_its_end_is_seen() {
    let text = answer("trt", "GetSnapshotUri", "<o:MediaUri><tt:Uri>http://c/snap</tt:Uri></o:MediaUri>");
    let addresses = Arc::new(Addresses::default());
    let pieces = text.as_bytes().chunks(7).map(Bytes::copy_from_slice).collect();
    let passed = learning(response("application/soap+xml; charset=utf-8", pieces), &addresses);
    assert_eq!(passed.into_body().collect().await.expect("whole").to_bytes(), text);
    assert_eq!(addresses.find("/snap", |_| true).len(), 1);

    let mut whole =
        learning(response("text/xml", Vec::new()).map(|_| Body::full(text.clone())), &addresses).into_body();
    let last = whole.frame().await.expect("a frame").expect("sound").into_data().expect("data");
    assert!(last == text && whole.is_end_stream(), "known by its length without a further poll");
}

#[tokio::test]
async fn pictures_and_long_answers_are_not_kept() {
    let text = answer("trt", "GetSnapshotUri", "<o:Uri>http://c/snap</o:Uri>");
    let addresses = Arc::new(Addresses::default());
    let long = format!("{text}<!--{}-->", "x".repeat(ANSWER_MAX));
    for (kind, body) in [("image/jpeg", text), ("application/soap+xml", long)] {
        let pieces = body.as_bytes().chunks(40_000).map(Bytes::copy_from_slice).collect();
        let passed = learning(response(kind, pieces), &addresses);
        assert_eq!(passed.into_body().collect().await.expect("whole").to_bytes(), body);
    }
    assert!(addresses.find("/snap", |_| true).is_empty());
}
