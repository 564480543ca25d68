//! A WebSocket of the remote, opened by extended CONNECT, to one at the device, opened by an HTTP/1.1 upgrade (RFC 8441,
//! RFC 6455 §4; ONVIF Uplink §5.3, RTSP over WebSocket).
//!
//! Subprotocols, extensions and all other fields go both ways by the rules of ordinary requests; the key is ours, because
//! HTTP/2 has none. Behind the heads the bytes pass unparsed: the masks of the remote's frames stay as they are, and every
//! extension works. A refusal goes back as the device gave it.

use std::sync::Arc;

use bytes::Bytes;
use h2::Reason;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, EXPECT, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION, TE, TRAILER, UPGRADE,
    },
    request::Parts,
};
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};

use super::{
    dial::dial,
    fault::Fault,
    head::{self, Answer, read_answer},
    headers,
    neighbour::Neighbour,
    refusal,
    target::{Refusal, target},
    tunnel::{DeviceEnd, join},
};
use crate::base::http::{Body, BoxFuture, Handler, Request, Response, SessionInfo, text_response};

/// Fields of a request that mean nothing in an upgrade; RFC 6455 knows no body.
const NOT_IN_UPGRADE: [HeaderName; 4] = [EXPECT, TE, TRAILER, SEC_WEBSOCKET_ACCEPT];

/// Opens WebSockets at one neighbour.
#[derive(Clone)]
pub struct WebSocket {
    neighbour: Arc<Neighbour>,
}

/// An upgrade request in the form that the device gets.
struct Upgrade {
    target: String,
    headers: HeaderMap,
    key: String,
}

/// What became of an upgrade request.
pub(super) enum Opened {
    /// The device's end waits for the remote's.
    Stands(Box<Standing>),
    /// The device's own refusal.
    Refused(Response),
}

/// A WebSocket at the device.
pub(super) struct Standing {
    /// For the remote.
    pub headers: HeaderMap,
    /// What stands behind the head.
    pub device: DeviceEnd<OwnedReadHalf, OwnedWriteHalf>,
}

/// Why there is neither a WebSocket nor a refusal of the device.
pub(super) enum NotOpened {
    /// The request itself.
    Invalid(Refusal),
    /// The device.
    Device(Fault),
}

impl WebSocket {
    /// A handler that shares the neighbour with others. Takes requests with `:protocol` `websocket` only.
    pub(super) fn of(neighbour: Arc<Neighbour>) -> Self {
        Self { neighbour }
    }

    pub(super) async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        match self.try_open(parts).await {
            Ok(Opened::Stands(standing)) => self.joined(*standing, body),
            Ok(Opened::Refused(response)) => response,
            Err(NotOpened::Invalid(refusal)) => text_response(refusal.status, refusal.sentence),
            Err(NotOpened::Device(fault)) => self.neighbour.fault(fault),
        }
    }

    /// Opens the WebSocket at the device, or brings its refusal. The request's body is not touched yet, so that another way
    /// can be tried.
    ///
    /// # Errors
    /// [`NotOpened`]: the request is wrong, or the device did not answer as it must.
    pub(super) async fn try_open(&self, parts: Parts) -> Result<Opened, NotOpened> {
        let upgrade = self.upgrade(parts).map_err(NotOpened::Invalid)?;
        let opened = self.open(upgrade).await.map_err(NotOpened::Device)?;
        self.neighbour.answered();
        Ok(opened)
    }

    /// Joins a WebSocket that stands at the device with the request's body.
    pub(super) fn joined(&self, standing: Standing, body: Body) -> Response {
        // 101 has no meaning in HTTP/2: 200 says that the WebSocket stands (RFC 8441 §5).
        let mut response = Response::new(join(standing.device, body, &self.neighbour.tasks));
        *response.headers_mut() = standing.headers;
        response
    }

    /// The upgrade request for the device (RFC 6455 §4.1).
    fn upgrade(&self, parts: Parts) -> Result<Upgrade, Refusal> {
        let target = target(&Method::GET, &parts.uri)?.to_string();
        let asked = parts.uri.authority().map(http::uri::Authority::as_str);
        let remote = parts.extensions.get::<SessionInfo>().map(|session| session.remote);
        let mut headers = parts.headers;
        headers::to_device(&mut headers, &self.neighbour.own, asked, remote)?;
        for name in NOT_IN_UPGRADE {
            headers.remove(name);
        }
        let key = generate_key();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_str(&key).expect("base64 is ASCII"));
        headers.entry(SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
        Ok(Upgrade { target, headers, key })
    }

    async fn open(&self, upgrade: Upgrade) -> Result<Opened, Fault> {
        let limits = &self.neighbour.limits;
        let permits = self.neighbour.endless_permits().await?;
        let mut stream = dial(self.neighbour.address, limits).await?;
        let head = head::request("GET", &upgrade.target, Version::HTTP_11, &upgrade.headers);
        let answer = timeout(limits.head, ask(&mut stream, &head)).await.map_err(|_| Fault::HeadTimeout)??;
        if answer.status != StatusCode::SWITCHING_PROTOCOLS {
            if answer.status.is_success() {
                // To the remote a 2xx would mean that the WebSocket stands.
                return Err(Fault::Upgrade(format!("it is {} instead of 101", answer.status)));
            }
            return Ok(Opened::Refused(refusal::response(answer, &mut stream, limits).await?));
        }
        let (headers, early) = switched(answer, &upgrade)?;
        let (reader, writer) = stream.into_split();
        let device = DeviceEnd { reader, writer, early, broken: Reason::CANCEL, permits };
        Ok(Opened::Stands(Box::new(Standing { headers, device })))
    }
}

async fn ask(stream: &mut TcpStream, head: &[u8]) -> Result<Answer, Fault> {
    stream.write_all(head).await.map_err(|_| Fault::Closed)?;
    read_answer(stream).await
}

/// Checks the 101 (RFC 6455 §4.1) and gives its fields for the remote, with the first bytes of the WebSocket.
fn switched(answer: Answer, upgrade: &Upgrade) -> Result<(HeaderMap, Bytes), Fault> {
    let Answer { version, status, mut headers, early } = answer;
    let wrong = |what: &str| Err(Fault::Upgrade(what.to_owned()));
    if version != Version::HTTP_11
        || !lists(&headers, &UPGRADE, "websocket")
        || !lists(&headers, &CONNECTION, "upgrade")
    {
        return wrong("its 101 is not one to WebSocket");
    }
    match headers.get(SEC_WEBSOCKET_ACCEPT) {
        None => return wrong("it has no Sec-WebSocket-Accept"),
        Some(accept) if accept.as_bytes() != derive_accept_key(upgrade.key.as_bytes()).as_bytes() => {
            return wrong("its Sec-WebSocket-Accept is not that of our key");
        }
        Some(_) => {}
    }
    if let Some(chosen) = headers.get(SEC_WEBSOCKET_PROTOCOL) {
        let offered = chosen.to_str().is_ok_and(|chosen| lists(&upgrade.headers, &SEC_WEBSOCKET_PROTOCOL, chosen));
        if !offered {
            return wrong("it chose a subprotocol that was not offered");
        }
    }
    headers::to_remote(&mut headers, status, true).map_err(|sentence| Fault::Upgrade(sentence.to_owned()))?;
    headers.remove(CONTENT_LENGTH);
    headers.remove(SEC_WEBSOCKET_ACCEPT);
    Ok((headers, early))
}

/// Whether `name` lists `wanted`, whatever its case.
fn lists(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|element| element.trim().eq_ignore_ascii_case(wanted.trim()))
}

impl Handler for WebSocket {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let this = self.clone();
        Box::pin(async move { this.answer(request).await })
    }
}
