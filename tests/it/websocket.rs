//! WebSockets of the remote to a device that is written byte by byte (RFC 8441): what the device sees, what passes, how it ends.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::Reason;
use onvif_uplink::{
    base::{activity::Activity, drain::drain},
    forward::{Limits, Routes},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::support::{
    connect::{Opened, device, extended, open, session_to},
    frames::{self, DATA, END_HEADERS, HEADERS, PREFACE, SETTINGS, frame, literal},
    h2_peer::{Session, serve},
    http::PATIENCE,
    raw_device::{accept, head},
    remote::answer,
};

async fn scene(limits: Limits) -> (TcpListener, Session) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let device = device("http", listener.local_addr().expect("bound"), &[]);
    (listener, session_to(&device, limits).await)
}

fn field<'h>(head: &'h str, name: &str) -> &'h str {
    let line = head.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {head}"));
    line.split_once(": ").expect("a field").1
}

/// Reads an upgrade request and answers it well; `more` are further fields, each with its line end, or early bytes.
async fn upgrade(socket: &mut TcpStream, more: &str) -> String {
    let asked = head(socket).await;
    let accept = derive_accept_key(field(&asked, "Sec-WebSocket-Key").as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{more}"
    );
    socket.write_all(answer.as_bytes()).await.expect("written");
    asked
}

/// A WebSocket that stands, with the device's socket.
async fn standing() -> (TcpStream, Opened, Session) {
    let (listener, session) = scene(Limits::default()).await;
    let device = async {
        let mut socket = accept(&listener).await;
        upgrade(&mut socket, "\r\n").await;
        socket
    };
    let (socket, opened) = tokio::join!(device, open(&session, extended("websocket", "/ws", &[])));
    assert_eq!(opened.head.status, 200);
    (socket, opened, session)
}

/// What becomes of a WebSocket whose upgrade the device answers with these bytes.
async fn answered(text: &'static str) -> (http::response::Parts, Bytes) {
    let (listener, session) = scene(Limits::default()).await;
    let script = async {
        let mut socket = accept(&listener).await;
        head(&mut socket).await;
        socket.write_all(text.as_bytes()).await.expect("written");
        socket.shutdown().await.expect("open");
        socket
    };
    let asked = async {
        let mut remote = session.remote.clone().ready().await.expect("the session stands");
        let request = extended("websocket", "/ws", &[("sec-websocket-protocol", "rtsp.onvif.org")]);
        let (response, _open) = remote.send_request(request, false).expect("sent");
        answer(response).await
    };
    tokio::join!(asked, script).0
}

async fn device_rest(socket: &mut TcpStream) -> Result<Vec<u8>, ErrorKind> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.expect("in time").map_err(|error| error.kind())?;
    Ok(bytes)
}

#[tokio::test]
async fn the_device_sees_an_upgrade_of_its_own_and_the_remote_what_was_agreed() {
    let (listener, session) = scene(Limits::default()).await;
    let address = listener.local_addr().expect("bound");
    let fields = [
        ("origin", "https://cloud.example"),
        ("sec-websocket-protocol", "a, rtsp.onvif.org"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "of the remote"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("te", "trailers"),
    ];
    let device = async {
        let mut socket = accept(&listener).await;
        let more = "Sec-WebSocket-Protocol: rtsp.onvif.org\r\nSec-WebSocket-Extensions: permessage-deflate\r\nSet-Cookie: c=3\r\n\r\n";
        upgrade(&mut socket, more).await
    };
    let (asked, opened) = tokio::join!(device, open(&session, extended("websocket", "/ws?x=%20", &fields)));
    assert!(asked.starts_with("GET /ws?x=%20 HTTP/1.1\r\n"), "{asked}");
    for (name, value) in [
        ("Host", address.to_string().as_str()),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Origin", "https://cloud.example"),
        ("Sec-WebSocket-Protocol", "a, rtsp.onvif.org"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ("Sec-WebSocket-Version", "13"),
        ("Cookie", "a=1; b=2"),
        ("X-Forwarded-Host", "cloud.example"),
    ] {
        assert_eq!(field(&asked, name), value, "{asked}");
    }
    assert!(!asked.contains("of the remote") && !asked.contains("Te:") && !asked.contains("Content-Length"), "{asked}");
    let fields = &opened.head.headers;
    assert_eq!(opened.head.status, 200);
    assert_eq!(fields["sec-websocket-protocol"], "rtsp.onvif.org");
    assert_eq!(fields["sec-websocket-extensions"], "permessage-deflate");
    assert_eq!(fields["set-cookie"], "c=3");
    for name in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!fields.contains_key(name), "{name} means nothing in HTTP/2");
    }
}

#[tokio::test]
async fn frames_pass_untouched_both_ways_and_early_ones_come_first() {
    let (listener, session) = scene(Limits::default()).await;
    let device = async {
        let mut socket = accept(&listener).await;
        upgrade(&mut socket, "\r\n\u{1}early").await;
        socket.write_all(b"more").await.expect("written");
        let mut masked = [0; 7];
        socket.read_exact(&mut masked).await.expect("a frame");
        masked
    };
    let remote = async {
        let mut opened = open(&session, extended("websocket", "/", &[])).await;
        opened.say("\u{2}\u{1}\0mask");
        (opened.hear(10).await, opened)
    };
    let (masked, (heard, _opened)) = tokio::join!(device, remote);
    assert_eq!(&masked, b"\x02\x01\0mask");
    assert_eq!(heard, "\u{1}earlymore");
}

#[tokio::test]
async fn each_side_may_end_its_direction_while_the_other_goes_on() {
    let (mut socket, mut opened, _session) = standing().await;
    opened.say("close");
    opened.end();
    assert_eq!(device_rest(&mut socket).await.expect("FIN, not RST"), b"close");
    socket.write_all(b"close too").await.expect("still open");
    drop(socket);
    assert_eq!(opened.rest().await.expect("END_STREAM, not RST_STREAM"), "close too");

    let (mut socket, mut opened, _session) = standing().await;
    socket.shutdown().await.expect("open");
    assert_eq!(opened.rest().await.expect("END_STREAM"), "");
    opened.say("afterwards");
    opened.end();
    assert_eq!(device_rest(&mut socket).await.expect("FIN"), b"afterwards");
}

#[tokio::test]
async fn a_reset_of_the_remote_is_one_at_the_device_and_the_other_way_round() {
    let (mut socket, mut opened, _session) = standing().await;
    opened.send.send_reset(Reason::CANCEL);
    assert_eq!(device_rest(&mut socket).await.expect_err("RST"), ErrorKind::ConnectionReset);

    let (socket, mut opened, session) = standing().await;
    SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("a socket");
    drop(socket);
    assert_eq!(opened.reset().await, Reason::CANCEL);
    session.remote.clone().ready().await.expect("the session does not notice");
}

#[tokio::test]
async fn a_viewer_that_does_not_read_stops_neither_its_own_direction_nor_another_stream() {
    let (listener, session) = scene(Limits::default()).await;
    let device = async {
        let mut first = accept(&listener).await;
        upgrade(&mut first, "\r\n").await;
        let mut second = accept(&listener).await;
        upgrade(&mut second, "\r\n").await;
        (first, second)
    };
    let opened = async {
        (open(&session, extended("websocket", "/1", &[])).await, open(&session, extended("websocket", "/2", &[])).await)
    };
    let ((first, mut second), (mut stalled, mut other)) = tokio::join!(device, opened);
    let (mut read, mut write) = first.into_split();
    // Video without end that nobody reads.
    let video = tokio::spawn(async move { while write.write_all(&[7; 65_536]).await.is_ok() {} });
    for _ in 0..50 {
        stalled.say("keep-alive");
        let mut bytes = [0; 10];
        timeout(PATIENCE, read.read_exact(&mut bytes)).await.expect("in time").expect("ten bytes");
        second.write_all(b"frame").await.expect("open");
        assert_eq!(other.hear(5).await, "frame");
    }
    assert!(!video.is_finished(), "the device is held back, not cut");
    video.abort();
}

#[tokio::test]
async fn a_refusal_of_the_device_goes_back_as_it_is() {
    let (head, body) =
        answered("HTTP/1.1 401 x\r\nWWW-Authenticate: Digest realm=\"c\"\r\nContent-Length: 4\r\n\r\nnope").await;
    assert_eq!((head.status.as_u16(), &body[..]), (401, &b"nope"[..]));
    assert_eq!(head.headers["www-authenticate"], "Digest realm=\"c\"");
    let (head, body) = answered("HTTP/1.0 404 x\r\nContent-Type: text/plain\r\n\r\nno such page").await;
    assert_eq!((head.status.as_u16(), &body[..]), (404, &b"no such page"[..]));
}

#[tokio::test]
async fn a_wrong_answer_of_the_device_is_a_502_that_says_what_is_wrong() {
    const SWITCH: &str = "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let wrong_accept: &str =
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n";
    let no_accept = "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    assert!(no_accept.starts_with(SWITCH));
    for (text, sentence) in [
        (wrong_accept, "not that of our key"),
        (no_accept, "no Sec-WebSocket-Accept"),
        ("HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "not one to WebSocket"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200 OK instead of 101"),
        ("RTSP/1.0 200 OK\r\n\r\n", "cannot be forwarded"),
        ("", "closed the connection"),
    ] {
        let (head, body) = answered(text).await;
        let body = String::from_utf8_lossy(&body);
        assert_eq!(head.status, 502, "{text:?}: {body}");
        assert!(body.contains(sentence), "{text:?}: {body}");
    }
}

#[tokio::test]
async fn a_subprotocol_that_was_not_offered_is_a_502() {
    let (listener, session) = scene(Limits::default()).await;
    let device = async {
        let mut socket = accept(&listener).await;
        upgrade(&mut socket, "Sec-WebSocket-Protocol: other\r\n\r\n").await;
    };
    let request = extended("websocket", "/", &[("sec-websocket-protocol", "rtsp.onvif.org")]);
    let (mut opened, ()) = tokio::join!(open(&session, request), device);
    assert_eq!(opened.head.status, 502);
    assert!(String::from_utf8_lossy(&opened.rest().await.expect("whole")).contains("subprotocol"));
}

#[tokio::test]
async fn a_head_without_end_is_a_502_and_a_device_that_never_answers_a_504() {
    let (listener, session) = scene(Limits { head: Duration::from_millis(300), ..Limits::default() }).await;
    let device = async {
        let mut huge = accept(&listener).await;
        head(&mut huge).await;
        let _ = huge.write_all(b"HTTP/1.1 101 x\r\nX: ").await;
        let _ = huge.write_all(&[b'a'; 70_000]).await;
        let silent = accept(&listener).await;
        (huge, silent)
    };
    let asked = async {
        let mut huge = open(&session, extended("websocket", "/1", &[])).await;
        assert_eq!(huge.head.status, 502);
        assert!(String::from_utf8_lossy(&huge.rest().await.expect("whole")).contains("head is too large"));
        open(&session, extended("websocket", "/2", &[])).await.head.status
    };
    assert_eq!(tokio::join!(asked, device).0, 504);
}

#[tokio::test]
async fn other_protocols_are_a_501_and_a_content_length_is_a_400() {
    let (_listener, session) = scene(Limits::default()).await;
    let other = open(&session, extended("connect-udp", "/", &[])).await;
    assert_eq!(other.head.status, 501);
    let long = open(&session, extended("websocket", "/", &[("content-length", "5")])).await;
    assert_eq!(long.head.status, 400);
    let third = open(&session, extended("connect-ip", "/", &[])).await;
    assert_eq!(third.head.status, 501, "the session stands");
}

#[tokio::test]
async fn one_more_websocket_than_there_may_be_is_a_503_until_one_ends() {
    let (listener, session) = scene(Limits { endless: 1, ..Limits::default() }).await;
    let device = async {
        let mut socket = accept(&listener).await;
        upgrade(&mut socket, "\r\n").await;
        socket
    };
    let (socket, mut first) = tokio::join!(device, open(&session, extended("websocket", "/1", &[])));
    let second = open(&session, extended("websocket", "/2", &[])).await;
    assert_eq!(second.head.status, 503);
    first.end();
    drop(socket);
    first.rest().await.expect("in good order");
    let device = async {
        let mut socket = accept(&listener).await;
        upgrade(&mut socket, "\r\n").await;
    };
    let third = async {
        loop {
            // The rights come back when both directions have ended, a moment later.
            let opened = open(&session, extended("websocket", "/3", &[])).await;
            if opened.head.status != 503 {
                return opened.head.status;
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(timeout(PATIENCE, async { tokio::join!(third, device).0 }).await.expect("in time"), 200);
}

#[tokio::test]
async fn a_websocket_that_is_asked_for_before_our_settings_came_stands() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let device = device("http", listener.local_addr().expect("bound"), &[]);
    let (near, mut remote) = tokio::io::duplex(1 << 20);
    let (_switch, drained) = drain();
    let routes = Arc::new(Routes::new(&device));
    let _served = tokio::spawn(async move { serve(near, Arc::new(Activity::start()), routes, drained).await });
    // As the AxxonSoft sample does it (quirk Q13): in one write with the preface, and without an authority.
    let connect =
        [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/"), ("host", "axxon")];
    let early = [PREFACE.to_vec(), frame(HEADERS, END_HEADERS, 1, &literal(&connect)), frame(DATA, 0, 1, b"hello")];
    remote.write_all(&early.concat()).await.expect("sent");
    let first = frames::read(&mut remote).await.expect("our SETTINGS");
    assert_eq!(first.kind, SETTINGS);
    assert!(first.payload.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]), "ENABLE_CONNECT_PROTOCOL is in it");
    let mut socket = accept(&listener).await;
    upgrade(&mut socket, "\r\n").await;
    let mut bytes = [0; 5];
    socket.read_exact(&mut bytes).await.expect("what the remote sent at once");
    assert_eq!(&bytes, b"hello");
    let head = loop {
        let next = frames::read(&mut remote).await.expect("the session stands");
        if next.stream == 1 {
            break next;
        }
    };
    assert_eq!((head.kind, head.payload[0]), (HEADERS, 0x88), "`:status 200`");
}
