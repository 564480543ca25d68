//! Both ends over an in-memory pipe: against each other, against the library as the peer, and against bytes that no library sends.

use std::future::poll_fn;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::base::io::violation_of;

/// A device end, and the raw bytes of its peer.
async fn device() -> (WebSocketIo<DuplexStream>, DuplexStream) {
    let (near, far) = duplex(1 << 20);
    (WebSocketIo::new(near, Bytes::new(), End::Device).await, far)
}

/// A device end, and the library at the other.
async fn with_library() -> (WebSocketIo<DuplexStream>, WebSocketStream<DuplexStream>) {
    let (device, far) = device().await;
    (device, WebSocketStream::from_raw_socket(far, Role::Server, None).await)
}

/// An unmasked frame, as a server sends it: the first byte (FIN and opcode), then the payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(length as u8),
        length => {
            frame.push(126);
            frame.extend(u16::try_from(length).expect("short").to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

async fn turn<S: AsyncRead + AsyncWrite + Send + Unpin>(io: &mut WebSocketIo<S>) {
    poll_fn(|cx| io.poll_turn(cx)).await.expect("written");
}

#[tokio::test]
async fn bytes_pass_both_ways_whatever_their_number() {
    let (near, far) = duplex(1 << 16);
    let mut device = WebSocketIo::new(near, Bytes::new(), End::Device).await;
    let mut remote = WebSocketIo::new(far, Bytes::new(), End::Remote).await;
    let sent: Vec<u8> = (0..300_000u32).flat_map(u32::to_be_bytes).collect();
    for (from, to) in [(true, 1 << 20), (false, 100), (true, FRAME), (false, FRAME + 1)] {
        let (writer, reader) = if from { (&mut device, &mut remote) } else { (&mut remote, &mut device) };
        let bytes = &sent[..to];
        let mut received = vec![0; to];
        let write = async {
            writer.write_all(bytes).await.expect("open");
            turn(writer).await;
        };
        let (_, read) = tokio::join!(write, reader.read_exact(&mut received));
        read.expect("open");
        assert!(received == bytes, "{to} bytes");
    }
}

#[tokio::test]
async fn nothing_leaves_before_the_turn_and_a_turn_leaves_as_full_frames() {
    let (mut device, mut library) = with_library().await;
    device.write_all(&[7; FRAME]).await.expect("open");
    device.write_all(&[8; 10]).await.expect("open");
    turn(&mut device).await;
    let mut sizes = Vec::new();
    for _ in 0..2 {
        let Some(Ok(Message::Binary(bytes))) = library.next().await else { panic!("a binary frame") };
        sizes.push(bytes.len());
    }
    assert_eq!(sizes, [FRAME, 10]);
}

#[tokio::test]
async fn fragments_empty_frames_and_single_bytes_are_one_byte_stream() {
    let (mut device, mut far) = device().await;
    for bytes in [
        frame(0x02, b"PRI"),
        frame(0x00, b""),
        frame(0x80, b" *"),
        frame(0x82, b""),
        frame(0x82, b" "),
        frame(0x82, b"HTTP"),
    ] {
        far.write_all(&bytes).await.expect("open");
    }
    let mut received = [0; 10];
    device.read_exact(&mut received).await.expect("open");
    assert_eq!(&received, b"PRI * HTTP");
}

#[tokio::test]
async fn what_came_behind_the_handshake_is_read_first() {
    let (near, _far) = duplex(64);
    let mut device = WebSocketIo::new(near, frame(0x82, b"early").into(), End::Device).await;
    let mut received = [0; 5];
    device.read_exact(&mut received).await.expect("open");
    assert_eq!(&received, b"early");
}

#[tokio::test]
async fn a_ping_between_two_frames_is_answered_with_the_next_turn() {
    let (mut device, mut library) = with_library().await;
    library.send(Message::Ping("you?".into())).await.expect("open");
    library.send(Message::Binary("x".into())).await.expect("open");
    assert_eq!(device.read_u8().await.expect("open"), b'x');
    turn(&mut device).await;
    let Some(Ok(Message::Pong(answer))) = library.next().await else { panic!("a pong") };
    assert_eq!(answer, "you?");
}

#[tokio::test]
async fn a_close_of_the_peer_is_the_end_and_is_answered() {
    let (mut device, mut library) = with_library().await;
    library.send(Message::Binary("last".into())).await.expect("open");
    library.close(None).await.expect("open");
    let mut received = Vec::new();
    device.read_to_end(&mut received).await.expect("in good order");
    assert_eq!(received, b"last");
    device.shutdown().await.expect("in good order");
    assert!(matches!(library.next().await, Some(Ok(Message::Close(_))) | None));
}

#[tokio::test]
async fn our_close_comes_after_everything_and_the_peer_may_still_finish() {
    let (mut device, mut library) = with_library().await;
    device.write_all(b"bye").await.expect("open");
    device.shutdown().await.expect("closed");
    let Some(Ok(Message::Binary(bytes))) = library.next().await else { panic!("the last bytes") };
    assert_eq!(bytes, "bye");
    let Some(Ok(Message::Close(Some(close)))) = library.next().await else { panic!("a close") };
    assert_eq!(close.code, CloseCode::Normal);
}

#[tokio::test]
async fn an_abrupt_end_is_no_violation() {
    let (mut device, far) = device().await;
    drop(far);
    let error = device.read_u8().await.expect_err("ended");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn every_violation_is_told_as_one() {
    let oversized = [&[0x82, 127][..], &(FRAME_MAX as u64 + 1).to_be_bytes()].concat();
    for (what, bytes) in [
        ("a text frame", frame(0x81, b"hello")),
        ("a masked frame from a server", vec![0x82, 0x81, 1, 2, 3, 4, b'x']),
        ("a reserved bit", frame(0xc2, b"x")),
        ("a reserved opcode", frame(0x83, b"x")),
        ("a fragment of nothing", frame(0x80, b"x")),
        ("a fragmented ping", frame(0x09, b"x")),
        ("an oversized frame", oversized),
    ] {
        let (mut device, mut far) = device().await;
        far.write_all(&bytes).await.expect("open");
        let error = device.read_u8().await.expect_err(what);
        assert!(violation_of(&error).is_some(), "{what}: {error:?}");
    }
}

#[tokio::test]
async fn an_endless_message_ends_at_its_bound() {
    let (mut device, mut far) = device().await;
    let flood = async {
        let fragment = frame(0x00, &[0; 60_000]);
        let _ = far.write_all(&frame(0x02, &[0; 60_000])).await;
        for _ in 0..MESSAGE_MAX / 60_000 + 1 {
            if far.write_all(&fragment).await.is_err() {
                return;
            }
        }
    };
    let (error, ()) = tokio::join!(device.read_u8(), flood);
    assert!(violation_of(&error.expect_err("too much")).is_some());
}

#[tokio::test]
async fn an_unmasked_frame_of_a_device_is_a_violation_at_the_remote() {
    let (near, mut far) = duplex(1 << 16);
    let mut remote = WebSocketIo::new(near, Bytes::new(), End::Remote).await;
    far.write_all(&frame(0x82, b"x")).await.expect("open");
    assert!(violation_of(&remote.read_u8().await.expect_err("unmasked")).is_some());
}

#[tokio::test]
async fn a_peer_that_takes_nothing_stops_the_writer_at_a_bound() {
    let (near, _far) = duplex(1024);
    let mut device = WebSocketIo::new(near, Bytes::new(), End::Device).await;
    let mut taken = 0;
    let full = poll_fn(|cx| {
        loop {
            match Pin::new(&mut device).poll_write(cx, &[0; 4096]) {
                Poll::Ready(Ok(length)) => taken += length,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Ready(Ok(())),
            }
        }
    });
    full.await.expect("no error");
    assert!(taken <= 3 * FRAME, "{taken}");
}
