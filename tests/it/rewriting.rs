//! Addresses of a device through the whole sidecar: what it says of itself works where it was asked (issue 6, item 3).

use bytes::Bytes;

use crate::support::{
    device::FakeDevice,
    remote::{Remote, Upgraded, answer},
    sidecar::{Line, Sidecar, Site, document},
};

fn envelope(body: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:d=\"http://www.onvif.org/ver10/device/wsdl\" \
         xmlns:m=\"http://www.onvif.org/ver10/media/wsdl\" xmlns:t=\"http://www.onvif.org/ver10/schema\"><s:Body>{body}</s:Body>\
         </s:Envelope>"
    )
}

async fn says(device: &FakeDevice, body: &str) {
    device.answer(&ok(body)).await;
}

fn ok(body: &str) -> String {
    let body = envelope(body);
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A sidecar before `device`, whose entry has these further `keys`.
async fn scene(device: &FakeDevice, keys: &str) -> (Site, Remote, Sidecar, Upgraded) {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let line = Line { level: "Administrator".to_owned(), ..Line::new("camera-1", device.address, remote.remote()) };
    site.write(&document(&[line]).replacen("    uplinks:", &format!("{keys}    uplinks:"), 1));
    let sidecar = site.start().await;
    let session = remote.upgrade().await;
    sidecar.online("camera-1").await;
    (site, remote, sidecar, session)
}

async fn call(session: &Upgraded, operation: &str) -> String {
    let body = Bytes::from(envelope(operation));
    let request = http::Request::post("https://cloud.example/onvif/device_service")
        .header("content-type", "application/soap+xml")
        .header("content-length", body.len())
        .body(())
        .expect("valid");
    let mut requests = session.requests.clone().ready().await.expect("the session stands");
    let (response, mut stream) = requests.send_request(request, false).expect("sent");
    stream.send_data(body, true).expect("sent");
    String::from_utf8_lossy(&answer(response).await.1).into_owned()
}

async fn get(session: &Upgraded, path: &str) -> (u16, Bytes) {
    let request = http::Request::get(format!("https://cloud.example{path}")).body(()).expect("valid");
    let (parts, body) = session.get(request).await;
    (parts.status.as_u16(), body)
}

const SERVICES: &str = "<d:GetServicesResponse><d:Service><d:XAddr>http://192.168.1.10/onvif/media</d:XAddr></d:Service></d:GetServicesResponse>";

#[tokio::test]
async fn the_services_of_a_device_are_where_it_was_asked() {
    let device = FakeDevice::start().await;
    let (_site, _remote, _sidecar, session) = scene(&device, "").await;
    let ((), said) = tokio::join!(says(&device, SERVICES), call(&session, "<d:GetServices/>"));
    for service in ["media", "uplink_service"] {
        assert!(said.contains(&format!("XAddr>https://cloud.example/onvif/{service}</")), "{said}");
    }
    assert!(!said.contains("192.168.1.10"), "{said}");
}

#[tokio::test]
async fn a_device_that_is_to_be_believed_is_left_alone() {
    let device = FakeDevice::start().await;
    let (_site, _remote, _sidecar, session) = scene(&device, "    rewrite: none\n").await;
    let ((), said) = tokio::join!(says(&device, SERVICES), call(&session, "<d:GetServices/>"));
    assert!(said.contains("<d:XAddr>http://192.168.1.10/onvif/media</d:XAddr>"), "{said}");
}

#[tokio::test]
async fn a_snapshot_at_an_allowed_port_is_fetched_there_and_no_other_port_is_reached() {
    let (device, snapshots) = (FakeDevice::start().await, FakeDevice::start().await);
    let port = snapshots.address.port();
    let (_site, _remote, _sidecar, session) = scene(&device, &format!("    httpPorts: [{port}]\n")).await;
    let named = format!(
        "<m:GetSnapshotUriResponse><m:MediaUri><t:Uri>http://192.168.1.10:{port}/snap?1</t:Uri></m:MediaUri></m:GetSnapshotUriResponse>"
    );
    let ((), said) = tokio::join!(says(&device, &named), call(&session, "<m:GetSnapshotUri/>"));
    let path = format!("/onvif-uplink-port/{port}/snap?1");
    assert!(said.contains(&format!("<t:Uri>https://cloud.example{path}</t:Uri>")), "{said}");
    let picture = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nJPEG";
    let (head, fetched) = tokio::join!(snapshots.answer(picture), get(&session, &path));
    assert!(head.starts_with("GET /snap?1 HTTP/1.1\r\n"), "{head}");
    assert_eq!(fetched, (200, Bytes::from_static(b"JPEG")));
    assert_eq!(get(&session, "/onvif-uplink-port/22/").await.0, 404);
}
