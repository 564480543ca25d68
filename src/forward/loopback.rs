//! The handler that carries a request to the device over HTTP/1.1 on loopback (ONVIF Uplink §5.3, RFC 9110 §7.6, RFC 9112).
//!
//! Only the configured address is dialed, whatever the request says. Bodies stream both ways with back-pressure.
//! A request without side effects is tried once more on a new connection when a kept-alive one turns out to be closed;
//! any other is sent at most once.

use std::{
    future::poll_fn,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
};

use http::{HeaderMap, HeaderValue, Method, Request as HttpRequest, StatusCode, Uri, Version, header, request::Parts};
use http_body::Body as _;
use hyper::body::Incoming;

use super::{
    answer::{Held, hold},
    connection::Link,
    download::Download,
    fault::Fault,
    headers::{self, RequestFraming},
    limits::Limits,
    neighbour::Neighbour,
    pool::Permit,
    target::{Refusal, target},
    upload::{Signals, Upload},
};
use crate::{
    base::http::{Body, BoxFuture, Handler, Informational, Request, Response, SessionInfo, is_stream, text_response},
    model::device::LoopbackUrl,
};

/// Forwards requests to one neighbour over HTTP/1.1.
///
/// It belongs to one runtime: its connections live where its futures are polled.
#[derive(Clone)]
pub struct Loopback {
    neighbour: Arc<Neighbour>,
}

/// A request in the form that the device gets.
struct Outgoing {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    informational: Option<Informational>,
    framing: RequestFraming,
}

impl Loopback {
    /// A handler for the neighbour at `device`; `name` is the device's name in logs. Must be used within a tokio runtime.
    pub fn new(device: LoopbackUrl, name: impl Into<String>) -> Self {
        Self::with_limits(device, name, Limits::default())
    }

    /// The same with other bounds.
    pub fn with_limits(device: LoopbackUrl, name: impl Into<String>, limits: Limits) -> Self {
        Self::of(Neighbour::new(device, name, limits))
    }

    /// A handler that shares the neighbour with others.
    pub(super) fn of(neighbour: Arc<Neighbour>) -> Self {
        Self { neighbour }
    }

    async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let outgoing = match self.outgoing(parts, &body) {
            Ok(outgoing) => outgoing,
            Err(refusal) => return text_response(refusal.status, refusal.sentence),
        };
        match self.forward(outgoing, body).await {
            Ok(response) => {
                self.neighbour.answered();
                response
            }
            Err(fault) => self.neighbour.fault(fault),
        }
    }

    /// The request for the device.
    fn outgoing(&self, mut parts: Parts, body: &Body) -> Result<Outgoing, Refusal> {
        let uri = target(&parts.method, &parts.uri)?;
        let asked = parts.uri.authority().map(http::uri::Authority::as_str);
        let remote = parts.extensions.get::<SessionInfo>().map(|session| session.remote);
        let mut framing = headers::to_device(&mut parts.headers, &self.neighbour.own, asked, remote)?;
        let known = body.size_hint().exact();
        if body.is_end_stream() {
            if framing.length.is_some_and(|length| length > 0) {
                return Err(Refusal::bad_request("the request announced a body and has none"));
            }
            framing = RequestFraming { length: Some(0), expects_continue: false };
            // Many small web servers answer 411 to a POST without a length (RFC 9110 §8.6).
            if [Method::POST, Method::PUT, Method::PATCH].contains(&parts.method) {
                parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
        } else if framing.length.is_none() && known.is_some() {
            framing.length = known;
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(known.unwrap_or_default()));
        } else if framing.length.is_none() {
            parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        if framing.length.is_some() {
            // A message with a length has no trailers in HTTP/1.1 (RFC 9112 §7.1.2); cameras want the length.
            parts.headers.remove(header::TRAILER);
        }
        if !framing.expects_continue || framing.length == Some(0) {
            framing.expects_continue = false;
            parts.headers.remove(header::EXPECT);
        }
        let informational = parts.extensions.remove::<Informational>();
        Ok(Outgoing { method: parts.method, uri, headers: parts.headers, informational, framing })
    }

    async fn forward(&self, outgoing: Outgoing, body: Body) -> Result<Response, Fault> {
        let permit = self.neighbour.pool.permit().await?;
        let mut link = match self.neighbour.pool.idle_link().await {
            Some(link) => link,
            None => self.neighbour.pool.new_link().await?,
        };
        let signals = Arc::new(Signals::default());
        let method = outgoing.method.clone();
        let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&method);
        let again = (safe && outgoing.framing.length == Some(0)).then(|| outgoing.again());
        let request = outgoing.into_request(body, &signals, &self.neighbour.limits);
        let mut result = link.send(request, &signals, &self.neighbour.limits).await;
        if let (Err(Fault::Closed), Some(again), true) = (&result, again, link.was_stale()) {
            link = self.neighbour.pool.new_link().await?;
            let request = again.into_request(Body::empty(), &signals, &self.neighbour.limits);
            result = link.send(request, &signals, &self.neighbour.limits).await;
        }
        self.incoming(result?, &method, link, signals, permit).await
    }

    /// From the head of the answer to the response.
    async fn incoming(
        &self,
        response: HttpResponse,
        method: &Method,
        link: Link,
        signals: Arc<Signals>,
        permit: Permit,
    ) -> Result<Response, Fault> {
        let (mut parts, incoming) = response.into_parts();
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Fault::Malformed("it switches protocols unasked".to_owned()));
        }
        let status = parts.status;
        let bodiless =
            *method == Method::HEAD || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        let length = headers::to_remote(&mut parts.headers, status, bodiless)
            .map_err(|sentence| Fault::Malformed(sentence.to_owned()))?;
        if status.as_u16() >= 300 && !signals.whole.load(Relaxed) {
            signals.stopped.store(true, Relaxed);
        }
        // After HTTP/1.0 hyper would speak 1.0 too; and who speaks it seldom means keep-alive.
        let reusable = parts.version == Version::HTTP_11;
        let mut download = Download::new(incoming, link, Arc::clone(&self.neighbour.pool), signals, permit, reusable);
        let empty = poll_fn(|cx| Poll::Ready(download.finish_if_empty(cx))).await;
        let body = if empty {
            Body::empty()
        } else if length.is_some() {
            Body::new(download)
        } else {
            self.unknown_length(download, &mut parts.headers).await?
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = parts.headers;
        Ok(response)
    }

    async fn unknown_length(&self, download: Download, headers: &mut HeaderMap) -> Result<Body, Fault> {
        let mut download = if is_stream(headers) {
            download
        } else {
            let broken = |error| Fault::Malformed(format!("its body broke: {error}"));
            match hold(download, headers, &self.neighbour.limits).await.map_err(broken)? {
                Held::Whole(body) => return Ok(body),
                Held::GoesOn(download) => *download,
            }
        };
        download.keep(self.neighbour.pool.endless_permit()?);
        Ok(Body::new(download))
    }
}

impl Handler for Loopback {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let this = self.clone();
        Box::pin(async move { this.answer(request).await })
    }
}

type HttpResponse = http::Response<Incoming>;

impl Outgoing {
    /// A second copy for the second try; only for requests without a body.
    fn again(&self) -> Self {
        Self {
            method: self.method.clone(),
            uri: self.uri.clone(),
            headers: self.headers.clone(),
            informational: self.informational.clone(),
            framing: self.framing,
        }
    }

    fn into_request(self, body: Body, signals: &Arc<Signals>, limits: &Limits) -> HttpRequest<Upload> {
        let Self { method, uri, headers, informational, framing } = self;
        let mut upload = if framing.length == Some(0) {
            signals.whole.store(true, Relaxed);
            Upload::none()
        } else {
            Upload::new(body, framing.length, Arc::clone(signals))
        };
        if framing.expects_continue {
            upload = upload.held(limits.expect, informational.clone());
        }
        let mut request = HttpRequest::new(upload);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let signals = Arc::clone(signals);
        hyper::ext::on_informational(&mut request, move |answer| {
            signals.informational.fetch_add(1, Relaxed);
            let is_continue = answer.status() == StatusCode::CONTINUE;
            if is_continue && signals.continued.swap(true, Relaxed) {
                return;
            }
            // A 100 that was not asked for tells the remote nothing.
            if let Some(informational) = informational.as_ref().filter(|_| !is_continue || framing.expects_continue) {
                let mut headers = answer.headers().clone();
                if headers::to_remote(&mut headers, answer.status(), true).is_ok() {
                    informational.send(answer.status(), headers);
                }
            }
        });
        request
    }
}
