//! The broker of the first public tunnel (`/xxx`, Host without port; Axis' proof of concept dialed it with a client certificate).

use tokio::io::AsyncWriteExt;

use super::scene;
use crate::support::{
    device::camera,
    remote::{Remote, SWITCH, read_head, upgraded},
    sidecar::Site,
};

#[tokio::test]
async fn bosch_sees_its_path_its_host_and_the_certificate() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let settings = ["lab: { path: /xxx, host: broker.example }"];
    let sidecar = scene(&site, &remote, device.address, &settings).await;
    let mut stream = remote.handshake().await.expect("a good handshake");
    assert!(stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty()), "a client certificate");
    let head = read_head(&mut stream).await;
    assert_eq!(
        head,
        "GET /xxx HTTP/1.1\r\nHost: broker.example\r\nConnection: Upgrade\r\nUpgrade: h2c-reverse\r\n\r\n"
    );
    stream.write_all(SWITCH).await.expect("sent");
    let session = upgraded(stream).await;
    sidecar.online("camera-1").await;
    let request = http::Request::get("https://camera/snapshot.jpg").version(http::Version::HTTP_2).body(());
    assert_eq!(session.get(request.expect("valid")).await.0.status, 200);
}
