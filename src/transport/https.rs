//! The native carrier: TCP, TLS, the upgrade, and then HTTP/2 straight on the TLS connection (ONVIF Uplink §5.1).

use std::sync::Arc;

use super::{
    Connected, Transport,
    reach::{Destination, Reach, Reached},
    secure::{facts, handshake},
    upgrade::upgrade,
};
use crate::{
    authz::Grant,
    base::http::BoxFuture,
    model::{
        address::Scheme,
        failure::Failure,
        step::{Step, Witness},
        uplink::Uplink,
    },
    tls::client::server_name,
};

/// [`Transport`] for `https` addresses, and for bare `host:port` ones (quirk Q7).
#[derive(Clone, Debug)]
pub struct Https {
    reach: Reach,
}

impl Https {
    /// The scheme that it serves.
    pub const SCHEME: Scheme = Scheme::Https;

    /// The transport; `reach` opens its sockets.
    pub fn new(reach: Reach) -> Self {
        Self { reach }
    }

    async fn establish(&self, uplink: &Uplink, grant: Grant, witness: &dyn Witness) -> Result<Connected, Failure> {
        let remote = &uplink.remote;
        let name = server_name(remote.host())?;
        let destination = Destination { host: remote.host(), port: remote.port() };
        let Reached { socket, peer, local } = self.reach.open(destination, &uplink.network, witness).await?;
        let mut stream = handshake(socket, &remote.to_string(), peer, Arc::clone(&grant.tls), name, witness).await?;
        let early = upgrade(&mut stream, remote, grant.token.as_ref()).await?;
        witness.saw(Step::Upgraded);
        let tls = facts(stream.tls());
        Ok(Connected { stream: Box::new(stream), early, peer, local, tls })
    }
}

impl Transport for Https {
    fn scheme(&self) -> Scheme {
        Self::SCHEME
    }

    fn connect<'a>(
        &'a self,
        uplink: &'a Uplink,
        grant: Grant,
        witness: &'a dyn Witness,
    ) -> BoxFuture<'a, Result<Connected, Failure>> {
        Box::pin(self.establish(uplink, grant, witness))
    }
}

#[cfg(test)]
#[path = "https_tests.rs"]
mod tests;
