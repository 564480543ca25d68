//! RTSP over WebSocket onto a plain connection: what the library of a remote sends and sees, right and wrong.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, Join, ReadHalf, WriteHalf, duplex, join, split};
use tokio_tungstenite::WebSocketStream;

use super::*;

const OPTIONS: &str = "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n";
const ANSWER: &[u8] = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n";

type Within = Join<Framing<ReadHalf<DuplexStream>>, Unframing<WriteHalf<DuplexStream>>>;

/// The bytes that a remote exchanges with us, and the device.
fn raw() -> (Within, DuplexStream) {
    let (near, device) = duplex(1 << 20);
    let (reader, writer) = split(near);
    let (framing, unframing) = around(reader, writer);
    (join(framing, unframing), device)
}

/// A remote's library, and the device.
async fn remote() -> (WebSocketStream<Within>, DuplexStream) {
    let (within, device) = raw();
    (WebSocketStream::from_raw_socket(within, Role::Client, None).await, device)
}

async fn heard(device: &mut DuplexStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    device.read_exact(&mut bytes).await.expect("so much comes");
    String::from_utf8(bytes).expect("text")
}

/// The code and reason of the close that comes next.
async fn closed(remote: &mut WebSocketStream<Within>) -> (CloseCode, String) {
    match tokio::time::timeout(std::time::Duration::from_secs(30), remote.next()).await.expect("in time") {
        Some(Ok(Message::Close(Some(close)))) => (close.code, close.reason.to_string()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn requests_in_frames_of_any_kind_reach_the_device_without_them() {
    let (mut remote, mut device) = remote().await;
    remote.send(Message::binary(OPTIONS)).await.expect("sent");
    assert_eq!(heard(&mut device, OPTIONS.len()).await, OPTIONS);
    remote.send(Message::text(OPTIONS)).await.expect("sent");
    assert_eq!(heard(&mut device, OPTIONS.len()).await, OPTIONS);
    let (first, second) = OPTIONS.split_at(9);
    let parts = [(first, Data::Binary, false), (second, Data::Continue, true)];
    for (part, kind, last) in parts {
        let frame = Frame::message(part.to_owned(), OpCode::Data(kind), last);
        remote.send(Message::Frame(frame)).await.expect("sent");
    }
    assert_eq!(heard(&mut device, OPTIONS.len()).await, OPTIONS);
}

#[tokio::test]
async fn what_the_device_sends_comes_in_binary_frames_whatever_its_size() {
    let (mut remote, mut device) = remote().await;
    device.write_all(ANSWER).await.expect("written");
    assert_eq!(remote.next().await.expect("a frame").expect("sound"), Message::binary(ANSWER));
    for size in [1, 125, 126, 4000, 65_535, 65_536, 300_000] {
        let sent: Vec<u8> = (0..size).map(|index| u8::try_from(index % 251).expect("small")).collect();
        device.write_all(&sent).await.expect("written");
        let mut came = Vec::new();
        while came.len() < size {
            match remote.next().await.expect("a frame").expect("sound") {
                Message::Binary(payload) => came.extend_from_slice(&payload),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(came, sent, "{size} bytes");
    }
}

#[tokio::test]
async fn a_frame_of_any_size_is_right_whatever_room_the_reader_has() {
    let room = usize::from(u16::MAX) * 3;
    for (room, size) in [(1, 200), (63, 200), (room, 10), (room, 1000), (room, 65_535), (room, 65_536), (room, 190_000)]
    {
        let (within, mut device) = raw();
        let sent: Vec<u8> = std::iter::repeat_n(b'$', size).collect();
        device.write_all(&sent).await.expect("written");
        drop(device);
        let (mut framing, _) = within.into_inner();
        let (mut frames, mut buffer) = (BytesMut::new(), vec![0; room]);
        loop {
            let count = framing.read(&mut buffer).await.expect("sound");
            if count == 0 {
                break;
            }
            frames.extend_from_slice(&buffer[..count]);
        }
        let mut context = WebSocketContext::new(Role::Client, None);
        let mut pipe = Pipe { input: frames, output: Vec::new() };
        let mut came = Vec::new();
        while let Ok(Message::Binary(payload)) = context.read(&mut pipe) {
            came.extend_from_slice(&payload);
        }
        assert_eq!(came, sent, "{size} bytes into {room}");
    }
}

#[tokio::test]
async fn a_ping_is_answered_and_the_device_does_not_see_it() {
    let (mut remote, mut device) = remote().await;
    remote.send(Message::Ping("x".into())).await.expect("sent");
    assert_eq!(remote.next().await.expect("a frame").expect("sound"), Message::Pong("x".into()));
    remote.send(Message::text(OPTIONS)).await.expect("sent");
    assert_eq!(heard(&mut device, OPTIONS.len()).await, OPTIONS);
}

#[tokio::test]
async fn a_close_of_the_remote_is_answered_and_ends_the_devices_connection() {
    let (mut remote, mut device) = remote().await;
    remote.close(Some(CloseFrame { code: CloseCode::Away, reason: "done".into() })).await.expect("sent");
    assert_eq!(closed(&mut remote).await, (CloseCode::Away, "done".to_owned()));
    assert_eq!(device.read(&mut [0]).await.expect("in good order"), 0);
}

#[tokio::test]
async fn the_devices_end_is_a_close_in_good_order() {
    let (mut remote, mut device) = remote().await;
    device.write_all(ANSWER).await.expect("written");
    drop(device);
    assert_eq!(remote.next().await.expect("a frame").expect("sound"), Message::binary(ANSWER));
    assert_eq!(closed(&mut remote).await.0, CloseCode::Normal);
}

#[tokio::test]
async fn what_breaks_the_rules_is_closed_with_its_reason_and_never_reaches_the_device() {
    let large = Message::binary(vec![b'a'; WEBSOCKET_MESSAGE_MAX + 1]);
    let lie = Message::binary([&b"$\0\0\x01abc"[..], OPTIONS.as_bytes()].concat());
    for (message, code, reason) in [
        (large, CloseCode::Size, "misused"),
        (Message::text("hello, are you a chat?"), CloseCode::Policy, "not RTSP"),
        (lie, CloseCode::Policy, "not RTSP"),
    ] {
        let (mut remote, mut device) = remote().await;
        remote.send(message).await.expect("sent");
        let (code_seen, reason_seen) = closed(&mut remote).await;
        assert_eq!(code_seen, code);
        assert!(reason_seen.contains(reason), "{reason_seen}");
        assert_eq!(device.read(&mut [0]).await.expect("in good order"), 0);
    }
}

#[tokio::test]
async fn a_frame_without_a_mask_is_against_the_protocol() {
    let (mut within, _device) = raw();
    within.write_all(b"\x82\x01a").await.expect("taken");
    within.flush().await.expect("taken");
    let mut close = [0; 4];
    within.read_exact(&mut close).await.expect("a close");
    assert_eq!((close[0], u16::from_be_bytes([close[2], close[3]])), (0x88, 1002));
}

#[tokio::test]
async fn a_port_that_does_not_speak_rtsp_is_said_so() {
    let (mut remote, mut device) = remote().await;
    device.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("written");
    let (code, reason) = closed(&mut remote).await;
    assert_eq!(code, CloseCode::Error);
    assert!(reason.contains("does not speak RTSP"), "{reason}");
}

#[tokio::test]
async fn a_flood_of_pings_from_a_remote_that_does_not_read_is_bounded() {
    let (within, _device) = raw();
    let (framing, mut unframing) = within.into_inner();
    let mut ping = Vec::new();
    Frame::ping("0123456789").format(&mut ping).expect("a vector");
    ping[1] |= 0x80;
    ping.splice(2..2, [0; 4]);
    for _ in 0..10_000 {
        unframing.write_all(&ping).await.expect("taken");
    }
    assert!(framing.shared.lock().frames.len() <= OUTBOX_MAX);
}
