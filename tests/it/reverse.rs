//! The reversed HTTP/2 server against the h2 library's client as the remote: streams, quirks, drain.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::{Reason, client};
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use onvif_uplink::{
    base::{
        activity::Activity,
        drain::drain,
        http::{Body, BodyError, Handler, Informational, Response},
        http2::share::FRAME_PAYLOAD,
    },
    reverse::ReverseError,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::support::{
    answer::{answer, echo, get},
    h2_peer::{collect, serve, session},
};

/// Longer than anything may take in virtual time.
const LONG: Duration = Duration::from_secs(3600);

/// A handler that says when it was dropped and never answers.
fn endless(dropped: mpsc::Sender<()>) -> Arc<dyn Handler> {
    answer(move |_| {
        let guard = SendOnDrop(dropped.clone());
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    })
}

struct SendOnDrop(mpsc::Sender<()>);

impl Drop for SendOnDrop {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

fn endless_body() -> Body {
    let chunks =
        futures_util::stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[7; 60_000]))));
    Body::new(StreamBody::new(chunks).map_err(|never| -> BodyError { match never {} }))
}

fn post(length: Option<usize>) -> http::Request<()> {
    let mut request = http::Request::post("https://cloud.example/").version(Version::HTTP_2);
    if let Some(length) = length {
        request = request.header("content-length", length);
    }
    request.body(()).expect("valid")
}

#[tokio::test(start_paused = true)]
async fn a_request_with_body_and_trailers_comes_back_with_both() {
    let mut session = session(echo(), client::Builder::new()).await;
    let (response, mut body) = session.remote.send_request(post(None), false).expect("open");
    body.send_data(Bytes::from_static(b"soap"), false).expect("open");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("1"));
    body.send_trailers(trailers.clone()).expect("open");
    let response = response.await.expect("answered");
    assert_eq!(collect(response.into_body()).await.expect("whole"), (Bytes::from_static(b"soap"), Some(trailers)));
    assert_eq!(session.activity.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_ends_its_stream_is_complete_at_its_content_length() {
    let read = answer(|request| async move {
        let body = request.into_body().collect().await.expect("complete").to_bytes();
        Response::new(Body::full(body))
    });
    let mut session = session(read, client::Builder::new()).await;
    let (response, mut body) = session.remote.send_request(post(Some(4)), false).expect("open");
    body.send_data(Bytes::from_static(b"tds:"), false).expect("open");
    let response = timeout(LONG, response).await.expect("not waited for END_STREAM (Q10)").expect("answered");
    assert_eq!(collect(response.into_body()).await.expect("whole").0, "tds:");
    let reason = std::future::poll_fn(|cx| body.poll_reset(cx)).await.expect("reset after the answer");
    assert_eq!(reason, Reason::NO_ERROR);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_authority_is_served() {
    let path = answer(|request| async move {
        assert!(request.uri().authority().is_none());
        Response::new(Body::full(request.headers()["host"].to_str().expect("ascii").to_owned()))
    });
    let (device, mut remote) = tokio::io::duplex(1 << 16);
    let (_switch, drained) = drain();
    let served = tokio::spawn(serve(device, Arc::new(Activity::start()), path, drained));
    // :method GET, :scheme https, :path /, host: x (HPACK static table 2, 7, 4; literal with name 38), no :authority.
    remote.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("open");
    remote.write_all(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x87\x84\x66\x01x").await.expect("open");
    let data = next_frame(&mut remote, 0).await;
    assert_eq!(data, b"x");
    drop(remote);
    assert!(matches!(served.await.expect("no panic"), Err(ReverseError::Closed(_))));
}

/// The payload of the next frame of `kind`.
async fn next_frame(stream: &mut tokio::io::DuplexStream, kind: u8) -> Vec<u8> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.expect("a frame");
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await.expect("a payload");
        if head[3] == kind {
            return payload;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn our_settings_come_before_the_preface_of_the_remote() {
    let (device, mut remote) = tokio::io::duplex(1 << 16);
    let (_switch, drained) = drain();
    let _served = tokio::spawn(serve(device, Arc::new(Activity::start()), echo(), drained));
    let settings = timeout(LONG, next_frame(&mut remote, 4)).await.expect("sent at once (Q13)");
    assert!(!settings.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_reset_by_the_remote_drops_the_request_at_once() {
    let (dropped, mut is_dropped) = mpsc::channel(1);
    let mut session = session(endless(dropped), client::Builder::new()).await;
    let (_response, mut body) = session.remote.send_request(post(None), false).expect("open");
    body.send_data(Bytes::from_static(b"x"), false).expect("open");
    tokio::task::yield_now().await;
    body.send_reset(Reason::CANCEL);
    timeout(LONG, is_dropped.recv()).await.expect("the handler's future is dropped");
}

#[tokio::test(start_paused = true)]
async fn a_reset_by_the_remote_drops_the_answer_at_once() {
    let (dropped, mut is_dropped) = mpsc::channel(1);
    let stream = answer(move |_| {
        let guard = SendOnDrop(dropped.clone());
        async move {
            let body = endless_body().map_frame(move |frame| {
                let _ = &guard;
                frame
            });
            Response::new(Body::new(body))
        }
    });
    let mut session = session(stream, client::Builder::new()).await;
    let (response, mut request) = session.remote.send_request(get("/stream"), false).expect("open");
    let mut body = response.await.expect("answered").into_body();
    assert!(body.data().await.expect("video").is_ok());
    request.send_reset(Reason::CANCEL);
    timeout(LONG, is_dropped.recv()).await.expect("the body is dropped");
}

#[tokio::test(start_paused = true)]
async fn informational_answers_go_ahead_of_the_final_one() {
    let hints = answer(|request| async move {
        let informational = request.extensions().get::<Informational>().expect("always there").clone();
        let mut headers = HeaderMap::new();
        headers.insert("link", HeaderValue::from_static("</style.css>"));
        informational.send(StatusCode::EARLY_HINTS, headers);
        Response::new(Body::empty())
    });
    let mut session = session(hints, client::Builder::new()).await;
    let (mut response, _) = session.remote.send_request(get("/"), true).expect("open");
    let early = std::future::poll_fn(|cx| response.poll_informational(cx)).await.expect("103 first").expect("valid");
    assert_eq!(early.status(), StatusCode::EARLY_HINTS);
    assert_eq!(response.await.expect("answered").status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn frames_have_the_size_that_fills_one_tls_record() {
    let bulk = answer(|_| async { Response::new(Body::full(vec![1; 10 * FRAME_PAYLOAD])) });
    let mut builder = client::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 20);
    let mut session = session(bulk, builder).await;
    let (response, _) = session.remote.send_request(get("/"), true).expect("open");
    let mut body = response.await.expect("answered").into_body();
    let mut sizes = Vec::new();
    while let Some(chunk) = body.data().await {
        sizes.push(chunk.expect("whole").len());
    }
    assert_eq!(sizes, [FRAME_PAYLOAD; 10]);
}

/// A body whose last frame is empty, and says so.
struct EmptyAtTheEnd(u8);

impl http_body::Body for EmptyAtTheEnd {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0 += 1;
        let data = if self.0 == 1 { "whole" } else { "" };
        std::task::Poll::Ready((self.0 <= 2).then(|| Ok(Frame::data(Bytes::from_static(data.as_bytes())))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 >= 2
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_last_frame_is_empty_ends_in_good_order() {
    let handler = answer(|_| async { Response::new(Body::new(EmptyAtTheEnd(0))) });
    let mut session = session(handler, client::Builder::new()).await;
    let (response, _) = session.remote.send_request(get("/"), true).expect("open");
    let (body, _) = collect(response.await.expect("answered").into_body()).await.expect("an end, no reset");
    assert_eq!(body, "whole");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_stream_does_not_stop_another() {
    let handler = answer(|request| async move {
        match request.uri().path() {
            "/video" => Response::new(endless_body()),
            _ => Response::new(Body::full("moved")),
        }
    });
    let mut builder = client::Builder::new();
    builder.initial_window_size(65_535).initial_connection_window_size(1 << 20);
    let mut session = session(handler, builder).await;
    let (video, _) = session.remote.send_request(get("/video"), true).expect("open");
    // Never read: its window fills and stays full.
    let _stalled = video.await.expect("answered").into_body();
    for _ in 0..20 {
        let (ptz, _) = session.remote.send_request(get("/ptz"), true).expect("open");
        let response = timeout(LONG, ptz).await.expect("not behind the video").expect("answered");
        assert_eq!(collect(response.into_body()).await.expect("whole").0, "moved");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_refuses_new_streams_and_finishes_old_ones() {
    let (go, wait) = oneshot::channel::<()>();
    let wait = Arc::new(tokio::sync::Mutex::new(Some(wait)));
    let slow = answer(move |_| {
        let wait = Arc::clone(&wait);
        async move {
            let wait = wait.lock().await.take().expect("one request");
            let _ = wait.await;
            Response::new(Body::full("finished"))
        }
    });
    let mut session = session(slow, client::Builder::new()).await;
    let (response, _) = session.remote.send_request(get("/slow"), true).expect("open");
    tokio::time::sleep(Duration::from_millis(1)).await;
    session.switch.start(Duration::from_secs(30));
    tokio::time::sleep(Duration::from_millis(1)).await;
    let refused = std::future::poll_fn(|cx| session.remote.poll_ready(cx)).await;
    assert!(refused.is_err(), "GOAWAY has been received");
    go.send(()).expect("waited for");
    let response = response.await.expect("the old stream finishes");
    assert_eq!(collect(response.into_body()).await.expect("whole").0, "finished");
    drop(session.remote);
    timeout(Duration::from_secs(29), session.served)
        .await
        .expect("before the deadline")
        .expect("no panic")
        .expect("Ok");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_at_its_deadline_whatever_is_still_open() {
    let (dropped, mut is_dropped) = mpsc::channel(1);
    let mut session = session(endless(dropped), client::Builder::new()).await;
    let (_response, _body) = session.remote.send_request(get("/endless"), true).expect("open");
    tokio::time::sleep(Duration::from_millis(1)).await;
    session.switch.start(Duration::from_secs(5));
    let started = tokio::time::Instant::now();
    session.served.await.expect("no panic").expect("a drain of our own is no failure");
    assert!(started.elapsed() >= Duration::from_secs(5) && started.elapsed() <= Duration::from_secs(7));
    is_dropped.recv().await.expect("the stream was dropped");
}

#[tokio::test(start_paused = true)]
async fn an_abrupt_end_and_a_goaway_are_normal_ends() {
    let abrupt = session(echo(), client::Builder::new()).await;
    abrupt.remote_connection.abort();
    drop(abrupt.remote);
    assert!(matches!(abrupt.served.await.expect("no panic"), Err(ReverseError::Closed(_))));

    let polite = session(echo(), client::Builder::new()).await;
    // The last request handle gone, the library says GOAWAY and closes.
    drop(polite.remote);
    assert!(matches!(polite.served.await.expect("no panic"), Err(ReverseError::Closed(_))));
}
