//! RTSP through the uplink: RTSP over HTTP and RTSP over WebSocket, to the device's own service or to its RTSP port (ONVIF
//! Uplink, Media Streaming; ONVIF Streaming; RFC 2326).
//!
//! ```text
//! GET  (h2 stream) <- raw bytes <-  [device's web service | RTSP port]      what the device says: never parsed, never copied
//! POST (h2 stream) -> base64    ->  [as it is             | decoded  ]      what the remote says: whole messages and frames
//! WebSocket        <> frames    <>  [as they are          | taken off, put on]
//! ```
//!
//! - [`request`]: which requests these are.
//! - [`way`], [`probe`]: which way they take, and how that is found out.
//! - [`pair`], [`viewer`], [`post`]: one conversation of RTSP over HTTP: its two requests and their ends.
//! - [`control`], [`base64`], [`websocket`]: the bridge.

pub mod base64;
pub mod control;
pub mod limits;
mod pair;
mod post;
pub mod probe;
pub mod request;
mod viewer;
pub mod way;
pub mod websocket;

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use h2::Reason;
use http::{
    HeaderMap, HeaderValue, StatusCode, Version,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, PRAGMA, SEC_WEBSOCKET_PROTOCOL},
    request::Parts,
};
use tokio::{io::AsyncWriteExt, net::tcp::OwnedReadHalf, time::timeout};

use self::{
    control::TunnelledControl,
    limits::Times,
    pair::{Claim, Pairs, Sink},
    request::{Carrier, SESSION_COOKIE, SUBPROTOCOL, SessionCookie, TUNNELLED, is_tunnelled},
    viewer::Viewer,
    way::{PairWay, Way, WebSocketWay},
};
use super::{
    dial::dial,
    fault::Fault,
    head, headers,
    neighbour::Neighbour,
    pool::Permit,
    refusal,
    target::{Refusal, target},
    tunnel::{DeviceEnd, join},
    websocket::{NotOpened, Opened, WebSocket},
};
use crate::base::http::{Body, Handler, Request, Response, SessionInfo, text_response};

/// Carries RTSP to one neighbour for one uplink.
pub struct Rtsp {
    neighbour: Arc<Neighbour>,
    way: Arc<Way>,
    pairs: Arc<Pairs>,
    times: Times,
    websocket: WebSocket,
    ordinary: Ordinary,
}

/// What answers requests as if they carried no RTSP.
pub(super) struct Ordinary {
    /// Requests.
    pub web: Arc<dyn Handler>,
    /// WebSockets.
    pub websocket: Arc<dyn Handler>,
}

/// A request of a pair in the form that the device's web service gets.
struct Outgoing {
    target: String,
    headers: HeaderMap,
}

impl Rtsp {
    /// Shares the neighbour with the other ways to it.
    pub(super) fn new(neighbour: Arc<Neighbour>, way: Arc<Way>, ordinary: Ordinary, times: Times) -> Self {
        let websocket = WebSocket::of(Arc::clone(&neighbour));
        Self { neighbour, way, pairs: Arc::default(), times, websocket, ordinary }
    }

    /// Answers a request that carries RTSP by `carrier`.
    pub async fn answer(&self, carrier: Carrier, request: Request) -> Response {
        let (cookie, is_get) = match carrier {
            Carrier::WebSocket { named } => return self.websocket(named, request).await,
            Carrier::Get(cookie) => (cookie, true),
            Carrier::Post(cookie) => (cookie, false),
        };
        let way = self.way.of_pair(self.times.answer).await;
        if way == PairWay::Requests {
            return self.ordinary.web.handle(request).await;
        }
        let answer = if is_get { self.get(cookie, way, request).await } else { self.post(&cookie, request).await };
        match answer {
            Ok(response) => response,
            Err(Failed::Refused(refusal)) => text_response(refusal.status, refusal.sentence),
            Err(Failed::Device(fault)) => {
                if !matches!(fault, Fault::Busy | Fault::StreamsBusy) {
                    self.way.failed("a conversation of RTSP could not be opened at the device");
                }
                self.neighbour.fault(fault)
            }
        }
    }

    /// The GET makes the conversation. Its answer lasts as long as that.
    async fn get(&self, cookie: SessionCookie, way: PairWay, request: Request) -> Result<Response, Failed> {
        let (parts, _) = request.into_parts();
        let claim = self.pairs.claim(cookie.clone())?;
        let permits = self.neighbour.endless_permits().await?;
        match way {
            PairWay::Bridge(address) => self.bridged_get(address, claim, permits).await,
            PairWay::Device | PairWay::Requests => {
                let outgoing = self.outgoing(parts, &cookie, &[(ACCEPT, TUNNELLED)])?;
                self.devices_get(&outgoing, claim, permits).await
            }
        }
    }

    async fn bridged_get(&self, address: SocketAddr, claim: Claim, permits: Vec<Permit>) -> Result<Response, Failed> {
        let (reader, writer) = dial(address, &self.neighbour.limits).await?.into_split();
        claim.open(Sink::Bridge(Box::new((writer, TunnelledControl::default())))).await;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(TUNNELLED));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let viewer = self.viewer(reader, Bytes::new(), claim, permits).that_must_be_rtsp(Arc::clone(&self.way));
        Ok(response(headers, Body::new(viewer)))
    }

    /// The device's own service gets the GET on a connection of its own. What it refuses goes back as it is.
    async fn devices_get(&self, outgoing: &Outgoing, claim: Claim, permits: Vec<Permit>) -> Result<Response, Failed> {
        let limits = &self.neighbour.limits;
        let mut stream = dial(self.way.web, limits).await?;
        let head = head::request("GET", &outgoing.target, Version::HTTP_11, &outgoing.headers);
        stream.write_all(&head).await.map_err(|_| Fault::Closed)?;
        // Now, not after the answer: some servers answer when both are there.
        claim.open(Sink::Device).await;
        let answer = head::read_answer(&mut stream);
        let mut answer = timeout(self.times.answer, answer).await.map_err(|_| Fault::HeadTimeout)??;
        self.neighbour.answered();
        if answer.status != StatusCode::OK || !is_tunnelled(&answer.headers) {
            return Ok(refusal::response(answer, &mut stream, limits).await?);
        }
        self.way.http_works();
        let status = answer.status;
        // A length is one more customary fiction: the answer ends with the connection.
        answer.headers.remove(CONTENT_LENGTH);
        headers::to_remote(&mut answer.headers, status, false).map_err(|why| Fault::Malformed(why.to_owned()))?;
        let (reader, writer) = stream.into_split();
        // Nothing more is said on this connection; many servers take a half-close for the end of the conversation.
        let viewer = self.viewer(reader, answer.early, claim, permits).keeping(writer);
        Ok(response(answer.headers, Body::new(viewer)))
    }

    fn viewer(&self, reader: OwnedReadHalf, early: Bytes, claim: Claim, permits: Vec<Permit>) -> Viewer<OwnedReadHalf> {
        Viewer::new(reader, early, claim, permits, self.times.silence)
    }

    /// The request for the device's web service: the text that every player writes, then the fields of the remote by the rules of
    /// ordinary requests.
    fn outgoing(
        &self,
        mut parts: Parts,
        cookie: &SessionCookie,
        customary: &[(http::HeaderName, &str)],
    ) -> Result<Outgoing, Refusal> {
        let target = target(&parts.method, &parts.uri)?.to_string();
        let asked = parts.uri.authority().map(http::uri::Authority::as_str);
        let remote = parts.extensions.get::<SessionInfo>().map(|session| session.remote);
        headers::to_device(&mut parts.headers, &self.neighbour.own, asked, remote)?;
        let mut headers = HeaderMap::new();
        headers.insert(http::header::HOST, self.neighbour.own.clone());
        headers.insert(SESSION_COOKIE, cookie.0.clone());
        for (name, value) in customary {
            headers.insert(name, HeaderValue::from_str(value).map_err(|_| Refusal::bad_request("a field is invalid"))?);
        }
        headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        for name in [CONTENT_LENGTH, EXPECT, http::header::CONNECTION, http::header::TE] {
            parts.headers.remove(name);
        }
        for (name, value) in &parts.headers {
            if !headers.contains_key(name) || parts.headers.get_all(name).iter().nth(1).is_some() {
                headers.append(name, value.clone());
            }
        }
        Ok(Outgoing { target, headers })
    }

    async fn websocket(&self, named: bool, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let address = match self.way.of_websocket(named) {
            WebSocketWay::Bridge(address) => address,
            WebSocketWay::Device => return self.ordinary.websocket.handle(Request::from_parts(parts, body)).await,
            WebSocketWay::DeviceElseBridge(address) => {
                match timeout(self.times.answer, self.websocket.try_open(parts.clone())).await {
                    Ok(Ok(Opened::Stands(standing))) => {
                        self.way.websocket_works(true);
                        return self.websocket.joined(*standing, body);
                    }
                    Ok(Err(NotOpened::Invalid(refusal))) => return text_response(refusal.status, refusal.sentence),
                    Ok(Ok(Opened::Refused(_)) | Err(NotOpened::Device(Fault::Upgrade(_)))) => {
                        self.way.websocket_works(false);
                    }
                    // Says nothing about what it can; the bridge may work all the same.
                    Ok(Err(NotOpened::Device(_))) | Err(_) => {}
                }
                address
            }
        };
        match self.bridged_websocket(address, &parts.headers, body).await {
            Ok(response) => response,
            Err(fault) => {
                self.way.failed("a conversation of RTSP could not be opened at the device");
                self.neighbour.fault(fault)
            }
        }
    }

    async fn bridged_websocket(&self, address: SocketAddr, offered: &HeaderMap, body: Body) -> Result<Response, Fault> {
        let permits = self.neighbour.endless_permits().await?;
        let (reader, writer) = dial(address, &self.neighbour.limits).await?.into_split();
        let (reader, writer) = websocket::around(reader, writer);
        let device = DeviceEnd { reader, writer, early: Bytes::new(), broken: Reason::CANCEL, permits };
        let mut headers = HeaderMap::new();
        if offered.contains_key(SEC_WEBSOCKET_PROTOCOL) {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        Ok(response(headers, join(device, body, &self.neighbour.tasks)))
    }
}

/// Why a request of a pair has no answer of the device.
enum Failed {
    /// The request's own doing.
    Refused(Refusal),
    /// The device's.
    Device(Fault),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Device(fault)
    }
}

fn response(headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}
