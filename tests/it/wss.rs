//! Uplinks over WebSockets: the real sidecar against a scripted remote (ONVIF Uplink 26.06, WebSocket h2c-reverse; RFC 6455).

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Version};
use onvif_uplink::{
    app::Outcome,
    model::{failure::Cause, status::Status},
};
use tokio::{io::AsyncWriteExt, time::timeout};

use crate::support::{
    device::{FakeDevice, camera},
    h2_peer::collect,
    http::PATIENCE,
    remote::{Remote, answer},
    sidecar::{Line, Sidecar, Site},
    websocket,
};

fn wss(remote: &Remote) -> String {
    format!("wss://{}/uplink", remote.address)
}

async fn scene(site: &Site, remote: &Remote, device: std::net::SocketAddr) -> Sidecar {
    site.start_with(&[Line::new("camera-1", device, wss(remote))]).await
}

fn get(path: &str) -> Request<()> {
    Request::builder().uri(format!("https://cloud{path}")).version(Version::HTTP_2).body(()).expect("valid")
}

#[tokio::test]
async fn a_wss_uplink_asks_as_rfc_6455_wants_and_comes_online() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let sidecar = scene(&site, &remote, device.address).await;
    let (_stream, head) = websocket::accept(&remote).await;
    assert!(head.starts_with(&format!("GET /uplink HTTP/1.1\r\nHost: {}\r\n", remote.address)), "{head}");
    for line in [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: h2c-reverse",
    ] {
        assert!(head.lines().any(|found| found == line), "{line} in {head}");
    }
    drop(_stream);
    let _session = websocket::upgrade(&remote).await;
    assert_eq!(sidecar.online("camera-1").await.session.expect("online").tls.version, "TLSv1.3");
}

#[tokio::test]
async fn requests_and_large_bodies_pass_both_ways_within_the_websocket() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let _sidecar = scene(&site, &remote, device.address).await;
    let session = websocket::upgrade(&remote).await;
    let (parts, picture) = session.get(get("/snapshot.jpg")).await;
    assert_eq!(parts.status, 200);
    assert!(picture.starts_with(&[0xff, 0xd8]));
    let (parts, bulk) = session.get(get("/download/20000000")).await;
    assert_eq!((parts.status.as_u16(), bulk.len()), (200, 20_000_000));
    let head = Request::builder()
        .method(Method::POST)
        .uri("https://cloud/firmware")
        .version(Version::HTTP_2)
        .header("content-length", 5_000_000)
        .body(())
        .expect("valid");
    let mut requests = session.requests.clone().ready().await.expect("the session stands");
    let (response, mut body) = requests.send_request(head, false).expect("sent");
    let upload = async {
        let mut left = Bytes::from(vec![5; 5_000_000]);
        while !left.is_empty() {
            body.reserve_capacity(left.len());
            let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await.expect("open").expect("open");
            body.send_data(left.split_to(room.min(left.len())), false).expect("open");
        }
        body.send_data(Bytes::new(), true).expect("open");
    };
    let (response, ()) = timeout(PATIENCE, async { tokio::join!(response, upload) }).await.expect("in time");
    let response = response.expect("answered");
    assert!(response.status().is_success(), "{}", response.status());
    collect(response.into_body()).await.expect("whole");
}

#[tokio::test]
async fn a_drain_lets_a_stream_finish_and_says_close() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = FakeDevice::start().await;
    let sidecar = scene(&site, &remote, device.address).await;
    let session = websocket::upgrade(&remote).await;
    sidecar.online("camera-1").await;
    let mut requests = session.requests.clone().ready().await.expect("the session stands");
    let (response, _) = requests.send_request(get("/slow"), true).expect("sent");
    let (mut stream, _) = device.asked().await;
    sidecar.switch.start(PATIENCE);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlast").await.expect("sent");
    let (parts, body) = answer(response).await;
    assert_eq!((parts.status.as_u16(), &body[..]), (200, &b"last"[..]));
    drop((requests, session.requests));
    assert_eq!(sidecar.stop(PATIENCE).await, Outcome::Stopped);
    timeout(PATIENCE, session.connection).await.expect("ends").expect("no panic").expect("in good order");
}

#[tokio::test]
async fn a_close_of_the_remote_is_a_normal_end() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let sidecar = scene(&site, &remote, device.address).await;
    let session = websocket::upgrade(&remote).await;
    sidecar.online("camera-1").await;
    drop(session.requests);
    sidecar.fails("camera-1", Cause::ClosedByRemote).await;
}

/// An unmasked frame as a server sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, u8::try_from(payload.len()).expect("short")][..], payload].concat()
}

#[tokio::test]
async fn every_violation_is_named_costs_its_session_and_no_other() {
    let site = Site::new(&["camera-1", "camera-2"]);
    let (remote, other) = (Remote::start(&site.authority).await, Remote::start(&site.authority).await);
    let (device, second) = (camera("camera-1").await, camera("camera-2").await);
    let lines =
        [Line::new("camera-1", device.address, wss(&remote)), Line::new("camera-2", second.address, wss(&other))];
    let sidecar = site.start_with(&lines).await;
    let untouched = websocket::upgrade(&other).await;
    sidecar.online("camera-2").await;
    let preface = frame(0x82, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    for (index, bytes) in [
        // In place of the preface, and within a session.
        frame(0x81, b"hello"),
        [preface.clone(), frame(0x81, b"hello")].concat(),
        [preface.clone(), vec![0x82, 0x81, 1, 2, 3, 4, b'x']].concat(),
        [preface.clone(), vec![0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0]].concat(),
        [preface, frame(0xc2, b"x")].concat(),
    ]
    .into_iter()
    .enumerate()
    {
        if index > 0 {
            // The next attempt waits for its time; a change of the settings brings it forward.
            let mut changed = lines.clone();
            changed[0].level = ["User", "Operator"][index % 2].to_owned();
            site.write(&crate::support::sidecar::document(&changed));
        }
        let (mut stream, _) = websocket::accept(&remote).await;
        stream.write_all(&bytes).await.expect("sent");
        stream.flush().await.expect("sent");
        let seen = |all: &onvif_uplink::model::status::Snapshot| {
            let uplink = crate::support::sidecar::of(all, "camera-1")?;
            let wanted = uplink.attempt == uplink.attempt.max(1) && uplink.next_attempt.is_some();
            uplink.error.as_ref().filter(|_| wanted).map(|error| error.cause)
        };
        assert_eq!(sidecar.until("a violation", seen).await, Cause::WebSocketViolation, "case {index}");
    }
    assert_eq!(sidecar.now("camera-2").status, Status::Online);
    assert_eq!(untouched.get(get("/snapshot.jpg")).await.0.status, 200);
}

#[tokio::test]
async fn a_websocket_without_our_subprotocol_is_named() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let sidecar = scene(&site, &remote, device.address).await;
    let mut stream = remote.handshake().await.expect("a good handshake");
    let head = crate::support::remote::read_head(&mut stream).await;
    let key = head.split("Sec-WebSocket-Key: ").nth(1).and_then(|rest| rest.split("\r\n").next()).expect("a key");
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.expect("sent");
    stream.flush().await.expect("sent");
    let sentence = sidecar.fails("camera-1", Cause::WebSocketSubprotocol).await;
    assert!(sentence.contains("h2c-reverse"), "{sentence}");
    assert_eq!(sidecar.stop(Duration::ZERO).await, Outcome::Stopped);
}
