//! Smuggling across the change from HTTP/2 to HTTP/1.1, by frames as an attacker writes them: no library of the remote's side
//! checks anything (RFC 9113 §8.1.1, §8.2, §8.3; the published H2.CL, H2.TE and CRLF desync cases).
//!
//! Each case is the first stream of a session of its own. Whatever becomes of it, the device must never read the injected
//! bytes, and either the next stream of the session gets its own answer or the session has ended.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use onvif_uplink::{
    base::{activity::Activity, drain::drain},
    forward::Limits,
    reverse::ReverseError,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::{
    frames::{self, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, frame, literal},
    h2_peer::serve,
    raw_device::handler_for,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Answered with 200 by the device, with the injection taken out.
    Forwarded,
    /// Answered with 400 by us.
    Refused,
    /// Reset.
    Reset,
    /// The h2 library's HPACK decoder refuses names, values and methods that are none, and with them the session (RFC 9113
    /// §8.1.1 would allow to reset the stream alone); the runner reconnects.
    Ended,
}

/// Answers every complete request with an empty 200 and keeps every byte that it read.
async fn device(listener: TcpListener, seen: Arc<Mutex<Vec<u8>>>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        connections.spawn(answer_all(socket, Arc::clone(&seen)));
    }
}

async fn answer_all(mut socket: TcpStream, seen: Arc<Mutex<Vec<u8>>>) {
    let mut last = Vec::new();
    while let Ok(byte) = socket.read_u8().await {
        seen.lock().expect("one thread").push(byte);
        last.push(byte);
        if last.ends_with(b"\r\n\r\n") {
            last.clear();
            if socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    }
}

/// The next HEADERS or RST_STREAM of `stream`; `None` when the session ended.
async fn fate(remote: &mut DuplexStream, stream: u32) -> Option<Fate> {
    loop {
        let frames::Read { kind, stream: of, payload, .. } = frames::read(remote).await?;
        match kind {
            GOAWAY => return None,
            RST_STREAM if of == stream => return Some(Fate::Reset),
            // Static table of RFC 7541: 8 is `:status: 200`, 12 is `:status: 400`.
            HEADERS if of == stream && payload[0] == 0x88 => return Some(Fate::Forwarded),
            HEADERS if of == stream && payload[0] == 0x8c => return Some(Fate::Refused),
            HEADERS if of == stream => panic!("another status: {payload:x?}"),
            _ => {}
        }
    }
}

/// Plays `attack` as stream 1, then a sound GET as stream 3. Gives the fate of both and what the device read. A session
/// that ended must have ended for a violation of HTTP/2, not in silence or for another reason.
async fn play(attack: &[u8]) -> (Option<Fate>, Option<Fate>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let handler = handler_for(listener.local_addr().expect("bound"), Limits::default());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(device(listener, Arc::clone(&seen)));
    let (near, mut remote) = tokio::io::duplex(1 << 16);
    let (_switch, drained) = drain();
    let (ended, how) = tokio::sync::oneshot::channel();
    tasks.spawn(async move {
        let _ = ended.send(serve(near, Arc::new(Activity::start()), Arc::new(handler), drained).await);
    });
    remote.write_all(PREFACE).await.expect("open");
    remote.write_all(attack).await.expect("open");
    let first = timeout(PATIENCE, fate(&mut remote, 1)).await.expect("the stream comes to an end");
    let next = [(":method", "GET"), (":scheme", "https"), (":path", "/next"), (":authority", "c")];
    let next = frame(HEADERS, END_HEADERS | END_STREAM, 3, &literal(&next));
    let second = match remote.write_all(&next).await {
        Ok(()) => timeout(PATIENCE, fate(&mut remote, 3)).await.expect("the next stream is not held up"),
        Err(_) => None,
    };
    let seen = String::from_utf8_lossy(&seen.lock().expect("one thread")).into_owned();
    if first.is_none() {
        drop(remote);
        let how = timeout(PATIENCE, how).await.expect("the session ends").expect("it says how");
        assert!(matches!(how, Err(ReverseError::Protocol(_))), "{how:?}");
    }
    (first, second, seen)
}

async fn check(name: &str, attack: &[u8], expected: Fate) {
    let (first, second, seen) = play(attack).await;
    let ended = expected == Fate::Ended;
    let fates = if ended { (None, None) } else { (Some(expected), Some(Fate::Forwarded)) };
    assert_eq!((first, second), fates, "{name}: {seen}");
    assert!(!seen.contains("evil"), "{name}: the device read {seen}");
    assert_eq!(seen.matches("GET /next HTTP/1.1\r\n").count(), usize::from(!ended), "{name}: {seen}");
    assert!(seen.matches(" HTTP/1.1\r\n").count() <= 2, "{name}: {seen}");
}

/// A request with the four pseudo fields, `own` in the place of those it names, and further fields.
fn request<'a>(own: &[(&'a str, &'a str)], fields: &[(&'a str, &'a str)]) -> Vec<u8> {
    let usual = [(":method", "GET"), (":scheme", "https"), (":path", "/case"), (":authority", "c")];
    let own = |field: &(&'a str, &'a str)| own.iter().find(|(name, _)| *name == field.0).copied().unwrap_or(*field);
    let all: Vec<_> = usual.iter().map(own).chain(fields.iter().copied()).collect();
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &literal(&all))
}

#[tokio::test]
async fn fields_that_http_2_forbids_never_reach_the_device() {
    for (name, value, expected) in [
        ("x", "a\r\nevil: 1", Fate::Ended),
        ("x", "a\nevil: 1", Fate::Ended),
        ("x", "a\revil: 1", Fate::Ended),
        ("x", "a\0evil", Fate::Ended),
        ("x\r\nevil", "1", Fate::Ended),
        ("evil:1", "1", Fate::Ended),
        ("evil field", "1", Fate::Ended),
        ("EVIL", "1", Fate::Ended),
        ("", "evil", Fate::Ended),
        ("transfer-encoding", "chunked, evil", Fate::Reset),
        ("connection", "evil", Fate::Reset),
        ("keep-alive", "evil", Fate::Reset),
        ("proxy-connection", "evil", Fate::Reset),
        ("upgrade", "evil", Fate::Reset),
        ("te", "evil", Fate::Reset),
        (":path", "/evil", Fate::Reset),
        (":evil", "1", Fate::Ended),
        ("transfer_encoding", "evil", Fate::Forwarded),
    ] {
        check(&format!("{name:?}: {value:?}"), &request(&[], &[("x-first", "1"), (name, value)]), expected).await;
    }
}

#[tokio::test]
async fn pseudo_fields_that_would_break_the_request_line_never_reach_the_device() {
    for (name, value, expected) in [
        (":path", "/case HTTP/1.1\r\nevil: 1", Fate::Reset),
        (":path", "/evil path", Fate::Reset),
        (":path", "/case\nevil", Fate::Reset),
        (":path", "", Fate::Reset),
        (":path", "*", Fate::Refused),
        (":path", "evil", Fate::Reset),
        (":path", "/case#evil", Fate::Forwarded),
        (":path", "https://evil/case", Fate::Reset),
        (":method", "GET /evil", Fate::Ended),
        (":method", "GET\r\nevil", Fate::Ended),
        (":method", "", Fate::Ended),
        (":authority", "evil\r\nx", Fate::Reset),
        (":scheme", "evil scheme", Fate::Reset),
    ] {
        check(&format!("{name}: {value:?}"), &request(&[(name, value)], &[]), expected).await;
    }
}

/// A POST with content-length fields and DATA; the stream ends with the last DATA.
fn post(lengths: &[&str], data: &[&str]) -> Vec<u8> {
    let mut fields = vec![(":method", "POST"), (":scheme", "https"), (":path", "/case"), (":authority", "c")];
    fields.extend(lengths.iter().map(|length| ("content-length", *length)));
    let mut attack = frame(HEADERS, END_HEADERS, 1, &literal(&fields));
    for (index, chunk) in data.iter().enumerate() {
        let flags = if index + 1 == data.len() { END_STREAM } else { 0 };
        attack.extend(frame(DATA, flags, 1, chunk.as_bytes()));
    }
    attack
}

#[tokio::test]
async fn a_length_that_is_not_that_of_the_body_never_starts_another_request() {
    let (first, second, seen) = play(&post(&["4"], &["good"])).await;
    assert_eq!((first, second), (Some(Fate::Forwarded), Some(Fate::Forwarded)), "the sound one: {seen}");
    for (lengths, data) in [
        (&["0"][..], &["GET /evil HTTP/1.1\r\n\r\n"][..]),
        (&["4"], &["goodGET /evil HTTP/1.1\r\n\r\n"]),
        (&["9"], &["good"]),
        (&["4", "4"], &["good"]),
        (&["4", "30"], &["goodGET /evil HTTP/1.1\r\n\r\n"]),
        (&["+4"], &["good"]),
        (&["4, 4"], &["good"]),
        (&["-1"], &["evil"]),
        (&["0x4"], &["evil"]),
        (&["99999999999999999999"], &["evil"]),
    ] {
        let (first, second, seen) = play(&post(lengths, data)).await;
        let name = format!("{lengths:?} {data:?}");
        assert_eq!(second, Some(Fate::Forwarded), "{name}: {first:?} {seen}");
        assert!(!seen.contains("evil"), "{name}: the device read {seen}");
        assert_eq!(seen.matches("GET /next HTTP/1.1\r\n").count(), 1, "{name}: {seen}");
    }
}
