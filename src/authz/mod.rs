//! L3: who we are to the remote (ONVIF Uplink §5.3). An [`Authorizer`] turns the configured authorization of an uplink
//! into a [`Grant`]: what the transport needs to connect.

use std::{sync::Arc, time::SystemTime};

use tokio::sync::watch;

use crate::{
    base::{http::BoxFuture, secret::Secret},
    model::{authorization::AuthorizationMode, failure::Failure, uplink::Uplink},
};

pub mod mtls;

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
    fn grant<'a>(&'a self, uplink: &'a Uplink) -> BoxFuture<'a, Result<Grant, Failure>>;

    /// Changes its value whenever what `uplink` refers to (certificate, key, anchors) changed its content.
    fn changes(&self, uplink: &Uplink) -> watch::Receiver<u64>;
}
