//! User levels through the whole sidecar: a remote asks over HTTP/2 and TLS what its level allows and what it does not (issue 6,
//! items 1 and 5).

use std::time::Duration;

use bytes::Bytes;
use onvif_uplink::app::Outcome;

use crate::support::{
    device::{FakeDevice, RunningCamera, camera},
    remote::{Remote, Upgraded, answer},
    sidecar::{Line, Sidecar, Site, document},
};

const SOAP: &str = "application/soap+xml; charset=utf-8";
const DEVICE_SERVICE: &str = "/onvif/device_service";

fn call(operation: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Body><{operation} \
         xmlns=\"http://www.onvif.org/ver10/device/wsdl\"/></s:Body></s:Envelope>"
    )
}

/// A sidecar whose only uplink has this level; `device` and `uplink` are further lines of these.
async fn online(
    site: &Site,
    remote: &Remote,
    address: std::net::SocketAddr,
    level: &str,
    more: &[(&str, &str)],
) -> (Sidecar, Upgraded) {
    let line = Line { level: level.to_owned(), ..Line::new("camera-1", address, remote.remote()) };
    let mut text = document(&[line]);
    for (at, lines) in more {
        text = text.replacen(at, &format!("{lines}{at}"), 1);
    }
    site.write(&text);
    let sidecar = site.start().await;
    let session = remote.upgrade().await;
    sidecar.online("camera-1").await;
    (sidecar, session)
}

async fn ask(
    session: &Upgraded,
    request: http::request::Builder,
    body: impl Into<Bytes>,
) -> (http::response::Parts, String) {
    let body = body.into();
    let request = request.header("content-length", body.len()).body(()).expect("valid");
    let mut requests = session.requests.clone().ready().await.expect("the session stands");
    let (response, mut stream) = requests.send_request(request, body.is_empty()).expect("sent");
    if !body.is_empty() {
        stream.send_data(body, true).expect("sent");
    }
    let (parts, body) = answer(response).await;
    (parts, String::from_utf8_lossy(&body).into_owned())
}

fn post(path: &str) -> http::request::Builder {
    http::Request::post(format!("https://cloud.example{path}")).header("content-type", SOAP)
}

fn get(path: &str) -> http::request::Builder {
    http::Request::get(format!("https://cloud.example{path}"))
}

async fn scene(level: &str, more: &[(&str, &str)]) -> (Site, RunningCamera, Sidecar, Upgraded) {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let (sidecar, session) = online(&site, &remote, device.address, level, more).await;
    (site, device, sidecar, session)
}

#[tokio::test]
async fn a_user_gets_what_its_level_allows_and_a_fault_for_the_rest() {
    let (_site, _device, sidecar, session) = scene("User", &[]).await;
    let (parts, body) = ask(&session, post(DEVICE_SERVICE), call("GetDeviceInformation")).await;
    assert!(parts.status == 200 && body.contains("GetDeviceInformationResponse"), "{body}");
    let (parts, body) = ask(&session, post(DEVICE_SERVICE), call("SystemReboot")).await;
    assert_eq!(parts.status, 400);
    assert!(body.contains("env:Sender") && body.contains("ter:NotAuthorized"), "{body}");
    assert_eq!(parts.headers["content-length"], body.len().to_string());
    assert!(parts.headers["content-type"].to_str().expect("text").starts_with("application/soap+xml"));
    let (parts, _) = ask(&session, get("/snapshot.jpg"), "").await;
    assert_eq!(parts.status, 403);
    let labels = format!("device=\"camera-1\",remote=\"{}\"", remote_of(&sidecar));
    for (class, count) in [("UNRECOVERABLE", 1.0), ("unclassified", 1.0), ("READ_MEDIA", 0.0)] {
        let series = format!("onvif_uplink_refused_total{{{labels},class=\"{class}\"}}");
        assert_eq!(sidecar.metric(&series).await, count, "{class}");
    }
    assert_eq!(sidecar.stop(Duration::ZERO).await, Outcome::Stopped);
}

fn remote_of(sidecar: &Sidecar) -> String {
    sidecar.board.snapshot().uplinks.iter().next().map(|(key, _)| key.remote.to_string()).expect("one uplink")
}

#[tokio::test]
async fn rules_roles_and_another_status_are_taken_from_the_document() {
    let paths = "    paths: [{ path: /snapshot.jpg, class: READ_MEDIA }]\n";
    let access = "        access: { refusal: 403 }\n";
    let roles = "roles: { Clerks: { functions: [tds:GetUsers] } }\n";
    let more = [("    uplinks:", paths), ("        certPathValidationPolicyID", access), ("certificates:", roles)];
    let (_site, _device, sidecar, session) = scene("[User, Clerks]", &more).await;
    for path in ["/snapshot.jpg", "/%73napshot.jpg", "/x/../snapshot.jpg", "//snapshot.jpg?t=1"] {
        let (parts, body) = ask(&session, get(path), "").await;
        assert!(parts.status == 200 && !body.is_empty(), "{path}: {}", parts.status);
    }
    for (path, status) in
        [("/stream.mjpeg", 403), ("/snapshot.jpg;x", 400), ("/a%2f..%2fsnapshot.jpg", 400), ("/", 403)]
    {
        assert_eq!(ask(&session, get(path), "").await.0.status, status, "{path}");
    }
    // The emulator has no users; that it says so shows that it was asked.
    let (_, body) = ask(&session, post(DEVICE_SERVICE), call("GetUsers")).await;
    assert!(body.contains("ActionNotSupported"), "{body}");
    assert_eq!(ask(&session, post(DEVICE_SERVICE), call("SetUser")).await.0.status, 403);
    assert_eq!(sidecar.stop(Duration::ZERO).await, Outcome::Stopped);
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused_and_the_session_goes_on() {
    let (_site, _device, sidecar, session) = scene("Operator", &[]).await;
    let good = call("GetDeviceInformation");
    let reboot = "<SystemReboot xmlns=\"http://www.onvif.org/ver10/device/wsdl\"/>";
    let deep = format!("{}{}", "<a>".repeat(500), "</a>".repeat(500));
    for bad in [
        good.replace("</s:Body>", &format!("{reboot}</s:Body>")),
        good.replace("</s:Envelope>", &format!("<s:Body>{reboot}</s:Body></s:Envelope>")),
        format!("<!DOCTYPE x [<!ENTITY a \"{}\">]>{good}", "b".repeat(50)),
        good.replace("ver10/device", "ver10/media"),
        good.replace("<s:Body>", &format!("<s:Header>{deep}</s:Header><s:Body>")),
        good.replace("GetDeviceInformation ", "t:GetDeviceInformation "),
        good.replace("soap-envelope", "soap-envelop"),
        "\u{0}".to_owned(),
    ] {
        let (parts, body) = ask(&session, post(DEVICE_SERVICE), bad.clone()).await;
        assert!(
            (parts.status == 400 || parts.status == 500) && body.contains("Fault"),
            "{bad}: {} {body}",
            parts.status
        );
    }
    let lie = post(DEVICE_SERVICE).header("soapaction", "\"http://www.onvif.org/ver10/device/wsdl/SystemReboot\"");
    let (parts, body) = ask(&session, lie, good.clone()).await;
    assert!(parts.status == 200 && body.contains("GetDeviceInformationResponse"), "the body decides");
    let packed = post(DEVICE_SERVICE).header("content-encoding", "gzip");
    assert_eq!(ask(&session, packed, good.clone()).await.0.status, 415);
    assert_eq!(ask(&session, post("/snapshot.jpg"), good).await.0.status, 400, "no service there");
    assert_eq!(sidecar.stop(Duration::ZERO).await, Outcome::Stopped);
}

#[tokio::test]
async fn a_message_reaches_the_device_as_the_bytes_that_were_classified() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = FakeDevice::start().await;
    let (sidecar, session) = online(&site, &remote, device.address, "User", &[]).await;
    let message = format!("<?xml version=\"1.0\"?>\n<!-- as it came -->{} ", call("GetServices"));
    let request = post("/onvif/./x/../device_service").header("x-http-method-override", "DELETE");
    let script = async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut socket, head) = device.asked().await;
        let mut body = vec![0; message.len()];
        socket.read_exact(&mut body).await.expect("the message");
        socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("sent");
        (head, String::from_utf8(body).expect("text"))
    };
    let ((parts, _), (head, body)) = tokio::join!(ask(&session, request, message.clone()), script);
    assert_eq!((parts.status.as_u16(), body), (204, message));
    assert!(head.starts_with("POST /onvif/device_service HTTP/1.1\r\n"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("override"), "{head}");
    assert_eq!(sidecar.stop(Duration::ZERO).await, Outcome::Stopped);
}

#[tokio::test]
async fn a_level_that_is_lowered_counts_for_the_next_session() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let (sidecar, session) = online(&site, &remote, device.address, "Administrator", &[]).await;
    assert_eq!(ask(&session, get("/snapshot.jpg"), "").await.0.status, 200);
    site.write(&document(&[Line {
        level: "User".to_owned(),
        ..Line::new("camera-1", device.address, remote.remote())
    }]));
    let session = remote.upgrade().await;
    sidecar.generation(2).await;
    assert_eq!(ask(&session, get("/snapshot.jpg"), "").await.0.status, 403);
    assert_eq!(sidecar.stop(Duration::ZERO).await, Outcome::Stopped);
}

#[tokio::test]
async fn a_user_views_through_the_rtsp_port_without_having_asked_for_an_address() {
    let rtsp = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = format!("    rtsp: rtsp://{}\n", rtsp.local_addr().expect("bound"));
    let (_site, _camera, _sidecar, session) = scene("User", &[("    uplinks:", port.as_str())]).await;
    let tunnelled =
        |path: &str| get(path).header("accept", "application/x-rtsp-tunnelled").header("x-sessioncookie", "c");
    let mut requests = session.requests.clone().ready().await.expect("the session stands");
    let request = tunnelled("/cgi-bin/reboot").body(()).expect("valid");
    let (response, _) = requests.send_request(request, true).expect("sent");
    // The first connection may be the probe's, which asks OPTIONS; the viewer's is silent until its POST comes.
    let (first, response) = tokio::join!(rtsp.accept(), response);
    assert_eq!(response.expect("answered").status(), 200);
    drop(first);
}
