//! L4: from an address and a grant to a byte stream on which the remote will speak HTTP/2 (ONVIF Uplink §5.1).

use std::net::SocketAddr;

use bytes::Bytes;

use crate::{
    authz::Grant,
    base::{http::BoxFuture, io::TurnStream},
    model::{address::Scheme, failure::Failure, status::TlsFacts, step::Witness, uplink::Uplink},
};

mod answer;
mod carrier;
mod dial;
pub mod fetch;
pub mod https;
mod open;
pub mod proxy;
mod queue;
pub mod reach;
mod secure;
pub mod socket;
pub mod upgrade;
pub mod websocket;
pub mod wss;

/// One way to carry an uplink. Object-safe: app.rs registers one implementation per scheme.
pub trait Transport: Send + Sync + 'static {
    /// Which scheme of RemoteAddress this serves.
    fn scheme(&self) -> Scheme;

    /// Dials, authenticates and upgrades, each phase under its own deadline; tells `witness` what it sees. Cancel safe: dropping the future closes the
    /// connection.
    ///
    /// # Errors
    /// A [`Failure`] that names the phase that failed and why.
    fn connect<'a>(
        &'a self,
        uplink: &'a Uplink,
        grant: Grant,
        witness: &'a dyn Witness,
    ) -> BoxFuture<'a, Result<Connected, Failure>>;
}

/// A connection after its upgrade: the next bytes are the remote's HTTP/2 preface.
pub struct Connected {
    /// The byte stream.
    pub stream: Box<dyn TurnStream>,
    /// Bytes of HTTP/2 that came together with the 101 (quirk Q4).
    pub early: Bytes,
    /// The other end of TCP: the remote, or a proxy.
    pub peer: SocketAddr,
    /// Our end of it.
    pub local: SocketAddr,
    /// What TLS came to.
    pub tls: TlsFacts,
}
