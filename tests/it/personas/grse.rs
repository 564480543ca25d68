//! GRSE's sample, the likely forerunner of the device test tool: quirks Q1, Q3, Q4, Q6, Q8 to Q12 in one session.

use bytes::Bytes;
use h2::Reason;
use http::{Method, Request, Version};
use onvif_uplink::model::failure::Cause;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{GET_SERVICES, PATIENCE, scene};
use crate::support::{
    device::camera,
    h2_peer::collect,
    remote::{Remote, server_certificate, tls},
    sidecar::Site,
};

/// Reads in pieces of 1024 bytes until the blank line, and drops the last four bytes of what it has: anything behind the
/// head breaks it. The header values are compared as it does.
async fn read_as_grse(stream: &mut crate::support::remote::Tls) {
    let mut received = Vec::new();
    while !received.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut piece = [0; 1024];
        let length = stream.read(&mut piece).await.expect("read");
        assert!(length > 0, "closed within the head");
        received.extend_from_slice(&piece[..length]);
    }
    assert!(received.ends_with(b"\r\n\r\n"), "bytes behind the head break it");
    let text = String::from_utf8(received).expect("text");
    assert!(text.starts_with("GET "), "{text}");
    let header = |name: &str| {
        let mut values = text.split("\r\n").filter_map(|line| line.split_once(": "));
        values.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_ascii_lowercase())
    };
    assert_eq!(header("connection").as_deref(), Some("upgrade"), "a list would be dropped in silence");
    assert_eq!(header("upgrade").as_deref(), Some("h2c-reverse"));
}

#[tokio::test]
async fn grse_gets_its_services_and_says_goodbye() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::with(tls(&server_certificate(&site.authority), Some(&site.authority), true)).await;
    let device = camera("camera-1").await;
    let sidecar = scene(&site, &remote, device.address, &[]).await;
    let mut stream = remote.handshake().await.expect("a good handshake");
    timeout(PATIENCE, read_as_grse(&mut stream)).await.expect("in time");
    stream
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c-reverse\r\n\r\n")
        .await
        .expect("sent");
    let mut builder = h2::client::Builder::new();
    builder.enable_push(true).header_table_size(4096).initial_window_size(65_535).max_frame_size(16_384);
    let (requests, connection) = builder.handshake::<_, Bytes>(stream).await.expect("the stream stands");
    let connection = tokio::spawn(connection);
    sidecar.online("camera-1").await;
    for _ in 0..2 {
        let head = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri("https://0.0.0.0:7555/onvif/uplink_service")
            .header("content-type", "application/soap+xml; charset=utf-8")
            .header("content-length", GET_SERVICES.len())
            .body(())
            .expect("valid");
        let mut requests = requests.clone().ready().await.expect("the session stands");
        let (response, mut body) = requests.send_request(head, false).expect("sent");
        body.send_data(Bytes::from_static(GET_SERVICES.as_bytes()), false).expect("sent");
        let response = timeout(PATIENCE, response).await.expect("in time").expect("answered");
        assert_eq!(response.status(), 200, "without 200 and a length it yields no result");
        let length: usize = response.headers()["content-length"].to_str().expect("text").parse().expect("a number");
        let (services, _) = timeout(PATIENCE, collect(response.into_body())).await.expect("in time").expect("whole");
        assert_eq!(services.len(), length);
        assert!(String::from_utf8_lossy(&services).contains("GetServicesResponse"));
        body.send_reset(Reason::CANCEL);
    }
    assert!(sidecar.now("camera-1").error.is_none());
    // The library says GOAWAY when nobody can ask any more.
    drop(requests);
    timeout(PATIENCE, connection).await.expect("in time").expect("no panic").expect("a normal end");
    sidecar.fails("camera-1", Cause::ClosedByRemote).await;
}
