//! The pages of the admin listener: which path answers what, for whom.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body as HttpBody;

use super::{
    AdminState,
    lifecycle::{Asked, Lifecycle},
};
use crate::telemetry::{logs::FILTER_MAX, metrics};

const PATHS: &str =
    "/livez, /readyz, /metrics, /status and PUT /log-level; a sidecar has /drain and POST /quitquitquit too";

/// Answers one request of `peer`. Cancel safe.
pub(super) async fn answer<B>(state: &AdminState, peer: SocketAddr, request: Request<B>) -> Response<Full<Bytes>>
where
    B: HttpBody,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/log-level" if request.method() == Method::PUT => log_level(state, peer, request.into_body()).await,
        "/log-level" => not_allowed("PUT", "send a level with PUT, for example `debug`"),
        "/livez" | "/readyz" | "/metrics" | "/status" if !is_read => {
            not_allowed("GET, HEAD", "this page is only read: use GET")
        }
        "/livez" => text(StatusCode::OK, "alive"),
        "/readyz" => readyz(
            state,
            request.uri().query().is_some_and(|query| query.split('&').any(|key| key.starts_with("verbose"))),
        ),
        "/metrics" => page(StatusCode::OK, metrics::CONTENT_TYPE, state.metrics.encode()),
        "/status" => page(StatusCode::OK, "application/json", format!("{:#}\n", (state.status)())),
        "/drain" => match &state.lifecycle {
            Some(lifecycle) => drain(lifecycle, request.method()),
            None => no_such_page(),
        },
        "/quitquitquit" => match &state.lifecycle {
            Some(lifecycle) => quit(lifecycle, peer, request.method()),
            None => no_such_page(),
        },
        _ => no_such_page(),
    }
}

fn no_such_page() -> Response<Full<Bytes>> {
    text(StatusCode::NOT_FOUND, &format!("no such page; there are {PATHS}"))
}

/// For kubelet's preStop hook, which asks from outside of the pod and only with GET. Idempotent.
fn drain(lifecycle: &Lifecycle, method: &Method) -> Response<Full<Bytes>> {
    if !lifecycle.has_drain_endpoint() {
        return text(StatusCode::NOT_FOUND, "draining by request is off; `run --drain-endpoint` switches it on");
    }
    // HEAD promises to change nothing.
    if !matches!(*method, Method::GET | Method::POST) {
        return not_allowed("GET, POST", "ask for the drain with GET or POST");
    }
    lifecycle.ask(Asked::Drain);
    text(StatusCode::OK, "draining: nothing new is taken, open streams go on until the process is stopped")
}

/// For the end of a Job in clusters without native sidecars: the main container says that it is done.
fn quit(lifecycle: &Lifecycle, peer: SocketAddr, method: &Method) -> Response<Full<Bytes>> {
    if *method != Method::POST {
        return not_allowed("POST", "end the process with POST");
    }
    if !is_local(peer) {
        return text(
            StatusCode::FORBIDDEN,
            "the process is ended from this machine or pod only: use its loopback address",
        );
    }
    tracing::info!("told to stop by /quitquitquit");
    lifecycle.ask(Asked::Stop);
    text(StatusCode::OK, "stopping")
}

fn is_local(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

fn readyz(state: &AdminState, verbose: bool) -> Response<Full<Bytes>> {
    let latches = state.readiness.latches();
    let blocked = latches.iter().filter_map(|(name, reason)| reason.as_ref().map(|reason| format!("{name}: {reason}")));
    let blocked = blocked.collect::<Vec<_>>().join("; ");
    let (status, verdict) = if blocked.is_empty() {
        (StatusCode::OK, "ready".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {blocked}"))
    };
    if !verbose {
        return text(status, &verdict);
    }
    let mut lines: Vec<_> = latches
        .iter()
        .map(|(name, reason)| match reason {
            Some(reason) => format!("[-] {name}: {reason}"),
            None => format!("[+] {name}"),
        })
        .collect();
    lines.push(verdict);
    text(status, &lines.join("\n"))
}

async fn log_level<B>(state: &AdminState, peer: SocketAddr, body: B) -> Response<Full<Bytes>>
where
    B: HttpBody,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if !is_local(peer) {
        return text(
            StatusCode::FORBIDDEN,
            "the log level is changed from this machine or pod only: use its loopback address",
        );
    }
    let Ok(body) = Limited::new(body, FILTER_MAX).collect().await else {
        return text(
            StatusCode::PAYLOAD_TOO_LARGE,
            &format!("send a level of at most {FILTER_MAX} bytes, for example `debug`"),
        );
    };
    let body = body.to_bytes();
    let level = String::from_utf8_lossy(&body);
    match state.level.set(&level) {
        Ok(()) => {
            tracing::info!(level = %level.trim(), "the log level was changed");
            text(StatusCode::OK, &format!("the log level is now {}", level.trim()))
        }
        Err(sentence) => text(StatusCode::BAD_REQUEST, &sentence),
    }
}

fn not_allowed(methods: &'static str, sentence: &str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, sentence);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

fn text(status: StatusCode, sentence: &str) -> Response<Full<Bytes>> {
    page(status, "text/plain; charset=utf-8", format!("{sentence}\n"))
}

fn page(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The answer to a request whose body did not come in time.
pub(super) fn too_slow() -> Response<Full<Bytes>> {
    text(StatusCode::REQUEST_TIMEOUT, "the request took too long; send it at once")
}
