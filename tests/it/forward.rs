//! Forwarding against a device that is written byte by byte (issue 3 item 4): what it sees exactly, and what becomes of what it says.

use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use onvif_uplink::{
    base::http::{Body, BodyError, Handler, Response},
    forward::{Limits, Loopback},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::raw_device::{self as support, accept, get, head, text};

async fn device() -> (TcpListener, Loopback) {
    support::device(Limits { head: Duration::from_secs(10), ..Limits::default() }).await
}

/// One request, one connection, one scripted answer; then a second request that must get its own.
async fn scripted(answer: &'static str) -> Response {
    let (listener, handler) = device().await;
    let script = async {
        let mut first = accept(&listener).await;
        head(&mut first).await;
        first.write_all(answer.as_bytes()).await.expect("written");
        let mut second = accept(&listener).await;
        assert!(head(&mut second).await.starts_with("GET /second "));
        second.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown").await.expect("written");
        drop(first);
    };
    let requests = async {
        let first = handler.handle(get("/first")).await;
        let (parts, body) = first.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        assert_eq!(text(handler.handle(get("/second")).await).await, "own", "after {answer:?}");
        Response::from_parts(parts, Body::full(body))
    };
    tokio::join!(script, requests).1
}

#[tokio::test]
async fn the_device_sees_the_head_as_cameras_expect_it() {
    let (listener, handler) = device().await;
    let address = listener.local_addr().expect("bound");
    let script = async {
        let mut socket = accept(&listener).await;
        let expected = format!(
            "GET /a%20b?c HTTP/1.1\r\nX-One: 1\r\nHost: {address}\r\nX-Forwarded-Proto: https\r\nForwarded: proto=https\r\n\r\n"
        );
        assert_eq!(head(&mut socket).await, expected);
        socket.write_all(b"HTTP/1.0 200\r\n\r\nold").await.expect("written");
    };
    let request = http::Request::get("/a%20b?c").header("x-one", "1").body(Body::empty()).expect("valid");
    let (response, ()) = tokio::join!(async { handler.handle(request).await }, script);
    assert_eq!(text(response).await, "old");
}

#[tokio::test]
async fn answers_that_cannot_be_trusted_become_502_and_the_next_request_gets_its_own() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "garbage\r\n\r\n",
    ] {
        assert_eq!(scripted(answer).await.status(), 502, "{answer:?}");
    }
}

#[tokio::test]
async fn a_second_answer_that_nobody_asked_for_is_never_given_to_the_next_request() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    assert_eq!(text(scripted(answer).await).await, "a");
}

#[tokio::test]
async fn a_chunked_answer_gets_its_length_and_the_connection_serves_again() {
    let (listener, handler) = device().await;
    let script = async {
        let mut socket = accept(&listener).await;
        for _ in 0..2 {
            head(&mut socket).await;
            let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
            socket.write_all(answer).await.expect("written");
        }
    };
    let requests = async {
        for _ in 0..2 {
            let response = handler.handle(get("/")).await;
            assert_eq!(response.headers()["content-length"], "3");
            assert_eq!(text(response).await, "abc");
        }
    };
    tokio::join!(script, requests);
}

#[tokio::test]
async fn the_first_picture_comes_while_the_device_holds_the_rest_and_a_cancel_closes_its_connection() {
    let (listener, handler) = device().await;
    let mut response = Box::pin(handler.handle(get("/mjpeg")));
    let mut socket = tokio::select! { socket = accept(&listener) => socket, _ = &mut response => panic!("early") };
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace\r\n\r\npart";
    socket.write_all(answer.as_bytes()).await.expect("written");
    let mut body = response.await.into_body();
    assert_eq!(body.frame().await.expect("a frame").expect("sound").into_data().expect("data"), "part");
    assert!(head(&mut socket).await.starts_with("GET /mjpeg"));
    let silent = socket.try_read(&mut [0]).expect_err("the connection stands while the body is held");
    assert_eq!(silent.kind(), std::io::ErrorKind::WouldBlock);
    drop(body);
    let end = tokio::time::timeout(Duration::from_secs(5), socket.read(&mut [0])).await.expect("closed at once");
    assert_eq!(end.expect("in good order"), 0);
}

#[tokio::test]
async fn a_post_on_a_connection_that_closes_is_sent_once_only() {
    let (listener, handler) = device().await;
    let script = async {
        let mut socket = accept(&listener).await;
        head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.expect("written");
        assert!(head(&mut socket).await.starts_with("POST / "));
    };
    let requests = async {
        assert_eq!(handler.handle(get("/")).await.status(), 200);
        handler.handle(http::Request::post("/").body(Body::empty()).expect("valid")).await.status()
    };
    assert_eq!(tokio::join!(script, requests).1, 502);
}

#[tokio::test]
async fn an_early_refusal_is_passed_on_and_a_device_that_does_not_read_stops_the_body() {
    let (listener, handler) = device().await;
    let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&taken);
    // 256 MiB in chunks of 64 KiB; the sockets' buffers and ours hold a few MiB of it.
    let chunks = (0..4096).map(move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok::<_, BodyError>(Frame::data(Bytes::from_static(&[0; 65_536])))
    });
    let body = Body::new(StreamBody::new(futures_util::stream::iter(chunks)));
    let request = http::Request::post("/fw").header("content-length", 268_435_456).body(body).expect("valid");
    let script = async {
        let mut socket = accept(&listener).await;
        assert!(head(&mut socket).await.contains("Content-Length: 268435456\r\n"));
        socket.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").await.expect("written");
        socket
    };
    let (response, _socket) = tokio::join!(handler.handle(request), script);
    assert_eq!(response.status(), 413);
    assert_eq!(response.body().size_hint().exact(), Some(2));
    assert_eq!(text(response).await, "no");
    assert!(taken.load(std::sync::atomic::Ordering::Relaxed) < 512, "back-pressure");
}

#[tokio::test]
async fn a_device_that_is_down_is_answered_for_with_retry_after() {
    let (listener, handler) = device().await;
    drop(listener);
    let response = handler.handle(get("/")).await;
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &http::HeaderValue::from(2)));
}

#[tokio::test]
async fn a_get_is_tried_once_more_when_the_kept_connection_turns_out_closed() {
    let (listener, handler) = device().await;
    let script = async {
        let mut socket = accept(&listener).await;
        head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.expect("written");
        head(&mut socket).await;
        drop(socket);
        let mut socket = accept(&listener).await;
        head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.expect("written");
    };
    let requests = async {
        assert_eq!(handler.handle(get("/")).await.status(), 200);
        text(handler.handle(get("/again")).await).await
    };
    assert_eq!(tokio::join!(script, requests).1, "ok");
}

#[tokio::test]
async fn an_upload_that_the_device_reads_arrives_whole_within_a_fixed_bound() {
    const CHUNK: usize = 65_536;
    const CHUNKS: usize = 4096;
    let (listener, handler) = device().await;
    let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&taken);
    // It never ends by itself: the request ends at the announced byte (quirk Q10).
    let chunks = std::iter::repeat_with(move || {
        count.fetch_add(CHUNK, std::sync::atomic::Ordering::Relaxed);
        Ok::<_, BodyError>(Frame::data(Bytes::from_static(&[0; CHUNK])))
    });
    let body = Body::new(StreamBody::new(futures_util::stream::iter(chunks)));
    let request = http::Request::post("/fw").header("content-length", CHUNK * CHUNKS).body(body).expect("valid");
    let script = async {
        let mut socket = accept(&listener).await;
        head(&mut socket).await;
        let (mut read, mut most, mut buffer) = (0, 0, vec![0; CHUNK]);
        while read < CHUNK * CHUNKS {
            most = most.max(taken.load(std::sync::atomic::Ordering::Relaxed) - read);
            read += socket.read(&mut buffer).await.expect("sound");
        }
        socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("written");
        most
    };
    let (response, most) = tokio::join!(handler.handle(request), script);
    assert_eq!(response.status(), 204);
    assert_eq!(taken.load(std::sync::atomic::Ordering::Relaxed), CHUNK * CHUNKS);
    assert!(most < 16 << 20, "in flight, mostly in the kernel: {most}");
}

#[tokio::test]
async fn floods_of_heads_and_of_1xx_answers_are_bounded() {
    for flood in ["HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 200 OK\r\nX: "] {
        let (listener, handler) = device().await;
        let script = async {
            let mut socket = accept(&listener).await;
            head(&mut socket).await;
            socket.write_all(flood.as_bytes()).await.expect("written");
            let more = if flood.contains("103") { flood.repeat(99) } else { "a".repeat(4096) };
            while socket.write_all(more.as_bytes()).await.is_ok() {}
        };
        let (response, ()) = tokio::join!(handler.handle(get("/")), script);
        assert_eq!(response.status(), 502, "{flood}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_midway_is_an_error_of_this_body() {
    let (listener, handler) = device().await;
    let script = async {
        let mut socket = accept(&listener).await;
        head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").await.expect("written");
    };
    let (response, ()) = tokio::join!(handler.handle(get("/")), script);
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_device_that_does_not_answer_is_a_504() {
    let limits = Limits { head: Duration::from_millis(20), ..Limits::default() };
    let (_listener, handler) = support::device(limits).await;
    let response = handler.handle(get("/")).await;
    assert_eq!(response.status(), 504);
}

#[tokio::test]
async fn a_body_of_unknown_length_goes_chunked_after_the_devices_100() {
    let (listener, handler) = device().await;
    let body =
        Body::new(StreamBody::new(futures_util::stream::iter([Ok::<_, BodyError>(Frame::data(Bytes::from("abc")))])));
    let request = http::Request::put("/").header("expect", "100-continue").body(body).expect("valid");
    let script = async {
        let mut socket = accept(&listener).await;
        let head = head(&mut socket).await;
        assert!(head.contains("Expect: 100-continue\r\n") && head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
        socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.expect("written");
        let mut body = [0; 13];
        socket.read_exact(&mut body).await.expect("the body");
        assert_eq!(&body, b"3\r\nabc\r\n0\r\n\r\n");
        socket.write_all(b"HTTP/1.1 201 Created\nContent-Length: 0\n\n").await.expect("written");
    };
    let (response, ()) = tokio::join!(handler.handle(request), script);
    assert_eq!(response.status(), 201);
}
