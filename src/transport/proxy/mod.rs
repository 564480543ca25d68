//! Egress proxies: which one an uplink uses, and how it is asked for the way to the remote.
//!
//! - [`choice`]: settings of the uplink before those of the environment, `NO_PROXY` honoured; credentials from files.
//! - [`tunnel`]: CONNECT over http and https proxies (RFC 9110 §9.3.6).
//! - [`socks`]: SOCKS 5 (RFC 1928, RFC 1929).
//!
//! Every failure names the proxy; the remote's name is always resolved by the proxy.

pub mod choice;
pub(super) mod socks;
pub(super) mod tunnel;

use std::time::Duration;

use crate::{
    base::secret::Secret,
    model::{
        failure::{Cause, Failure},
        network::ProxyAddress,
    },
};

/// How long a proxy may take to open the way: it resolves and dials itself meanwhile.
pub(super) const ANSWER: Duration = Duration::from_secs(15);

/// A proxy with what it wants to know of us.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) address: ProxyAddress,
    pub(super) credentials: Option<Credentials>,
}

/// User name and password of a proxy.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: Secret,
}

impl Proxy {
    /// A failure that names this proxy.
    pub(super) fn failure(&self, cause: Cause, sentence: impl std::fmt::Display) -> Failure {
        Failure::new(cause, format!("the proxy {} {sentence}", self.address))
    }
}
