//! The specification's own figures, read to the letter (ONVIF Uplink, image4 and image5).

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::{GET_SERVICES, PATIENCE, scene};
use crate::support::{
    device::camera,
    frames::{self, ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, frame, literal},
    remote::{Remote, read_head},
    sidecar::{Line, Site, document},
    websocket,
};

/// GET with the two lines, 101 with the two lines, magic and SETTINGS, SETTINGS back, POST, response.
#[tokio::test]
async fn strict_figure_over_https_is_served_step_by_step() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let sidecar = scene(&site, &remote, device.address, &[]).await;
    let mut stream = remote.handshake().await.expect("a good handshake");
    let head = read_head(&mut stream).await;
    let lines: Vec<&str> = head.split("\r\n").collect();
    assert_eq!(lines[0], "GET /uplink HTTP/1.1");
    assert!(lines.contains(&"Connection: Upgrade") && lines.contains(&"Upgrade: h2c-reverse"), "{head}");
    let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c-reverse\r\n\r\n";
    stream.write_all(answer.as_bytes()).await.expect("sent");
    stream.write_all(PREFACE).await.expect("sent");
    let body = timeout(PATIENCE, figure(&mut stream)).await.expect("in time");
    assert!(String::from_utf8_lossy(&body).contains("GetServicesResponse"));
    sidecar.online("camera-1").await;
}

/// The same within a WebSocket: its handshake with the subprotocol first.
#[tokio::test]
async fn strict_figure_over_wss_is_served_step_by_step() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let wss = format!("wss://{}/uplink", remote.address);
    let text = document(&[Line::new("camera-1", device.address, wss)]);
    let sidecar = {
        site.write(&text);
        site.start().await
    };
    let (mut stream, head) = websocket::begin(&remote).await;
    let lines: Vec<&str> = head.split("\r\n").collect();
    assert_eq!(lines[0], "GET /uplink HTTP/1.1");
    for line in [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Protocol: h2c-reverse",
        "Sec-WebSocket-Version: 13",
    ] {
        assert!(lines.contains(&line), "{line}: {head}");
    }
    stream.write_all(PREFACE).await.expect("sent");
    stream.flush().await.expect("sent");
    let body = timeout(PATIENCE, figure(&mut stream)).await.expect("in time");
    assert!(String::from_utf8_lossy(&body).contains("GetServicesResponse"));
    sidecar.online("camera-1").await;
}

/// After the preface: SETTINGS and their ACK, one POST; returns the body of its response.
async fn figure<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Vec<u8> {
    let first = frames::read(stream).await.expect("a frame");
    assert_eq!((first.kind, first.flags & ACK, first.stream), (SETTINGS, 0, 0), "SETTINGS come first: {first:?}");
    loop {
        let next = frames::read(stream).await.expect("a frame");
        if next.kind == SETTINGS && next.flags & ACK == ACK {
            break;
        }
    }
    stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await.expect("sent");
    let length = GET_SERVICES.len().to_string();
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/onvif/device_service"),
        (":authority", "cloud"),
        ("content-type", "application/soap+xml; charset=utf-8"),
        ("content-length", length.as_str()),
    ];
    stream.write_all(&frame(HEADERS, END_HEADERS, 1, &literal(&fields))).await.expect("sent");
    stream.write_all(&frame(DATA, END_STREAM, 1, GET_SERVICES.as_bytes())).await.expect("sent");
    stream.flush().await.expect("sent");
    let mut body = Vec::new();
    loop {
        let next = frames::read(stream).await.expect("a frame");
        match next.kind {
            // Index 8 of the static table: `:status: 200`.
            HEADERS => assert_eq!(next.payload[0], 0x88, "{next:?}"),
            DATA => body.extend(next.payload),
            _ => {}
        }
        if matches!(next.kind, HEADERS | DATA) && next.flags & END_STREAM == END_STREAM {
            return body;
        }
    }
}
