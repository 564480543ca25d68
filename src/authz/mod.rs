//! L3: who we are to the remote (ONVIF Uplink §5.3). An [`Authorizer`] turns the configured authorization of an uplink
//! into a [`Grant`]: what the transport needs to connect.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    base::{http::BoxFuture, secret::Secret},
    model::{authorization::AuthorizationMode, failure::Failure, network::Network, step::Witness, uplink::Uplink},
};

pub mod mtls;
pub mod token;
pub mod unauthenticated;

/// The usable result of an authorization; good for one attempt.
#[derive(Clone, Debug)]
pub struct Grant {
    /// TLS as client of the remote: identity, trust, ALPN.
    pub tls: Arc<rustls::ClientConfig>,
    /// Bearer token for the upgrade request.
    pub token: Option<Secret>,
    /// End of the client certificate.
    pub certificate_expiry: Option<SystemTime>,
}

/// One way to show the remote who we are. Object-safe: app.rs registers one implementation per mode.
pub trait Authorizer: Send + Sync + 'static {
    /// Which of the specification's modes this serves.
    fn mode(&self) -> AuthorizationMode;

    /// Reads what `uplink` refers to, anew at each attempt. Cancel safe.
    ///
    /// # Errors
    /// A [`Failure`] with a cause of the phase authorize: the uplink stays offline and tries again.
    fn grant<'a>(&'a self, uplink: &'a Uplink, witness: &'a dyn Witness) -> BoxFuture<'a, Result<Grant, Failure>>;

    /// The remote answered 401 to a grant with this token: it is dropped if it still is the one in use. Returns whether a grant that is made anew
    /// may fare better; then one more attempt follows at once, and no second.
    fn refused(&self, _uplink: &Uplink, _token: &Secret) -> bool {
        false
    }

    /// Changes its value whenever what `uplink` refers to (certificate, key, anchors) changed its content.
    fn changes(&self, uplink: &Uplink) -> watch::Receiver<u64>;
}

/// How authorizers ask servers: one HTTP exchange over TLS, by the way out that the transport opens. The transport lies
/// above this room; the root joins them.
pub trait Fetch: Send + Sync + 'static {
    /// Sends `request` (absolute `https` URI) and returns the whole answer, whatever its status; its body is bounded.
    /// Redirects are not followed. Cancel safe: dropping the future closes the connection.
    ///
    /// # Errors
    /// A [`Failure`] with a cause of the phase that failed (resolve, dial, proxy, tls), or
    /// [`crate::model::failure::Cause::AuthorizationServerUnreachable`] for the exchange itself.
    fn fetch<'a>(
        &'a self,
        request: http::Request<Bytes>,
        tls: Arc<rustls::ClientConfig>,
        network: &'a Network,
    ) -> BoxFuture<'a, Result<http::Response<Bytes>, Failure>>;
}
