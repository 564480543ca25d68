//! hyper's sample cloud of O. Campana (Videotec), who became an editor of the specification: the strictest reader known.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{PATIENCE, scene};
use crate::support::{
    device::camera,
    remote::{Remote, server_certificate, tls, upgraded},
    sidecar::Site,
};

#[tokio::test]
async fn videotec_reads_once_and_by_case_and_finds_its_lines() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::with(tls(&server_certificate(&site.authority), None, true)).await;
    let device = camera("camera-1").await;
    let sidecar = scene(&site, &remote, device.address, &[]).await;
    let mut stream = remote.handshake().await.expect("a good handshake");
    let mut once = [0; 65_535];
    let length = timeout(PATIENCE, stream.read(&mut once)).await.expect("in time").expect("read");
    let head = String::from_utf8_lossy(&once[..length]);
    assert!(head.contains("Connection: Upgrade") && head.contains("Upgrade: h2c-reverse"), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "one read is all that it does");
    stream
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c-reverse\r\n\r\n")
        .await
        .expect("sent");
    stream.flush().await.expect("sent");
    // The preface is a write, and a TLS record, of its own.
    let session = upgraded(stream).await;
    let request = http::Request::get("https://cloud/snapshot.jpg").version(http::Version::HTTP_2).body(());
    let (parts, picture) = session.get(request.expect("valid")).await;
    assert_eq!(parts.status, 200);
    assert!(picture.starts_with(&[0xff, 0xd8]), "a JPEG");
    assert_eq!(sidecar.online("camera-1").await.session.expect("online").tls.version, "TLSv1.2");
}
