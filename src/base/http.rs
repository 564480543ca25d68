//! The HTTP vocabulary of the whole product: one body type, one handler trait, and the facts that travel with a request.
//!
//! Bodies are streams of `Bytes` with trailers, both ways, never collected on the way. A [`Handler`] turns a request into a
//! response and never fails: what goes wrong becomes a status (RFC 9110 §15.6), because the one who asked is on the other
//! side of an uplink and has nothing else to read. Dynamic dispatch happens once a request and once a chunk, never per byte.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A request as every part of the product sees it.
pub type Request = http::Request<Body>;

/// A response as every part of the product sees it.
pub type Response = http::Response<Body>;

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The peer of the HTTP/2 stream reset it (RFC 9113 §6.4); nobody waits for the rest.
    #[error("the stream was reset by its peer: {0}")]
    Reset(h2::Reason),
    /// Fewer or more bytes came than `content-length` announced (RFC 9112 §6.3).
    #[error("the body does not have the announced length: {0}")]
    Length(&'static str),
    /// The connection that carried the body broke.
    #[error("the connection that carried the body broke")]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A streamed message body: chunks of `Bytes`, then trailers if there are any.
pub struct Body(UnsyncBoxBody<Bytes, BodyError>);

impl Body {
    /// A body of no bytes.
    pub fn empty() -> Self {
        Self(UnsyncBoxBody::new(Empty::new().map_err(|never| match never {})))
    }

    /// A body whose bytes are all here already.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self(UnsyncBoxBody::new(Full::new(bytes.into()).map_err(|never| match never {})))
    }

    /// Wraps a body of another library.
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        Self(UnsyncBoxBody::new(body.map_err(Into::into)))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("size_hint", &self.0.size_hint()).finish()
    }
}

impl From<hyper::Error> for BodyError {
    fn from(error: hyper::Error) -> Self {
        Self::Transport(Box::new(error))
    }
}

/// Turns a request into a response. Object-safe; implementations wrap one another.
///
/// Cancel safety: dropping the returned future abandons the request; an implementation must then release whatever it
/// holds at the other side at once (close the loopback connection, reset the stream).
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Never fails: errors become statuses.
    fn handle(&self, request: Request) -> BoxFuture<'static, Response>;
}

/// What is known about the session that a request came through; a request extension.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// The remote's transport address, for `Forwarded` and `X-Forwarded-For` (RFC 7239).
    pub remote: SocketAddr,
}

/// Another loopback port of the device than that of its web service; a request extension. Forwarding knows which ports it may
/// reach and answers 404 for any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevicePort(pub u16);

/// Marks an answer by which a request was refused because its uplink may not do that; a response extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The class of what was asked for: a label of the metric.
    pub class: &'static str,
}

/// Marks the answer to a CONNECT that the configuration does not allow; a response extension, for who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRefused;

/// Marks a request whose RTSP may go to the device's RTSP port and nowhere else, whatever its path says; a request extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtspPortOnly;

/// Sends 1xx answers ahead of the final response (RFC 9110 §15.2); a request extension where the server side can do it.
///
/// Calls after the final response started are ignored.
#[derive(Clone)]
pub struct Informational(Arc<dyn Fn(StatusCode, HeaderMap) + Send + Sync>);

impl Informational {
    /// Wraps the function that puts one 1xx answer on the wire.
    pub fn new(send: impl Fn(StatusCode, HeaderMap) + Send + Sync + 'static) -> Self {
        Self(Arc::new(send))
    }

    /// Sends one informational answer. `status` must be 1xx; 101 has no meaning in HTTP/2 (RFC 9113 §8.6) and is dropped.
    pub fn send(&self, status: StatusCode, headers: HeaderMap) {
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            (self.0)(status, headers);
        }
    }
}

/// What a stream carries: the label under which its stalls are counted. A response extension; whoever answers with something
/// that is no plain answer sets it, else request and response tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// A request and an answer with an end.
    Request,
    /// An answer without an end: MJPEG, events, audio.
    Stream,
    /// A WebSocket (RFC 8441).
    WebSocket,
    /// RTSP, whichever way it is carried.
    Rtsp,
    /// Raw bytes (CONNECT, RFC 9113 §8.5).
    Connect,
}

impl StreamKind {
    /// All kinds, in the order of their discriminants.
    pub const ALL: [Self; 5] = [Self::Request, Self::Stream, Self::WebSocket, Self::Rtsp, Self::Connect];

    /// The value of the label `kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Stream => "stream",
            Self::WebSocket => "websocket",
            Self::Rtsp => "rtsp",
            Self::Connect => "connect",
        }
    }

    /// What a request asks for, as far as it can tell.
    pub fn asked<B>(request: &http::Request<B>) -> Self {
        match request.extensions().get::<h2::ext::Protocol>() {
            Some(_) => Self::WebSocket,
            None if request.method() == http::Method::CONNECT => Self::Connect,
            None => Self::Request,
        }
    }

    /// What the response to such a request carries: what its handler said, else what was asked for, else what its type and
    /// length say. A refusal is a plain answer.
    #[must_use]
    pub fn of<B>(self, response: &http::Response<B>) -> Self {
        let unbounded = || !response.headers().contains_key(header::CONTENT_LENGTH) && is_stream(response.headers());
        match response.extensions().get() {
            Some(kind) => *kind,
            None if self != Self::Request && response.status().is_success() => self,
            None if unbounded() => Self::Stream,
            None => Self::Request,
        }
    }
}

/// Whether the type of an answer says that it is a stream (multipart, event stream, video, audio).
pub fn is_stream(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    ["multipart/", "video/", "audio/"].iter().any(|kind| media.starts_with(kind)) || media == "text/event-stream"
}

/// A short plain-text answer made by this program itself, never by the device or the remote.
///
/// `sentence` says what went wrong in words for the person who reads it.
pub fn text_response(status: StatusCode, sentence: &str) -> Response {
    let mut response = http::Response::new(Body::full(format!("{sentence}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONTENT_LENGTH, header::HeaderValue::from(sentence.len() + 1));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_response_announces_the_length_that_it_has() {
        let response = text_response(StatusCode::BAD_GATEWAY, "the device is down");
        assert_eq!(response.headers()[header::CONTENT_LENGTH], "19");
        assert_eq!(response.body().size_hint().exact(), Some(19));
    }

    #[test]
    fn switching_protocols_is_never_sent_as_an_informational_answer() {
        let sent = Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = Arc::clone(&sent);
        let informational = Informational::new(move |status, _| log.lock().expect("one thread").push(status));
        informational.send(StatusCode::SWITCHING_PROTOCOLS, HeaderMap::new());
        informational.send(StatusCode::OK, HeaderMap::new());
        informational.send(StatusCode::EARLY_HINTS, HeaderMap::new());
        assert_eq!(*sent.lock().expect("one thread"), [StatusCode::EARLY_HINTS]);
    }

    #[test]
    fn types_that_are_streams_are_known_whatever_their_case_and_parameters() {
        for (media, stream) in [
            ("multipart/x-mixed-replace; boundary=x", true),
            ("Multipart/X-Mixed-Replace;boundary=x", true),
            ("text/event-stream", true),
            ("video/mp4", true),
            ("audio/basic", true),
            ("application/soap+xml; charset=utf-8", false),
            ("image/jpeg", false),
            ("application/octet-stream", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, header::HeaderValue::from_static(media))]);
            assert_eq!(is_stream(&headers), stream, "{media}");
        }
        assert!(!is_stream(&HeaderMap::new()));
    }

    #[test]
    fn the_kind_of_a_stream_is_what_its_handler_said_else_what_was_asked_for_else_what_the_answer_looks_like() {
        let answer = |media: &'static str| {
            http::Response::builder().header(header::CONTENT_TYPE, media).body(Body::empty()).expect("valid")
        };
        let mut get = http::Request::get("/").body(()).expect("valid");
        let plain = StreamKind::asked(&get);
        assert_eq!(plain.of(&answer("multipart/x-mixed-replace")), StreamKind::Stream);
        assert_eq!(plain.of(&answer("application/soap+xml")), StreamKind::Request);
        let mut recording = answer("video/mp4");
        recording.headers_mut().insert(header::CONTENT_LENGTH, header::HeaderValue::from(9));
        assert_eq!(plain.of(&recording), StreamKind::Request);
        recording.extensions_mut().insert(StreamKind::Rtsp);
        assert_eq!(plain.of(&recording), StreamKind::Rtsp);
        *get.method_mut() = http::Method::CONNECT;
        let mut granted = http::Response::new(());
        assert_eq!(StreamKind::asked(&get).of(&granted), StreamKind::Connect);
        get.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        assert_eq!(StreamKind::asked(&get).of(&granted), StreamKind::WebSocket);
        *granted.status_mut() = StatusCode::FORBIDDEN;
        assert_eq!(StreamKind::asked(&get).of(&granted), StreamKind::Request);
        assert!(StreamKind::ALL.iter().enumerate().all(|(at, kind)| *kind as usize == at));
    }
}
