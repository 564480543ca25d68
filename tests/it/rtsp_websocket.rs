//! RTSP over WebSocket: to the device's own service, to its RTSP port when it has none, and from a remote that names no
//! subprotocol (ONVIF Uplink, RTSP over WebSockets; RFC 8441).

use h2::Reason;
use onvif_uplink::model::streaming::{RtspVia, Streaming, StreamingWay};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::support::{
    connect::{Opened, extended, open},
    raw_device::{accept, head},
    rtsp::{ANSWER, OPTIONS, Scene, client_frame, closed, heard_by, say_frame, scene},
};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const PING: u8 = 9;
const NAMED: &[(&str, &str)] = &[("sec-websocket-protocol", "rtsp.onvif.org"), ("sec-websocket-version", "13")];

/// A WebSocket that stands at the RTSP port: the device's socket, and the remote's stream.
async fn bridged(scene: &Scene) -> (TcpStream, Opened) {
    let request = extended("websocket", "/rtsp-over-websocket", NAMED);
    let (socket, opened) = tokio::join!(accept(&scene.rtsp), open(&scene.session, request));
    assert_eq!(opened.head.status, 200);
    (socket, opened)
}

async fn answer_in_a_frame(socket: &mut TcpStream, opened: &mut Opened) {
    socket.write_all(ANSWER.as_bytes()).await.expect("written");
    let frame = opened.hear(2 + ANSWER.len()).await;
    assert_eq!((frame[0], usize::from(frame[1])), (0x82, ANSWER.len()));
    assert_eq!(&frame[2..], ANSWER.as_bytes());
}

#[tokio::test]
async fn a_device_with_an_rtsp_port_only_gets_plain_rtsp() {
    let scene = scene(RtspVia::Bridge, false).await;
    let (mut socket, mut opened) = bridged(&scene).await;
    assert_eq!(opened.head.headers["sec-websocket-protocol"], "rtsp.onvif.org");
    for kind in [TEXT, BINARY] {
        say_frame(&mut opened, kind, OPTIONS.as_bytes());
        assert_eq!(heard_by(&mut socket, OPTIONS.len()).await, OPTIONS);
    }
    answer_in_a_frame(&mut socket, &mut opened).await;
    say_frame(&mut opened, BINARY, b"$\x02\x00\x05audio");
    assert_eq!(heard_by(&mut socket, 9).await, "$\x02\0\x05audio");
}

#[tokio::test]
async fn a_device_with_a_service_of_its_own_gets_the_frames_as_they_are() {
    let scene = scene(RtspVia::Auto, false).await;
    let script = async {
        let mut socket = accept(&scene.web).await;
        let asked = head(&mut socket).await;
        assert!(asked.starts_with("GET /ws HTTP/1.1\r\n"), "{asked}");
        let key = asked.split("Sec-WebSocket-Key: ").nth(1).and_then(|rest| rest.split("\r\n").next()).expect("a key");
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\
             Sec-WebSocket-Protocol: rtsp.onvif.org\r\n\r\n"
        );
        socket.write_all(answer.as_bytes()).await.expect("written");
        socket
    };
    let (mut socket, mut opened) = tokio::join!(script, open(&scene.session, extended("websocket", "/ws", NAMED)));
    assert_eq!(opened.head.headers["sec-websocket-protocol"], "rtsp.onvif.org");
    say_frame(&mut opened, BINARY, OPTIONS.as_bytes());
    let frame = client_frame(BINARY, OPTIONS.as_bytes());
    let mut came = vec![0; frame.len()];
    socket.read_exact(&mut came).await.expect("a frame");
    assert_eq!(came, frame);
}

#[tokio::test]
async fn a_device_that_refuses_is_bridged_and_not_asked_again() {
    let scene = scene(RtspVia::Auto, false).await;
    let refusing = async {
        let mut socket = accept(&scene.web).await;
        head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.expect("written");
    };
    let ((mut socket, mut opened), ()) = tokio::join!(bridged(&scene), refusing);
    say_frame(&mut opened, BINARY, OPTIONS.as_bytes());
    assert_eq!(heard_by(&mut socket, OPTIONS.len()).await, OPTIONS);
    let (mut second, mut again) = bridged(&scene).await;
    answer_in_a_frame(&mut second, &mut again).await;
    assert_eq!(scene.way.streaming(), Streaming::Way(StreamingWay::Bridge));
}

#[tokio::test]
async fn a_remote_that_names_no_subprotocol_is_bridged_at_the_root() {
    let scene = scene(RtspVia::Auto, true).await;
    let (mut socket, mut opened) =
        tokio::join!(accept(&scene.rtsp), open(&scene.session, extended("websocket", "/", &[])));
    assert_eq!(opened.head.status, 200);
    assert!(!opened.head.headers.contains_key("sec-websocket-protocol"));
    say_frame(&mut opened, BINARY, OPTIONS.as_bytes());
    assert_eq!(heard_by(&mut socket, OPTIONS.len()).await, OPTIONS);
}

#[tokio::test]
async fn what_breaks_the_rules_is_closed_with_a_code_and_the_session_goes_on() {
    let scene = scene(RtspVia::Bridge, false).await;
    let (mut other, mut others) = bridged(&scene).await;
    for (kind, payload, code) in
        [(BINARY, vec![b'O'; 200 * 1024], 1009), (TEXT, b"hello, chat".to_vec(), 1008), (3, b"x".to_vec(), 1002)]
    {
        let (socket, mut opened) = bridged(&scene).await;
        say_frame(&mut opened, kind, &payload);
        let close = opened.rest().await.expect("in good order");
        assert_eq!((close[0], u16::from_be_bytes([close[2], close[3]])), (0x88, code));
        opened.end();
        closed(socket).await;
    }
    say_frame(&mut others, PING, b"x");
    assert_eq!(others.hear(3).await, "\u{8a}\u{1}x".chars().map(|c| c as u8).collect::<Vec<_>>());
    answer_in_a_frame(&mut other, &mut others).await;
}

#[tokio::test]
async fn a_remote_that_resets_the_stream_cuts_the_devices_connection() {
    let scene = scene(RtspVia::Bridge, false).await;
    let (socket, mut opened) = bridged(&scene).await;
    opened.send.send_reset(Reason::CANCEL);
    closed(socket).await;
}

#[tokio::test]
async fn the_devices_end_is_a_close_and_the_end_of_the_stream() {
    let scene = scene(RtspVia::Bridge, false).await;
    let (socket, mut opened) = bridged(&scene).await;
    drop(socket);
    let close = opened.rest().await.expect("in good order");
    assert_eq!((close[0], u16::from_be_bytes([close[2], close[3]])), (0x88, 1000));
}
