//! What a broken or hostile remote does to the reversed HTTP/2 server: it costs the session at worst, never the process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, client};
use http::{HeaderValue, Method, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use onvif_uplink::{
    base::{
        activity::Activity,
        drain::drain,
        http::{Body, BodyError, Response},
    },
    reverse::{Limits, ReverseError},
};
use tokio::{io::AsyncWriteExt, sync::mpsc, time::timeout};

use crate::support::{
    answer::{answer, echo, get},
    h2_peer::{collect, serve, session},
};

/// Longer than anything may take in virtual time.
const LONG: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn more_streams_than_allowed_wait_and_are_served_all_the_same() {
    let allowed = Limits::default().concurrent_streams as usize;
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak) = (Arc::clone(&open), Arc::clone(&most));
    let slow = answer(move |_| {
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        async move {
            peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            now.fetch_sub(1, SeqCst);
            Response::new(Body::empty())
        }
    });
    let session = session(slow, client::Builder::new()).await;
    let requests = (0..2 * allowed).map(|_| {
        let mut remote = session.remote.clone();
        tokio::spawn(async move {
            std::future::poll_fn(|cx| remote.poll_ready(cx)).await.expect("the session stands");
            let (response, _) = remote.send_request(get("/"), true).expect("open");
            response.await.expect("answered").status()
        })
    });
    for request in requests.collect::<Vec<_>>() {
        let status = timeout(LONG, request).await.expect("served").expect("no panic");
        assert_eq!(status, StatusCode::OK);
    }
    assert!(most.load(SeqCst) > 1 && most.load(SeqCst) <= allowed, "{most:?} at once");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_preface_is_said_so() {
    let (device, mut remote) = tokio::io::duplex(1 << 16);
    let (_switch, drained) = drain();
    let served = tokio::spawn(serve(device, Arc::new(Activity::start()), echo(), drained));
    remote.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("open");
    assert!(matches!(served.await.expect("no panic"), Err(ReverseError::PrefaceInvalid(_))));
}

#[tokio::test(start_paused = true)]
async fn a_malformed_frame_ends_the_session_with_a_protocol_cause() {
    let (device, mut remote) = tokio::io::duplex(1 << 16);
    let (_switch, drained) = drain();
    let served = tokio::spawn(serve(device, Arc::new(Activity::start()), echo(), drained));
    remote.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("open");
    // A PING of five bytes (RFC 9113 §6.7: must be eight).
    remote.write_all(b"\0\0\x05\x06\0\0\0\0\0hello").await.expect("open");
    let ended = timeout(LONG, served).await.expect("ends").expect("no panic");
    assert!(matches!(ended, Err(ReverseError::Protocol(_))), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reset_flood_ends_the_session_and_nothing_else() {
    let handled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handled);
    let handler = answer(move |_| {
        count.fetch_add(1, SeqCst);
        async { std::future::pending().await }
    });
    let (device, mut remote) = tokio::io::duplex(1 << 20);
    let (_switch, drained) = drain();
    let served = tokio::spawn(serve(device, Arc::new(Activity::start()), handler, drained));
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for stream in (1..2_000u32).step_by(2) {
        flood.extend_from_slice(b"\0\0\x03\x01\x05");
        flood.extend_from_slice(&stream.to_be_bytes());
        flood.extend_from_slice(b"\x82\x87\x84");
        flood.extend_from_slice(b"\0\0\x04\x03\0");
        flood.extend_from_slice(&stream.to_be_bytes());
        flood.extend_from_slice(&8u32.to_be_bytes());
    }
    remote.write_all(&flood).await.expect("room");
    let ended = timeout(LONG, served).await.expect("ends").expect("no panic");
    assert!(matches!(ended, Err(ReverseError::Protocol(_))), "{ended:?}");
    assert!(handled.load(SeqCst) <= 100, "the flood never reached the device");
}

#[tokio::test(start_paused = true)]
async fn oversized_headers_cost_only_their_stream() {
    let mut session = session(echo(), client::Builder::new()).await;
    let mut request = get("/");
    for index in 0..4 {
        let value = HeaderValue::from_str(&"x".repeat(20_000)).expect("ascii");
        request.headers_mut().insert(http::HeaderName::try_from(format!("x-{index}")).expect("valid"), value);
    }
    let (response, _) = session.remote.send_request(request, true).expect("open");
    let status = response.await.map(|response| response.status());
    assert!(!matches!(status, Ok(StatusCode::OK)), "{status:?}");
    let mut plain = get("/");
    *plain.method_mut() = Method::OPTIONS;
    let (response, _) = session.remote.send_request(plain, true).expect("the session goes on");
    assert_eq!(response.await.expect("answered").status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_resets_its_own_stream_only() {
    let (chunks, received) = mpsc::channel(1);
    let received = Arc::new(std::sync::Mutex::new(Some(received)));
    let handler = answer(move |request| {
        let received = Arc::clone(&received);
        async move {
            if request.uri().path() == "/ok" {
                return Response::new(Body::full("ok"));
            }
            let mut received = received.lock().expect("one thread").take().expect("one request");
            let chunks = futures_util::stream::poll_fn(move |cx| received.poll_recv(cx));
            Response::new(Body::new(StreamBody::new(chunks)))
        }
    });
    let mut session = session(handler, client::Builder::new()).await;
    let (response, _) = session.remote.send_request(get("/broken"), true).expect("open");
    chunks.send(Ok(Frame::data(Bytes::from_static(b"half")))).await.expect("open");
    let mut body = response.await.expect("answered").into_body();
    assert_eq!(body.data().await.expect("a chunk").expect("valid"), "half");
    chunks.send(Err(BodyError::Length("the device closed early"))).await.expect("open");
    let error = body.data().await.expect("an end").expect_err("broken");
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{error}");
    let (response, _) = session.remote.send_request(get("/ok"), true).expect("the session goes on");
    assert_eq!(collect(response.await.expect("answered").into_body()).await.expect("whole").0, "ok");
}
