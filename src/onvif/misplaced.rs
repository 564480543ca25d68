//! Operations of the device service that a remote sends to another path (shared notes, quirk Q9; ONVIF Core, Services overview).
//!
//! Remotes exist that post `GetServices` to `/onvif/uplink_service`, because that is the only path they know. The device
//! answers 404 there. Only then the body is looked at: if its operation is one of the device service, whose path the
//! specification fixes, the same bytes go to that path once. All else passes untouched and unread; a body streams on
//! while its bytes are remembered up to a bound.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, header, request::Parts, uri::PathAndQuery};
use http_body::{Body as HttpBody, Frame, SizeHint};
use quick_xml::{
    events::Event,
    name::{Namespace, ResolveResult},
    reader::NsReader,
};

use crate::base::http::{Body, BodyError, BoxFuture, Handler, Request, Response};

/// Where the device service is (ONVIF Core, Services overview).
pub const DEVICE_SERVICE: &str = "/onvif/device_service";
/// Namespace of its operations.
const DEVICE_NAMESPACE: &str = "http://www.onvif.org/ver10/device/wsdl";
/// SOAP 1.2 (the specification's) and 1.1 (of old remotes).
const ENVELOPES: [&str; 2] = ["http://www.w3.org/2003/05/soap-envelope", "http://schemas.xmlsoap.org/soap/envelope/"];
/// Longest message in bytes that is remembered; requests of the device service are a few kilobytes.
const MESSAGE_MAX: usize = 64 * 1024;
/// Tags that are read before the operation must have come: a header with security tokens has some dozens.
const TAGS_MAX: usize = 512;

/// Sends operations of the device service to its path when the device does not know the path that was asked for.
pub struct Misplaced {
    inner: Arc<dyn Handler>,
}

impl Misplaced {
    /// Wraps the handler that reaches the device.
    pub fn new(inner: Arc<dyn Handler>) -> Self {
        Self { inner }
    }
}

impl Handler for Misplaced {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        if !worth_remembering(request.method(), request.uri(), request.headers()) {
            return self.inner.handle(request);
        }
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let again = parts.clone();
            let seen = Arc::new(Mutex::new(Seen::default()));
            let body = Body::new(Remembering { body, seen: Arc::clone(&seen) });
            let response = inner.handle(Request::from_parts(parts, body)).await;
            if response.status() != StatusCode::NOT_FOUND {
                return response;
            }
            let message = seen.lock().unwrap_or_else(PoisonError::into_inner).message(&again.headers);
            match message.filter(|message| is_device_operation(message)) {
                Some(message) => {
                    tracing::debug!(path = again.uri.path(), "an operation of the device service came to another path");
                    inner.handle(to_device_service(again, message)).await
                }
                None => response,
            }
        })
    }
}

/// Whether it may be a SOAP message of bounded size for another path than that of the device service.
fn worth_remembering(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let kind = text(header::CONTENT_TYPE).and_then(|kind| kind.split(';').next()).map(str::trim).unwrap_or_default();
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    method == Method::POST
        && uri.path() != DEVICE_SERVICE
        && (kind.eq_ignore_ascii_case("application/soap+xml") || kind.eq_ignore_ascii_case("text/xml"))
        && !headers.contains_key(header::CONTENT_ENCODING)
        && length.is_some_and(|length| length > 0 && length <= MESSAGE_MAX)
}

fn to_device_service(mut parts: Parts, message: Bytes) -> Request {
    let mut uri = parts.uri.into_parts();
    uri.path_and_query = Some(PathAndQuery::from_static(DEVICE_SERVICE));
    parts.uri = Uri::from_parts(uri).unwrap_or_else(|_| Uri::from_static(DEVICE_SERVICE));
    Request::from_parts(parts, Body::full(message))
}

/// Whether the first element of the SOAP body is of the device service's namespace. Anything odd is `false`.
fn is_device_operation(message: &[u8]) -> bool {
    let mut reader = NsReader::from_reader(message);
    let (mut depth, mut in_body) = (0u32, false);
    for _ in 0..TAGS_MAX {
        let Ok((namespace, event)) = reader.read_resolved_event() else { return false };
        let (tag, opens) = match &event {
            Event::Start(tag) => (tag, true),
            Event::Empty(tag) => (tag, false),
            Event::End(_) => {
                depth = depth.saturating_sub(1);
                if in_body {
                    return false;
                }
                continue;
            }
            Event::Eof | Event::DocType(_) => return false,
            _ => continue,
        };
        let namespace = match namespace {
            ResolveResult::Bound(Namespace(namespace)) => namespace,
            _ => "",
        };
        let soap = ENVELOPES.contains(&namespace);
        match (depth, tag.local_name().as_ref()) {
            (2, _) if in_body => return namespace == DEVICE_NAMESPACE,
            (0, "Envelope") if soap && opens => {}
            (1, "Body") if soap && opens => in_body = true,
            (1, "Header") if soap => {}
            (0 | 1, _) => return false,
            _ => {}
        }
        depth += u32::from(opens);
    }
    false
}

/// What has passed of a body.
#[derive(Default)]
struct Seen {
    chunks: Vec<Bytes>,
    length: usize,
}

impl Seen {
    fn note(&mut self, chunk: &Bytes) {
        self.length += chunk.len();
        if self.length <= MESSAGE_MAX {
            self.chunks.push(chunk.clone());
        }
    }

    /// The whole message, if all of what was announced has passed.
    fn message(&mut self, headers: &HeaderMap) -> Option<Bytes> {
        let announced = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse::<usize>().ok()?;
        (self.length == announced && self.length <= MESSAGE_MAX).then(|| self.chunks.concat().into())
    }
}

/// A body whose chunks are remembered as they pass.
struct Remembering {
    body: Body,
    seen: Arc<Mutex<Seen>>,
}

impl HttpBody for Remembering {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(chunk) = frame.data_ref()
        {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).note(chunk);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
#[path = "misplaced_tests.rs"]
mod tests;
