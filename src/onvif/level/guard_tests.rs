//! Requests that may pass and that may not, in both wrappings and in pieces.

use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use proptest::prelude::*;

use super::*;

const OPTIONS: &str = "OPTIONS rtsp://c/live RTSP/1.0\r\nCSeq: 1\r\n\r\n";
const RECORD: &str = "RECORD rtsp://c/live RTSP/1.0\r\nCSeq: 2\r\n\r\n";

/// Refuses RECORD.
fn check() -> Check {
    Arc::new(|message| match message.kind() {
        Kind::Request { method: "RECORD", .. } => Err("no RECORD".to_owned()),
        _ => Ok(()),
    })
}

async fn through(wrapping: Wrapping, chunks: Vec<Vec<u8>>) -> (Vec<u8>, Option<String>) {
    let frames = chunks.into_iter().map(|chunk| Ok::<_, BodyError>(Frame::data(Bytes::from(chunk))));
    let mut guard = Guard::new(Body::new(StreamBody::new(stream::iter(frames))), wrapping, check());
    let mut passed = Vec::new();
    while let Some(frame) = guard.frame().await {
        match frame {
            Ok(frame) => passed.extend_from_slice(frame.data_ref().expect("data")),
            Err(BodyError::Transport(error)) => return (passed, Some(error.to_string())),
            Err(error) => panic!("{error}"),
        }
    }
    (passed, None)
}

fn base64(parts: &[&str]) -> Vec<u8> {
    parts.iter().map(|part| STANDARD.encode(part)).collect::<String>().into_bytes()
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).expect("short")),
        long => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(long).expect("long").to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    frame
}

#[tokio::test]
async fn what_is_allowed_passes_byte_by_byte_as_it_came() {
    let sound = format!("{OPTIONS}$\x01\0\x04RECO{OPTIONS}");
    let wrapped = base64(&[&sound, OPTIONS]);
    let pieces = wrapped.chunks(1).map(<[u8]>::to_vec).collect();
    assert_eq!(through(Wrapping::Base64(Vec::new()), pieces).await, (wrapped, None));
    let long = format!("{OPTIONS}$\0\x01\0{}", "x".repeat(256));
    let wrapped = [frame(2, sound.as_bytes()), frame(9, b"RECORD"), frame(1, long.as_bytes()), frame(2, b"")].concat();
    let pieces = wrapped.chunks(1).map(<[u8]>::to_vec).collect();
    assert_eq!(through(Wrapping::WebSocket(WebSocket::default()), pieces).await, (wrapped, None));
}

#[tokio::test]
async fn the_chunk_that_completes_a_refused_request_does_not_go_on() {
    let (first, second) = (base64(&[OPTIONS]), base64(&[RECORD]));
    let (begin, end) = second.split_at(30);
    let chunks = vec![first.clone(), begin.to_vec(), end.to_vec(), first.clone()];
    let (passed, stopped) = through(Wrapping::Base64(Vec::new()), chunks).await;
    assert_eq!(passed, [&first[..], begin].concat());
    assert_eq!(stopped.as_deref(), Some("the stream was ended: no RECORD"));
    let (passed, stopped) = through(
        Wrapping::WebSocket(WebSocket::default()),
        vec![frame(2, OPTIONS.as_bytes()), frame(0, RECORD.as_bytes())],
    )
    .await;
    assert!(passed == frame(2, OPTIONS.as_bytes()) && stopped.is_some());
}

#[tokio::test]
async fn what_is_no_rtsp_in_its_wrapping_is_no_tunnel() {
    for chunk in [
        &b"<s:Envelope/>"[..],
        b"action=reboot&",
        b"a%20b",
        b"YQ=b",
        &base64(&["POST /cgi-bin/reboot HTTP/1.1\r\n\r\n"]),
        &base64(&["<s:Envelope>\n\n"]),
    ] {
        let (passed, stopped) = through(Wrapping::Base64(Vec::new()), vec![chunk.to_vec()]).await;
        assert!(passed.is_empty() && stopped.is_some(), "{chunk:?}");
    }
    let compressed = [vec![0xc2], frame(2, OPTIONS.as_bytes())[1..].to_vec()].concat();
    let (passed, stopped) = through(Wrapping::WebSocket(WebSocket::default()), vec![compressed]).await;
    assert!(passed.is_empty() && stopped.is_some());
}

proptest! {
    #[test]
    fn any_octets_in_any_pieces_are_passed_as_they_came_or_stopped(octets in proptest::collection::vec(any::<u8>(), 0..300), size in 1usize..40, base in any::<bool>()) {
        let wrapping = if base { Wrapping::Base64(Vec::new()) } else { Wrapping::WebSocket(WebSocket::default()) };
        let pieces = octets.chunks(size).map(<[u8]>::to_vec).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (passed, stopped) = runtime.block_on(through(wrapping, pieces));
        prop_assert!(octets.starts_with(&passed) && (stopped.is_some() || passed.len() == octets.len()));
    }
}
