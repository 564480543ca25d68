//! Which way a request takes to the device: by its method, its `:protocol` (RFC 8441) and what the device speaks.
//!
//! A further kind of request is one more handler and one more line in [`Routes::handle`].

use std::sync::Arc;

use h2::ext::Protocol;
use http::{Method, StatusCode};

use super::{connect::Connect, limits::Limits, loopback::Loopback, neighbour::Neighbour, websocket::WebSocket};
use crate::{
    base::http::{BoxFuture, Handler, Request, Response, text_response},
    model::device::Device,
};

/// The `:protocol` of a WebSocket (RFC 8441 §5).
const WEBSOCKET: &str = "websocket";

/// Answers all requests for one device. It belongs to one runtime: its connections live where its futures are polled.
pub struct Routes {
    web: Arc<dyn Handler>,
    websocket: Arc<dyn Handler>,
    connect: Connect,
}

impl Routes {
    /// The ways to `device`. Must be used within a tokio runtime.
    pub fn new(device: &Device) -> Self {
        Self::with_limits(device, Limits::default())
    }

    /// The same with other bounds.
    pub fn with_limits(device: &Device, limits: Limits) -> Self {
        let neighbour = Neighbour::new(device.http, device.name.clone(), limits);
        Self {
            web: Arc::new(Loopback::of(Arc::clone(&neighbour))),
            websocket: Arc::new(WebSocket::of(Arc::clone(&neighbour))),
            connect: Connect::of(neighbour, device.connect_ports.clone()),
        }
    }
}

impl Handler for Routes {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        if request.method() != Method::CONNECT {
            return self.web.handle(request);
        }
        match request.extensions().get::<Protocol>().map(|protocol| protocol.as_str().to_ascii_lowercase()).as_deref() {
            None => self.connect.handle(request),
            Some(WEBSOCKET) => self.websocket.handle(request),
            Some(_) => Box::pin(async {
                let sentence = "the only :protocol that is forwarded is `websocket`";
                text_response(StatusCode::NOT_IMPLEMENTED, sentence)
            }),
        }
    }
}
