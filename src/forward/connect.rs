//! CONNECT: a raw TCP connection to a port of the device that the configuration allows (RFC 9113 §8.5).
//!
//! For what has no HTTP form: RTSP over TCP as it is, ssh to a recorder. Off unless `connectPorts` names ports. The address
//! dialed is that of the device's web service; the request only chooses a port of the list. Any other request is refused
//! with 403, told in the log and counted, because it may be the first sign of somebody who looks around.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use h2::Reason;
use http::{StatusCode, request::Parts, uri::Authority};
use tokio::time::Instant;

use super::{
    dial::dial,
    fault::Fault,
    neighbour::Neighbour,
    tunnel::{DeviceEnd, join},
};
use crate::base::http::{BoxFuture, ConnectRefused, Handler, Request, Response, text_response};

/// Refusals are a warning at most this often; the next warning says how many there were.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Opens raw connections to one neighbour.
#[derive(Clone)]
pub struct Connect {
    neighbour: Arc<Neighbour>,
    ports: Arc<BTreeSet<u16>>,
    refusals: Arc<Mutex<Refusals>>,
}

/// Refusals that no warning has told yet.
#[derive(Debug, Default)]
struct Refusals {
    warned: Option<Instant>,
    silent: u64,
}

impl Connect {
    /// A handler that shares the neighbour with others and allows these ports. Takes requests with the method CONNECT and
    /// without `:protocol` only.
    pub(super) fn of(neighbour: Arc<Neighbour>, ports: BTreeSet<u16>) -> Self {
        Self { neighbour, ports: Arc::new(ports), refusals: Arc::default() }
    }

    async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let port = match self.allowed(&parts) {
            Ok(port) => port,
            Err(sentence) => return self.refused(&sentence),
        };
        match self.open(port).await {
            Ok(device) => Response::new(join(device, body, &self.neighbour.tasks)),
            Err(fault) => self.failed(port, &fault),
        }
    }

    /// The port asked for, if the device may be reached there.
    fn allowed(&self, parts: &Parts) -> Result<u16, String> {
        let authority = parts.uri.authority().ok_or("CONNECT names no host and port")?;
        if !self.is_the_device(authority) {
            return Err(format!(
                "CONNECT reaches only the device itself: ask for {}:PORT or localhost:PORT",
                self.neighbour.name
            ));
        }
        let port = authority.port_u16().ok_or("CONNECT names no port")?;
        if self.ports.is_empty() {
            return Err(format!("CONNECT to port {port} is not allowed: the device has no connectPorts configured"));
        }
        if !self.ports.contains(&port) {
            return Err(format!("CONNECT to port {port} is not allowed: it is not one of the device's connectPorts"));
        }
        Ok(port)
    }

    fn is_the_device(&self, authority: &Authority) -> bool {
        let host = authority.host();
        // A user name before the host is no part of the request's target (RFC 9113 §8.5).
        !authority.as_str().contains('@')
            && (host.eq_ignore_ascii_case(&self.neighbour.name)
                || host.eq_ignore_ascii_case("localhost")
                || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
    }

    fn refused(&self, sentence: &str) -> Response {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.warned.is_some_and(|warned| warned.elapsed() < WARN_EVERY) {
            refusals.silent += 1;
            tracing::debug!(device = self.neighbour.name, "refused: {sentence}");
        } else {
            tracing::warn!(device = self.neighbour.name, refused_since = refusals.silent, "refused: {sentence}");
            *refusals = Refusals { warned: Some(Instant::now()), silent: 0 };
        }
        let mut response = text_response(StatusCode::FORBIDDEN, sentence);
        response.extensions_mut().insert(ConnectRefused);
        response
    }

    async fn open(
        &self,
        port: u16,
    ) -> Result<DeviceEnd<tokio::net::tcp::OwnedReadHalf, tokio::net::tcp::OwnedWriteHalf>, Fault> {
        let permits = self.neighbour.endless_permits().await?;
        let address = SocketAddr::new(self.neighbour.address.ip(), port);
        let (reader, writer) = dial(address, &self.neighbour.limits).await?.into_split();
        Ok(DeviceEnd { reader, writer, early: Bytes::new(), broken: Reason::CONNECT_ERROR, permits })
    }

    /// The answer when the port cannot be reached. It says nothing about the device's web service, so its health stays.
    fn failed(&self, port: u16, fault: &Fault) -> Response {
        tracing::debug!(device = self.neighbour.name, port, "CONNECT failed: {fault}");
        let sentence = match fault {
            Fault::Down(kind) => format!("port {port} of the device does not accept connections ({kind})"),
            Fault::ConnectTimeout => format!("port {port} of the device did not accept the connection in time"),
            _ => return fault.response(),
        };
        text_response(fault.status(), &sentence)
    }
}

impl Handler for Connect {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let this = self.clone();
        Box::pin(async move { this.answer(request).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::http::Body, forward::limits::Limits, model::device::LoopbackUrl};

    fn connect(ports: &[u16]) -> Connect {
        let url = LoopbackUrl::parse("http://127.0.0.1:8080").expect("loopback");
        Connect::of(Neighbour::new(url, "camera-1", Limits::default()), ports.iter().copied().collect())
    }

    fn allowed(ports: &[u16], authority: &str) -> Result<u16, String> {
        let uri = http::Uri::builder().authority(authority).build().expect("an authority");
        let (parts, _) = http::Request::connect(uri).body(()).expect("valid").into_parts();
        connect(ports).allowed(&parts)
    }

    #[tokio::test]
    async fn the_device_is_its_name_localhost_or_a_loopback_address() {
        for authority in ["camera-1:22", "Camera-1:22", "localhost:22", "127.0.0.1:22", "127.9.9.9:22", "[::1]:22"] {
            assert_eq!(allowed(&[22, 554], authority), Ok(22), "{authority}");
        }
    }

    #[tokio::test]
    async fn other_hosts_and_ports_are_refused_with_the_reason() {
        for (ports, authority, reason) in [
            (&[22][..], "192.0.2.1:22", "only the device itself"),
            (&[22], "camera-2:22", "only the device itself"),
            (&[22], "0.0.0.0:22", "only the device itself"),
            (&[22], "127.0.0.1.example.com:22", "only the device itself"),
            (&[22], "root@localhost:22", "only the device itself"),
            (&[22], "localhost:23", "port 23 is not allowed"),
            (&[22], "localhost", "no port"),
            (&[], "localhost:22", "no connectPorts configured"),
        ] {
            let refused = allowed(ports, authority).expect_err(authority);
            assert!(refused.contains(reason), "{authority}: {refused}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_marked_and_warn_once_a_minute() {
        let connect = connect(&[22]);
        let ask = || {
            let uri = http::Uri::builder().authority("localhost:23").build().expect("an authority");
            connect.handle(http::Request::connect(uri).body(Body::empty()).expect("valid"))
        };
        let refused = ask().await;
        assert_eq!(refused.status(), 403);
        assert!(refused.extensions().get::<ConnectRefused>().is_some());
        ask().await;
        ask().await;
        assert_eq!(connect.refusals.lock().expect("no panic").silent, 2);
        tokio::time::advance(WARN_EVERY).await;
        ask().await;
        assert_eq!(connect.refusals.lock().expect("no panic").silent, 0);
    }
}
