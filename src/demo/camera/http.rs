//! The camera's web server: which path gives what.
//!
//! HTTP/1.1 (RFC 9112) with kept-alive connections, as cameras speak it. GET and HEAD on everything that can be read, POST on
//! the ONVIF services, POST and PUT on the sink. The page links relatively, so it is whole at `/` and under a prefix.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Method, StatusCode, header, uri::Authority};
use http_body::Frame;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use quick_xml::escape::escape;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{timeout, timeout_at},
};

use super::{
    bulk,
    feed::{self, Feed},
    guard::Guard,
    onvif::{self, Addresses, Facts, Services},
};
use crate::base::{
    drain::Drain,
    http::{Body, BodyError, BoxFuture, Handler, Request, Response, text_response},
};

/// The largest SOAP request that is read; the largest of ONVIF's own are some KiB.
const MAX_SOAP_BYTES: usize = 64 * 1024;
/// How long a SOAP request may take to arrive.
const SOAP_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may wait for the next request, or take to send its head.
const HEAD_DEADLINE: Duration = Duration::from_secs(60);
/// What one connection may hold of requests or answers: a viewer that does not read has at most three or four
/// pictures here.
const CONNECTION_BUFFER: usize = 64 * 1024;

const STYLE: &str = include_str!("style.css");
const HTML: &str = "text/html; charset=utf-8";
const SOAP: &str = "application/soap+xml; charset=utf-8";

/// All paths of the camera. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Site(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    feed: Feed,
    services: Services,
    address: SocketAddr,
    advertise: Option<Authority>,
    rtsp_port: Option<u16>,
    index: Bytes,
    guard: Option<Guard>,
    /// Seconds by which the camera's clock is ahead.
    clock_skew: i64,
}

impl Site {
    /// `address` stands in for the Host of a request that names none.
    pub fn new(feed: Feed, name: &str, facts: Facts, address: SocketAddr) -> Self {
        let index = include_str!("index.html")
            .replace("{{name}}", &escape(name))
            .replace("{{manufacturer}}", &escape(&facts.manufacturer))
            .replace("{{model}}", &escape(&facts.model))
            .replace("{{firmware}}", &escape(&facts.firmware))
            .replace("{{serial}}", &escape(&facts.serial))
            .replace("{{hardware}}", &escape(&facts.hardware));
        let services = Services::new(facts, Arc::clone(feed.optics()));
        let index = index.into();
        let (advertise, rtsp_port, guard, clock_skew) = (None, None, None, 0);
        Self(Arc::new(Parts { feed, services, address, advertise, rtsp_port, index, guard, clock_skew }))
    }

    /// The same with the address that it takes for its own, if it is not to be the Host of each request, and the port of its
    /// RTSP server; to be called before it is cloned.
    pub fn addressed(self, advertise: Option<Authority>, rtsp_port: Option<u16>) -> Self {
        let mut site = self;
        if let Some(parts) = Arc::get_mut(&mut site.0) {
            (parts.advertise, parts.rtsp_port) = (advertise, rtsp_port);
        }
        site
    }

    /// The same with a guard, and a clock that is wrong by so many seconds; to be called before it is cloned.
    pub fn guarded(self, guard: Option<Guard>, clock_skew: i64) -> Self {
        let mut site = self;
        if let Some(parts) = Arc::get_mut(&mut site.0) {
            (parts.guard, parts.clock_skew) = (guard, clock_skew);
        }
        site
    }
}

impl Handler for Site {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let parts = Arc::clone(&self.0);
        Box::pin(async move {
            let head = request.method() == Method::HEAD;
            let mut response = parts.answer(request).await;
            if head {
                *response.body_mut() = Body::empty();
            }
            response
        })
    }
}

impl Parts {
    async fn answer(&self, request: Request) -> Response {
        let path = request.uri().path().to_owned();
        let message = Services::has(&path);
        let allowed: &[Method] = match path.as_str() {
            _ if message => &[Method::POST],
            "/firmware" => &[Method::POST, Method::PUT],
            _ => &[Method::GET, Method::HEAD],
        };
        let known = ["/", "/index.html", "/style.css", "/snapshot.jpg", "/stream.mjpeg", "/system.log", "/firmware"];
        if !message && !known.contains(&path.as_str()) && !path.starts_with("/download/") {
            return text_response(StatusCode::NOT_FOUND, "This camera has nothing at that path.");
        }
        if !allowed.contains(request.method()) {
            return method_not_allowed(allowed);
        }
        if let (Some(guard), true) = (&self.guard, !message)
            && let Err(refusal) = guard.admit(request.headers(), request.method().as_str(), &target(&request))
        {
            return *refusal;
        }
        match path.as_str() {
            "/style.css" => whole("text/css; charset=utf-8", "max-age=3600", STYLE),
            "/snapshot.jpg" => self.snapshot().await,
            "/stream.mjpeg" => self.stream(),
            _ if message => self.message(request, &path).await,
            "/system.log" => whole("text/plain; charset=utf-8", "no-store", self.services.log()),
            "/firmware" => bulk::upload(request).await,
            path => match path.strip_prefix("/download/") {
                Some(size) => bulk::download(&request, size),
                None => whole(HTML, "no-cache", self.index.clone()),
            },
        }
    }

    async fn snapshot(&self) -> Response {
        let Some(frame) = self.feed.snapshot().await else {
            return text_response(StatusCode::SERVICE_UNAVAILABLE, "The camera has no picture at the moment.");
        };
        let mut response = whole("image/jpeg", "no-store", frame.jpeg.clone());
        let taken = HeaderValue::try_from(feed::timestamp(frame.stamp)).expect("digits and a point");
        response.headers_mut().insert("x-timestamp", taken);
        response
    }

    /// An endless stream of pictures (multipart/x-mixed-replace, as browsers and recorders read Motion JPEG).
    fn stream(&self) -> Response {
        let first = Frame::data(Bytes::from(feed::separator()));
        let pictures = stream::unfold(self.feed.watch(), |mut viewer| async move {
            let frame = viewer.next().await?;
            Some((Frame::data(frame.part.clone()), viewer))
        });
        let parts = stream::once(async { first }).chain(pictures).map(Ok::<_, BodyError>);
        let mut response = Response::new(Body::new(StreamBody::new(parts)));
        let kind = HeaderValue::try_from(format!("multipart/x-mixed-replace; boundary={}", feed::BOUNDARY))
            .expect("the boundary is of letters and hyphens");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// Answers a message to one of the ONVIF services.
    async fn message(&self, request: Request, path: &str) -> Response {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let essence = kind.split(';').next().unwrap_or("").trim();
        if !essence.eq_ignore_ascii_case("application/soap+xml") {
            let sentence = "ONVIF requests are SOAP 1.2: send application/soap+xml.";
            return text_response(StatusCode::UNSUPPORTED_MEDIA_TYPE, sentence);
        }
        let addresses = self.addresses(&request);
        let (fields, target) = (request.headers().clone(), target(&request));
        let body = Limited::new(request.into_body(), MAX_SOAP_BYTES).collect();
        let body = match timeout(SOAP_DEADLINE, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return text_response(StatusCode::PAYLOAD_TOO_LARGE, "A request is limited to 65536 bytes.");
            }
            Ok(Err(_)) => return text_response(StatusCode::BAD_REQUEST, "The request broke off."),
            Err(_) => {
                return text_response(StatusCode::REQUEST_TIMEOUT, "The request did not arrive within 10 seconds.");
            }
        };
        let unix_ms = feed::unix_ms().saturating_add_signed(self.clock_skew.saturating_mul(1000));
        let operation = self.guard.as_ref().and_then(|_| onvif::operation(&body));
        let mut answer = None;
        if let Some(guard) = &self.guard {
            if let Err(refusal) = guard.admit_message(operation.as_deref(), &fields, "POST", &target) {
                return *refusal;
            }
            let now = UNIX_EPOCH + Duration::from_millis(unix_ms);
            answer = (!guard.admits_token(operation.as_deref(), &body, now)).then(onvif::not_authorized);
        }
        let answer = match answer {
            Some(refusal) => refusal,
            None => self.services.answer(&body, path, &addresses, unix_ms).await,
        };
        let mut response = whole(SOAP, "no-store", answer.xml);
        *response.status_mut() = answer.status;
        response
    }

    /// What the camera takes for its own address: what it was told, or else the host by which the client knows it.
    fn addresses(&self, request: &Request) -> Addresses {
        let asked = || {
            let host = request.headers().get(header::HOST)?;
            Authority::try_from(host.as_bytes()).ok()
        };
        match self.advertise.clone().or_else(asked) {
            Some(known) => Addresses::new(known.host(), known.port_u16(), self.rtsp_port),
            None => Addresses::new(&self.address.ip().to_string(), Some(self.address.port()), self.rtsp_port),
        }
    }
}

/// The request target as it stood in the request line.
fn target(request: &Request) -> String {
    request.uri().path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string)
}

fn whole(kind: &'static str, cache: &'static str, body: impl Into<Bytes>) -> Response {
    let body = body.into();
    let length = body.len();
    let mut response = Response::new(Body::full(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}

fn method_not_allowed(allowed: &[Method]) -> Response {
    let list = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let mut response = text_response(StatusCode::METHOD_NOT_ALLOWED, &format!("This path takes {list}."));
    let list = HeaderValue::try_from(list).expect("method names are tokens");
    response.headers_mut().insert(header::ALLOW, list);
    response
}

/// Serves one connection until its end. When the drain starts, requests that run may finish until the deadline; video
/// streams end by themselves, because the feed does. Aborting it closes the connection.
pub async fn serve<S>(stream: S, site: Site, mut drain: Drain)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let answer = site.handle(request.map(Body::new));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(CONNECTION_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        draining = drain.started() => {
            connection.as_mut().graceful_shutdown();
            timeout_at(draining.deadline, connection).await
        }
    };
    // A client that goes away is everyday life: browsers close video streams in no other way.
    if let Ok(Err(error)) = ended {
        tracing::debug!(%error, "a connection to the camera ended early");
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
