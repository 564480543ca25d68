//! Messages that are more than a head and a body, end to end against a device that is written byte by byte: answers without
//! a body, trailers, 1xx, bytes that nobody asked for (RFC 9110 §6.5, §15.2; RFC 9112 §6.3, §7.1.2).

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use onvif_uplink::{
    base::http::{Body, BodyError, Handler, Informational, Request},
    forward::Limits,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::raw_device::{accept, device, get, head, text};

/// A POST of `ab` with the trailer `x-checksum: 7`.
fn with_trailers(headers: &[(&'static str, &'static str)]) -> Request {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("7"));
    trailers.insert("content-length", HeaderValue::from_static("99"));
    let frames = [Ok::<_, BodyError>(Frame::data(Bytes::from("ab"))), Ok(Frame::trailers(trailers))];
    let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    let mut request = http::Request::post("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).expect("valid")
}

/// What the device reads of `request` up to `end`.
async fn seen(request: Request, end: &str) -> String {
    let (listener, handler) = device(Limits::default()).await;
    let script = async {
        let mut socket = accept(&listener).await;
        let mut seen = head(&mut socket).await.into_bytes();
        while !seen.ends_with(end.as_bytes()) {
            seen.push(socket.read_u8().await.expect("more"));
        }
        socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("written");
        String::from_utf8(seen).expect("text")
    };
    let (response, seen) = tokio::join!(handler.handle(request), script);
    assert_eq!(response.status(), 204);
    seen
}

#[tokio::test]
async fn announced_trailers_of_a_request_reach_the_device_without_those_that_frame() {
    let seen = seen(with_trailers(&[("trailer", "x-checksum, content-length")]), "0\r\nX-Checksum: 7\r\n\r\n").await;
    assert!(seen.contains("Trailer: x-checksum") && seen.contains("Transfer-Encoding: chunked"), "{seen}");
    assert!(seen.ends_with("\r\n\r\n2\r\nab\r\n0\r\nX-Checksum: 7\r\n\r\n"), "{seen}");
}

#[tokio::test]
async fn trailers_that_were_not_announced_are_left_out_and_the_body_is_whole() {
    let seen = seen(with_trailers(&[]), "2\r\nab\r\n0\r\n\r\n").await;
    assert!(!seen.to_ascii_lowercase().contains("checksum"), "{seen}");
}

#[tokio::test]
async fn a_request_with_a_length_keeps_it_and_announces_no_trailers() {
    let seen = seen(with_trailers(&[("trailer", "x-checksum"), ("content-length", "2")]), "\r\n\r\nab").await;
    assert!(seen.contains("Content-Length: 2\r\n") && !seen.contains("Trailer"), "{seen}");
}

#[tokio::test]
async fn trailers_of_an_answer_reach_the_remote_without_those_that_frame() {
    let (listener, handler) = device(Limits::default()).await;
    let script = async {
        let mut socket = accept(&listener).await;
        head(&mut socket).await;
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n\r\n\
                      2\r\nab\r\n0\r\nX-Checksum: 7\r\nContent-Length: 9\r\nConnection: close\r\n\r\n";
        socket.write_all(answer.as_bytes()).await.expect("written");
    };
    let (response, ()) = tokio::join!(handler.handle(get("/")), script);
    let body = response.into_body().collect().await.expect("whole");
    let trailers = body.trailers().cloned().expect("trailers");
    assert_eq!(body.to_bytes(), "ab");
    assert_eq!(trailers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["x-checksum"]);
}

#[tokio::test]
async fn answers_without_a_body_keep_their_length_and_the_connection_serves_again() {
    for (method, answer, length) in [
        (Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Some("5")),
        (Method::HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Some("5")),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\n", None),
    ] {
        let (listener, handler) = device(Limits::default()).await;
        let script = async {
            let mut socket = accept(&listener).await;
            head(&mut socket).await;
            socket.write_all(answer.as_bytes()).await.expect("written");
            assert!(head(&mut socket).await.starts_with("GET /next "), "the same connection after {answer:?}");
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown").await.expect("written");
        };
        let requests = async {
            let request = http::Request::builder().method(&method).uri("/").body(Body::empty()).expect("valid");
            let response = handler.handle(request).await;
            assert_eq!(response.headers().get("content-length").map(|v| v.to_str().expect("digits")), length);
            assert!(response.body().is_end_stream(), "{answer:?}");
            assert_eq!(text(handler.handle(get("/next")).await).await, "own");
        };
        tokio::join!(script, requests);
    }
}

#[tokio::test]
async fn hints_of_the_device_go_ahead_of_its_answer_and_an_unasked_100_does_not() {
    let (listener, handler) = device(Limits::default()).await;
    let relayed = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&relayed);
    let mut request = get("/");
    request.extensions_mut().insert(Informational::new(move |status, headers| {
        log.lock().expect("one thread").push((status, headers));
    }));
    let script = async {
        let mut socket = accept(&listener).await;
        head(&mut socket).await;
        let answer = "HTTP/1.1 100 Continue\r\n\r\n\
                      HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n\
                      HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        socket.write_all(answer.as_bytes()).await.expect("written");
    };
    let (response, ()) = tokio::join!(handler.handle(request), script);
    assert_eq!(text(response).await, "ok");
    let relayed = relayed.lock().expect("one thread");
    let expected: HeaderMap = [(http::header::LINK, HeaderValue::from_static("</a.css>"))].into_iter().collect();
    assert_eq!(*relayed, [(StatusCode::EARLY_HINTS, expected)]);
}

#[tokio::test]
async fn bytes_that_come_while_a_connection_is_idle_are_never_an_answer() {
    let (listener, handler) = device(Limits::default()).await;
    let (response, mut idle) = tokio::join!(handler.handle(get("/")), async {
        let mut socket = accept(&listener).await;
        head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.expect("written");
        socket
    });
    assert_eq!(text(response).await, "ok");
    idle.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").await.expect("written");
    let script = async {
        let mut socket = accept(&listener).await;
        head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown").await.expect("written");
    };
    let (response, ()) = tokio::join!(handler.handle(get("/next")), script);
    assert_eq!(text(response).await, "own");
}
