//! Which way a request takes to the device: by its method, its `:protocol` (RFC 8441) and what the device speaks.
//!
//! A further kind of request is one more handler and one more line in [`Routes::handle`].

use std::sync::Arc;

use h2::ext::Protocol;
use http::{Method, StatusCode, header::CONTENT_LENGTH};

use super::{
    connect::Connect, h2c::H2c, limits::Limits, loopback::Loopback, neighbour::Neighbour, websocket::WebSocket,
};
use crate::{
    base::http::{BoxFuture, Handler, Request, Response, text_response},
    model::device::{Device, DeviceScheme},
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
        let connect = Connect::of(Arc::clone(&neighbour), device.connect_ports.clone());
        if device.http.scheme() == DeviceScheme::H2c {
            let web: Arc<dyn Handler> = Arc::new(H2c::of(neighbour));
            return Self { websocket: Arc::clone(&web), web, connect };
        }
        Self {
            web: Arc::new(Loopback::of(Arc::clone(&neighbour))),
            websocket: Arc::new(WebSocket::of(neighbour)),
            connect,
        }
    }
}

impl Handler for Routes {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        if request.method() != Method::CONNECT {
            return self.web.handle(request);
        }
        if request.headers().contains_key(CONTENT_LENGTH) {
            return refuse(
                StatusCode::BAD_REQUEST,
                "CONNECT has no content-length: what follows has no known end (RFC 9110 §9.3.6)",
            );
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

fn refuse(status: StatusCode, sentence: &'static str) -> BoxFuture<'static, Response> {
    Box::pin(async move { text_response(status, sentence) })
}
