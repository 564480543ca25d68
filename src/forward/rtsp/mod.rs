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
//! - [`mediated`], [`device_websocket`]: a conversation whose messages somebody may change, because the device wants credentials.

pub mod base64;
pub mod control;
pub mod device_websocket;
pub mod limits;
pub mod mediated;
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
    header::{
        ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, PRAGMA, SEC_WEBSOCKET_EXTENSIONS,
        SEC_WEBSOCKET_PROTOCOL,
    },
    request::Parts,
};
use tokio::{
    io::{AsyncRead, AsyncWriteExt},
    time::timeout,
};

use self::{
    control::TunnelledControl,
    limits::Times,
    mediated::Mediated,
    pair::{Claim, MediatedSink, Pairs, Sink},
    request::{
        Carrier, SESSION_COOKIE, SUBPROTOCOL, SessionCookie, TUNNELLED, is_tunnelled, no_mediation, no_port,
        only_its_port,
    },
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
    tunnel::{Cut, DeviceEnd, join},
    websocket::{NotOpened, Opened, Standing, WebSocket},
};
use crate::base::{
    http::{Body, Handler, Request, Response, SessionInfo, text_response},
    mediator::{Mediator, Mediators},
};

/// Carries RTSP to one neighbour for one uplink.
pub struct Rtsp {
    neighbour: Arc<Neighbour>,
    way: Arc<Way>,
    pairs: Arc<Pairs>,
    times: Times,
    websocket: WebSocket,
    ordinary: Ordinary,
    mediators: Option<Arc<dyn Mediators>>,
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
        Self { neighbour, way, pairs: Arc::default(), times, websocket, ordinary, mediators: None }
    }

    /// Lets one of `mediators` stand in each conversation.
    #[must_use]
    pub(super) fn mediated(self, mediators: Option<Arc<dyn Mediators>>) -> Self {
        Self { mediators, ..self }
    }

    /// Answers a request that carries RTSP by `carrier`.
    pub async fn answer(&self, carrier: Carrier, request: Request) -> Response {
        let (cookie, is_get) = match carrier {
            Carrier::WebSocket { named } => return self.websocket(named, request).await,
            Carrier::Get(cookie) => (cookie, true),
            Carrier::Post(cookie) => (cookie, false),
        };
        let way = match (only_its_port(&request), self.way.bridge) {
            (false, _) => self.way.of_pair(self.times.answer).await,
            (true, Some(address)) => PairWay::Bridge(address),
            (true, None) => return no_port(),
        };
        if way == PairWay::Requests {
            if self.mediators.is_some() {
                return no_mediation();
            }
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
        let conversation = Conversation { claim, permits, mediator: self.mediator().await };
        match way {
            PairWay::Bridge(address) => self.bridged_get(address, conversation).await,
            PairWay::Device | PairWay::Requests => {
                let outgoing = self.outgoing(parts, &cookie, &[(ACCEPT, TUNNELLED)])?;
                self.devices_get(&outgoing, conversation).await
            }
        }
    }

    async fn mediator(&self) -> Option<Box<dyn Mediator>> {
        Some(self.mediators.as_ref()?.conversation().await)
    }

    async fn bridged_get(&self, address: SocketAddr, conversation: Conversation) -> Result<Response, Failed> {
        let Conversation { claim, permits, mediator } = conversation;
        let (reader, writer) = dial(address, &self.neighbour.limits).await?.into_split();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(TUNNELLED));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let way = Arc::clone(&self.way);
        let body = match mediator {
            None => {
                claim.open(Sink::Bridge(Box::new((writer, TunnelledControl::default())))).await;
                Body::new(self.viewer(reader, Bytes::new(), claim, permits).that_must_be_rtsp(way))
            }
            Some(mediator) => {
                let mediated = Mediated::new(mediator, false);
                let to_device = mediated.to_device();
                to_device.attach(writer);
                claim.open(MediatedSink::of(to_device)).await;
                let reader = mediated.to_remote(reader, Bytes::new());
                Body::new(self.viewer(reader, Bytes::new(), claim, permits).that_must_be_rtsp(way))
            }
        };
        Ok(response(headers, body))
    }

    /// The device's own service gets the GET on a connection of its own. What it refuses goes back as it is.
    async fn devices_get(&self, outgoing: &Outgoing, conversation: Conversation) -> Result<Response, Failed> {
        let Conversation { claim, permits, mediator } = conversation;
        let mediated = mediator.map(|mediator| Mediated::new(mediator, true));
        let limits = &self.neighbour.limits;
        let mut stream = dial(self.way.web, limits).await?;
        let head = head::request("GET", &outgoing.target, Version::HTTP_11, &outgoing.headers);
        stream.write_all(&head).await.map_err(|_| Fault::Closed)?;
        // Now, not after the answer: some servers answer when both are there.
        claim.open(mediated.as_ref().map_or(Sink::Device, |mediated| MediatedSink::of(mediated.to_device()))).await;
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
        let body = match mediated {
            None => Body::new(self.viewer(reader, answer.early, claim, permits).keeping(writer)),
            Some(mediated) => {
                let reader = mediated.to_remote(reader, answer.early);
                Body::new(self.viewer(reader, Bytes::new(), claim, permits).keeping(writer))
            }
        };
        Ok(response(answer.headers, body))
    }

    fn viewer<R>(&self, reader: R, early: Bytes, claim: Claim, permits: Vec<Permit>) -> Viewer<R>
    where
        R: AsyncRead + Unpin,
    {
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
        let way = match (only_its_port(&request), self.way.bridge) {
            (false, _) => self.way.of_websocket(named),
            (true, Some(address)) => WebSocketWay::Bridge(address),
            (true, None) => return no_port(),
        };
        let (parts, body) = request.into_parts();
        let address = match way {
            WebSocketWay::Bridge(address) => address,
            WebSocketWay::Device if named && self.mediators.is_some() && !self.way.raw => return no_mediation(),
            WebSocketWay::Device if named && self.mediators.is_some() => {
                return match self.websocket.try_open(self.for_device(&parts)).await {
                    Ok(Opened::Stands(standing)) => self.joined(*standing, body).await,
                    Ok(Opened::Refused(response)) => response,
                    Err(NotOpened::Invalid(refusal)) => text_response(refusal.status, refusal.sentence),
                    Err(NotOpened::Device(fault)) => self.neighbour.fault(fault),
                };
            }
            WebSocketWay::Device => return self.ordinary.websocket.handle(Request::from_parts(parts, body)).await,
            WebSocketWay::DeviceElseBridge(address) => {
                match timeout(self.times.answer, self.websocket.try_open(self.for_device(&parts))).await {
                    Ok(Ok(Opened::Stands(standing))) => {
                        self.way.websocket_works(true);
                        return self.joined(*standing, body).await;
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
        let mut headers = HeaderMap::new();
        if offered.contains_key(SEC_WEBSOCKET_PROTOCOL) {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        Ok(response(headers, self.framed(reader, writer, permits, body).await))
    }

    /// Joins a connection of plain RTSP with the remote's WebSocket.
    async fn framed<R, W>(&self, reader: R, writer: W, permits: Vec<Permit>, body: Body) -> Body
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: Cut,
    {
        let (early, broken, tasks) = (Bytes::new(), Reason::CANCEL, &self.neighbour.tasks);
        match self.mediator().await {
            None => {
                let (reader, writer) = websocket::around(reader, writer);
                join(DeviceEnd { reader, writer, early, broken, permits }, body, tasks)
            }
            Some(mediator) => {
                let mediated = Mediated::new(mediator, false);
                let to_device = mediated.to_device();
                to_device.attach(writer);
                let (reader, writer) = websocket::around(mediated.to_remote(reader, Bytes::new()), to_device);
                join(DeviceEnd { reader, writer, early, broken, permits }, body, tasks)
            }
        }
    }

    /// Joins the device's own WebSocket of RTSP with the remote's.
    async fn joined(&self, standing: Standing, body: Body) -> Response {
        if self.mediators.is_none() {
            return self.websocket.joined(standing, body);
        }
        let Standing { headers, device: DeviceEnd { reader, writer, early, permits, .. } } = standing;
        let Ok(socket) = reader.reunite(writer) else { return self.neighbour.fault(Fault::Closed) };
        let (reader, writer) = device_websocket::open(socket, early).await;
        response(headers, self.framed(reader, writer, permits, body).await)
    }

    /// The request for a WebSocket at the device. Frames that a mediator reads and writes have no extensions.
    fn for_device(&self, parts: &Parts) -> Parts {
        let mut parts = parts.clone();
        if self.mediators.is_some() {
            parts.headers.remove(SEC_WEBSOCKET_EXTENSIONS);
        }
        parts
    }
}

/// A conversation that a GET begins.
struct Conversation {
    claim: Claim,
    permits: Vec<Permit>,
    mediator: Option<Box<dyn Mediator>>,
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
