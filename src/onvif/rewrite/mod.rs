//! Addresses that work outside (shared notes of the field: the XAddr problem; ONVIF Core §GetServices, Streaming, Events).
//!
//! A camera names itself by its address in its own network, in the services it lists, its stream and snapshot addresses, its
//! event subscriptions. [`Rewrite`] puts the address in their place by which it was asked, only there and byte for byte the same
//! elsewhere; on the way back it gives the camera its own address again where it checks it (`wsa:To`). [`places`] finds the
//! addresses, [`map`] says what becomes of them, [`rtsp`] does the same for RTSP messages, [`conversation`] for
//! whole conversations of it.

pub mod conversation;
pub mod map;
pub mod places;
pub mod rtsp;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, uri::PathAndQuery};
use http_body_util::BodyExt;

use self::{
    map::{Map, Outside, RTSP_BASE, split_port},
    places::Way,
};
use crate::base::{
    gather::{Gathered, gather},
    http::{Body, BoxFuture, DevicePort, Handler, Request, Response, text_response},
};

/// Largest request in which addresses are looked for, bytes; those with `wsa:To` are a few kilobytes.
const REQUEST_MAX: usize = 64 * 1024;
/// Largest answer, bytes: profiles of a large recorder have some hundred kilobytes. Larger ones pass as they are.
const ANSWER_MAX: usize = 1024 * 1024;
/// How long a message may take to come whole.
const MESSAGE_DEADLINE: Duration = Duration::from_secs(60);

/// Rewrites addresses of one device around the handler that reaches it.
pub struct Rewrite {
    inner: Arc<dyn Handler>,
    map: Arc<Map>,
    /// The remote's authority, for requests that name none.
    fallback: Arc<str>,
}

impl Rewrite {
    /// Wraps `inner`; `fallback` is host and port of the remote.
    pub fn new(inner: Arc<dyn Handler>, map: Arc<Map>, fallback: &str) -> Self {
        Self { inner, map, fallback: Arc::from(fallback) }
    }
}

impl Handler for Rewrite {
    fn handle(&self, mut request: Request) -> BoxFuture<'static, Response> {
        if let Some(refused) = find_port(&mut request, &self.map) {
            return Box::pin(std::future::ready(refused));
        }
        let outside = self.map.outside(request.uri(), request.headers(), &self.fallback);
        request.headers_mut().remove(RTSP_BASE);
        if !self.map.is_on() || request.method() != Method::POST || !is_soap(request.headers()) {
            return self.inner.handle(request);
        }
        let (inner, map) = (Arc::clone(&self.inner), Arc::clone(&self.map));
        Box::pin(async move {
            let request = match inward(request, &map, &outside).await {
                Ok(request) => request,
                Err(refused) => return refused,
            };
            outward(inner.handle(request).await, &map, &outside).await
        })
    }
}

/// Takes the path of a further port off, and notes the port; or the refusal. Ports that are not allowed are not there.
fn find_port(request: &mut Request, map: &Map) -> Option<Response> {
    let (port, rest) = request.uri().path_and_query().and_then(|target| split_port(target.as_str()))?;
    if !map.allows(port) {
        let sentence = "this port of the device is not reachable through the uplink";
        return Some(text_response(StatusCode::NOT_FOUND, sentence));
    }
    let path = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    let mut parts = request.uri().clone().into_parts();
    let target = PathAndQuery::try_from(path).ok().and_then(|path| {
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).ok()
    });
    let Some(target) = target else { return Some(text_response(StatusCode::BAD_REQUEST, "the path is not valid")) };
    *request.uri_mut() = target;
    request.extensions_mut().insert(DevicePort(port));
    None
}

fn is_soap(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let xml = ["application/soap+xml", "text/xml", "application/xml"].iter().any(|xml| kind.eq_ignore_ascii_case(xml));
    xml && !headers.contains_key(header::CONTENT_ENCODING)
}

/// The request with the device's own address in `wsa:To`.
async fn inward(request: Request, map: &Map, outside: &Outside) -> Result<Request, Response> {
    let (mut parts, body) = request.into_parts();
    // An answer that is packed could not be read.
    parts.headers.remove(header::ACCEPT_ENCODING);
    let body = match gather(body, REQUEST_MAX, MESSAGE_DEADLINE).await {
        Gathered::Whole { bytes, trailers } => {
            let changed = change(&bytes, Way::Request, |address| map.inward(address, outside));
            message(changed.unwrap_or(bytes), trailers, &mut parts.headers)
        }
        Gathered::Larger(body) => body,
        Gathered::Broken(_) => return Err(text_response(StatusCode::BAD_REQUEST, "the request's body broke")),
        Gathered::Slow => {
            return Err(text_response(StatusCode::REQUEST_TIMEOUT, "the request's body did not come in time"));
        }
    };
    Ok(Request::from_parts(parts, body))
}

/// The answer with addresses that work outside.
async fn outward(response: Response, map: &Map, outside: &Outside) -> Response {
    if !is_soap(response.headers()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = match gather(body, ANSWER_MAX, MESSAGE_DEADLINE).await {
        Gathered::Whole { bytes, trailers } => {
            let changed = change(&bytes, Way::Answer, |address| map.outward(address, outside));
            message(changed.unwrap_or(bytes), trailers, &mut parts.headers)
        }
        Gathered::Larger(body) => {
            tracing::debug!("an answer is too large for its addresses to be looked at; it passes as it is");
            body
        }
        Gathered::Broken(_) => return text_response(StatusCode::BAD_GATEWAY, "the device's answer broke"),
        Gathered::Slow => {
            return text_response(StatusCode::GATEWAY_TIMEOUT, "the device's answer did not come whole in time");
        }
    };
    Response::from_parts(parts, body)
}

fn change(message: &Bytes, way: Way, replace: impl FnMut(&str) -> Option<String>) -> Option<Bytes> {
    let text = std::str::from_utf8(message).ok()?;
    let found = places::find(text, way)?;
    places::replace(text, &found, replace).map(Bytes::from)
}

/// A body of these bytes, with the length in the head.
fn message(bytes: Bytes, trailers: Option<HeaderMap>, headers: &mut HeaderMap) -> Body {
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    match trailers {
        None => Body::full(bytes),
        Some(trailers) => Body::new(Body::full(bytes).with_trailers(std::future::ready(Some(Ok(trailers))))),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
