//! Sessions last for weeks: nothing that a library counts over the life of a connection ends one that is used as it should be,
//! and what is too much at once still does.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use onvif_uplink::{
    base::{
        activity::Activity,
        drain::drain,
        http::{Body, Handler, Response},
        io::Direct,
    },
    gateway::{exchange::exchange, session},
    model::failure::{Cause, Failure},
    reverse::ReverseError,
};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
    time::timeout,
};

use crate::support::{
    answer::{answer, echo},
    frames::{
        ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, Read, SETTINGS, frame, literal, read,
    },
    h2_peer::serve,
};

/// Longer than anything may take in virtual time.
const LONG: Duration = Duration::from_secs(3600);
/// Frames that a session must carry.
const FRAMES: usize = 100_000;
/// The frames come in lots of this size, one in a second.
const LOT: usize = 20_000;

/// The device end of a session, and the remote's bytes.
fn device(handler: Arc<dyn Handler>) -> (DuplexStream, JoinHandle<Result<(), ReverseError>>) {
    let (device, remote) = tokio::io::duplex(4 << 20);
    let (switch, drained) = drain();
    let served = tokio::spawn(async move {
        let ended = serve(device, Arc::new(Activity::start()), handler, drained).await;
        drop(switch);
        ended
    });
    (remote, served)
}

/// Answers with the number of bytes that the request has.
fn counting() -> Arc<dyn Handler> {
    answer(|request| async move {
        let bytes = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
        Response::new(Body::full(bytes.to_string()))
    })
}

fn request(method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "https"), (":authority", "c"), (":path", "/")];
    literal(&[&pseudo[..], more].concat())
}

/// The next frame of this kind on this stream; GOAWAY is none that may come before.
async fn next<S: AsyncRead + Unpin>(stream: &mut S, kind: u8, of: u32) -> Read {
    loop {
        let read = timeout(LONG, read(stream)).await.expect("in time").expect("the session stands");
        assert_ne!(read.kind, GOAWAY, "the session ended: {:?}", String::from_utf8_lossy(&read.payload));
        if (read.kind, read.stream) == (kind, of) {
            return read;
        }
    }
}

/// Lots of an empty and a small frame each, one lot in a second.
async fn trickle(stream: &mut DuplexStream) {
    let pair = [frame(DATA, 0, 1, &[]), frame(DATA, 0, 1, b"x")].concat();
    for _ in 0..FRAMES / LOT {
        stream.write_all(&pair.repeat(LOT)).await.expect("the session stands");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    stream.write_all(&frame(DATA, END_STREAM, 1, &[])).await.expect("the session stands");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_small_and_as_many_empty_frames_of_a_remote_are_one_request() {
    let (mut remote, _served) = device(counting());
    remote.write_all(&[PREFACE, &frame(HEADERS, END_HEADERS, 1, &request("POST", &[]))].concat()).await.expect("room");
    trickle(&mut remote).await;
    assert_eq!(next(&mut remote, DATA, 1).await.payload, FRAMES.to_string().as_bytes());
}

#[tokio::test(start_paused = true)]
async fn empty_frames_all_at_once_are_a_violation_with_a_cause() {
    let (mut remote, served) = device(counting());
    remote.write_all(&[PREFACE, &frame(HEADERS, END_HEADERS, 1, &request("POST", &[]))].concat()).await.expect("room");
    let flood = frame(DATA, 0, 1, &[]).repeat(2 * FRAMES);
    let _ = remote.write_all(&flood).await;
    let ended = timeout(LONG, served).await.expect("ends").expect("no panic");
    let Err(ReverseError::Protocol(sentence)) = ended else { panic!("{ended:?}") };
    assert!(sentence.contains("empty DATA frames"), "{sentence}");
}

#[tokio::test(start_paused = true)]
async fn requests_that_violate_http2_now_and_then_cost_their_stream_for_ever() {
    const WRONG: u32 = 12_000;
    let (mut remote, served) = device(echo());
    remote.write_all(PREFACE).await.expect("room");
    // Two bytes where one was announced.
    let wrong = |stream| {
        let head = frame(HEADERS, END_HEADERS, stream, &request("POST", &[("content-length", "1")]));
        [head, frame(DATA, 0, stream, b"xx")].concat()
    };
    for number in 0..WRONG {
        let stream = 2 * number + 1;
        remote.write_all(&wrong(stream)).await.expect("the session stands");
        next(&mut remote, RST_STREAM, stream).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // At once they are an attack.
    let flood: Vec<u8> = (WRONG..3 * WRONG).flat_map(|number| wrong(2 * number + 1)).collect();
    let (mut reading, mut writing) = tokio::io::split(remote);
    let drained = async { while read(&mut reading).await.is_some() {} };
    let flooded = async {
        let _ = writing.write_all(&flood).await;
    };
    tokio::join!(drained, flooded);
    let ended = timeout(LONG, served).await.expect("ends").expect("no panic");
    let Err(ReverseError::Protocol(sentence)) = ended else { panic!("{ended:?}") };
    assert!(sentence.contains("reset more than"), "{sentence}");
}

/// A gateway's session with a device that the test plays frame by frame, after both SETTINGS.
async fn gateway() -> (session::Session, JoinHandle<Failure>, DuplexStream) {
    let (mut device, gateway) = tokio::io::duplex(4 << 20);
    let peer = "192.0.2.1:4000".parse().expect("address");
    let started = session::start(Box::new(Direct(gateway)), Bytes::new(), "camera-1".to_owned(), peer).await;
    let (session, driver) = started.expect("open");
    let mut preface = [0; 24];
    tokio::io::AsyncReadExt::read_exact(&mut device, &mut preface).await.expect("a preface");
    device.write_all(&[frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat()).await.expect("room");
    (session, tokio::spawn(driver.run()), device)
}

/// `:status: 200`, from the static table.
const OK: &[u8] = &[0x88];

async fn ask(session: &session::Session) -> Response {
    let request = http::Request::get("http://device/").body(()).expect("valid");
    exchange(session, request, Body::empty()).await.expect("answered")
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_small_and_as_many_empty_frames_of_a_device_are_one_answer() {
    let (session, _driven, mut device) = gateway().await;
    let answering = async {
        next(&mut device, HEADERS, 1).await;
        device.write_all(&frame(HEADERS, END_HEADERS, 1, OK)).await.expect("room");
        trickle(&mut device).await;
    };
    let reading = async { ask(&session).await.into_body().collect().await.expect("whole").to_bytes() };
    let ((), body) = tokio::join!(answering, reading);
    assert_eq!(body.len(), FRAMES);
}

#[tokio::test(start_paused = true)]
async fn empty_frames_of_a_device_all_at_once_are_a_violation_with_a_cause() {
    let (session, driven, mut device) = gateway().await;
    let flooding = async {
        next(&mut device, HEADERS, 1).await;
        device.write_all(&frame(HEADERS, END_HEADERS, 1, OK)).await.expect("room");
        let _ = device.write_all(&frame(DATA, 0, 1, &[]).repeat(2 * FRAMES)).await;
    };
    let reading = async { ask(&session).await.into_body().collect().await.expect_err("broken") };
    tokio::join!(flooding, reading);
    let ended = timeout(LONG, driven).await.expect("ends").expect("no panic");
    assert_eq!(ended.cause, Cause::ProtocolViolation, "{ended}");
    assert!(ended.message.contains("empty DATA frames"), "{ended}");
}

#[tokio::test(start_paused = true)]
async fn what_was_still_under_way_when_clients_went_does_not_count_against_the_session() {
    // By itself the library remembers 50 such streams for a second each, and forgives 1024 that it has forgotten in a life.
    const GONE: u32 = 1200;
    const LATE: usize = 3;
    let (session, _driven, mut device) = gateway().await;
    for number in 0..GONE {
        let stream = 2 * number + 1;
        let answering = async {
            next(&mut device, HEADERS, stream).await;
            device.write_all(&frame(HEADERS, END_HEADERS, stream, OK)).await.expect("room");
        };
        let ((), answered) = tokio::join!(answering, ask(&session));
        drop(answered);
        next(&mut device, RST_STREAM, stream).await;
    }
    for number in 0..GONE {
        let late = frame(DATA, 0, 2 * number + 1, &[7; 1000]).repeat(LATE);
        device.write_all(&late).await.expect("the session stands");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let answering = async {
        next(&mut device, HEADERS, 2 * GONE + 1).await;
        device.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * GONE + 1, OK)).await.expect("room");
    };
    let ((), answered) = tokio::join!(answering, ask(&session));
    assert_eq!(answered.status(), 200);
}
