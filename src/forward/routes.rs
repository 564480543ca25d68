//! Which way a request takes to the device: by its method, its `:protocol` (RFC 8441) and what the device speaks.
//!
//! A further kind of request is one more handler and one more line in [`Routes::handle`].

use std::{collections::BTreeMap, sync::Arc};

use h2::ext::Protocol;
use http::{Method, StatusCode, header::CONTENT_LENGTH};

use super::{
    connect::Connect,
    h2c::H2c,
    limits::Limits,
    loopback::Loopback,
    neighbour::Neighbour,
    rtsp::{
        Ordinary, Rtsp,
        limits::Times,
        request::{carrier, no_port, only_its_port},
        way::Way,
    },
    websocket::WebSocket,
};
use crate::{
    base::{
        http::{BoxFuture, DevicePort, Handler, Request, Response, text_response},
        mediator::Mediators,
    },
    model::device::{Device, DeviceScheme},
};

/// The `:protocol` of a WebSocket (RFC 8441 §5).
const WEBSOCKET: &str = "websocket";

/// Answers all requests for one device. It belongs to one runtime: its connections live where its futures are polled.
pub struct Routes {
    web: Arc<dyn Handler>,
    websocket: Arc<dyn Handler>,
    connect: Connect,
    rtsp: Arc<Rtsp>,
    /// Web services at other ports of the device.
    further: BTreeMap<u16, Further>,
}

/// What answers at another port.
struct Further {
    web: Loopback,
    websocket: WebSocket,
}

impl Routes {
    /// The ways to `device`, with a way of RTSP that nobody probes. Must be used within a tokio runtime.
    pub fn new(device: &Device) -> Self {
        Self::with_limits(device, Limits::default())
    }

    /// The ways to `device`; `way` is that of RTSP, and one of `mediators` stands in each of its conversations.
    pub fn with_way(device: &Device, way: Arc<Way>, mediators: Option<Arc<dyn Mediators>>) -> Self {
        Self::build(device, way, mediators, Limits::default(), Times::default())
    }

    /// The same as [`Self::new`] with other bounds.
    pub fn with_limits(device: &Device, limits: Limits) -> Self {
        Self::with_bounds(device, Way::unwatched(device), limits, Times::default())
    }

    /// The same with other bounds.
    pub fn with_bounds(device: &Device, way: Arc<Way>, limits: Limits, times: Times) -> Self {
        Self::build(device, way, None, limits, times)
    }

    fn build(
        device: &Device,
        way: Arc<Way>,
        mediators: Option<Arc<dyn Mediators>>,
        limits: Limits,
        times: Times,
    ) -> Self {
        let neighbour = Neighbour::new(device.http, device.name.clone(), limits);
        let connect = Connect::of(Arc::clone(&neighbour), device.connect_ports.clone());
        let (web, websocket): (Arc<dyn Handler>, Arc<dyn Handler>) = match device.http.scheme() {
            DeviceScheme::H2c => {
                let web = Arc::new(H2c::of(Arc::clone(&neighbour)));
                (Arc::clone(&web) as Arc<dyn Handler>, web)
            }
            DeviceScheme::Http | DeviceScheme::Rtsp => {
                (Arc::new(Loopback::of(Arc::clone(&neighbour))), Arc::new(WebSocket::of(Arc::clone(&neighbour))))
            }
        };
        let ordinary = Ordinary { web: Arc::clone(&web), websocket: Arc::clone(&websocket) };
        let rtsp = Arc::new(Rtsp::new(neighbour, way, ordinary, times).mediated(mediators));
        let further = device.addresses.ports.iter().map(|port| {
            let neighbour = Neighbour::new(device.http.at_port(*port), device.name.clone(), limits);
            let websocket = WebSocket::of(Arc::clone(&neighbour));
            (*port, Further { web: Loopback::of(neighbour), websocket })
        });
        Self { web, websocket, connect, rtsp, further: further.collect() }
    }
}

impl Handler for Routes {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        if request.method() == Method::CONNECT && request.headers().contains_key(CONTENT_LENGTH) {
            return refuse(
                StatusCode::BAD_REQUEST,
                "CONNECT has no content-length: what follows has no known end (RFC 9110 §9.3.6)",
            );
        }
        if let Some(DevicePort(port)) = request.extensions().get().copied() {
            return self.at_port(port, request);
        }
        match carrier(&request) {
            Ok(Some(carrier)) => {
                let rtsp = Arc::clone(&self.rtsp);
                return Box::pin(async move { rtsp.answer(carrier, request).await });
            }
            // Whoever may use the RTSP port only may not use what is no RTSP.
            Ok(None) if only_its_port(&request) => return Box::pin(async { no_port() }),
            Ok(None) => {}
            Err(refusal) => return refuse(refusal.status, refusal.sentence),
        }
        if request.method() != Method::CONNECT {
            return self.web.handle(request);
        }
        match request.extensions().get::<Protocol>().map(|protocol| protocol.as_str().to_ascii_lowercase()).as_deref() {
            None => self.connect.handle(request),
            Some(WEBSOCKET) => self.websocket.handle(request),
            Some(_) => {
                refuse(StatusCode::NOT_IMPLEMENTED, "the only :protocol that is forwarded is `websocket` (RFC 8441)")
            }
        }
    }
}

impl Routes {
    /// Ordinary requests and WebSockets for another port of the device.
    fn at_port(&self, port: u16, request: Request) -> BoxFuture<'static, Response> {
        let Some(further) = self.further.get(&port) else {
            return refuse(StatusCode::NOT_FOUND, "this port of the device is not reachable through the uplink");
        };
        let protocol = request.extensions().get::<Protocol>().map(Protocol::as_str);
        match (request.method() == Method::CONNECT, protocol) {
            (false, _) => further.web.handle(request),
            (true, Some(WEBSOCKET)) => further.websocket.handle(request),
            (true, _) => refuse(StatusCode::NOT_IMPLEMENTED, "this port is for web requests and WebSockets"),
        }
    }
}

fn refuse(status: StatusCode, sentence: &'static str) -> BoxFuture<'static, Response> {
    Box::pin(async move { text_response(status, sentence) })
}
