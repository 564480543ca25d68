//! The native carrier: TCP, TLS, the upgrade, and then HTTP/2 straight on the TLS connection (ONVIF Uplink §5.1).

use bytes::Bytes;

use super::{
    Connected, Transport,
    carrier::stand,
    reach::Reach,
    upgrade::{Ask, upgrade},
};
use crate::{
    authz::Grant,
    base::http::BoxFuture,
    model::{
        address::Scheme,
        failure::Failure,
        lab::Handshake,
        step::{Step, Witness},
        uplink::Uplink,
    },
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
        let ask = Ask::native(uplink, grant.token.as_ref())?;
        let mut standing = stand(&self.reach, uplink, grant.tls, witness).await?;
        let early = match uplink.lab.handshake {
            Handshake::Upgrade => {
                let early = upgrade(&mut standing.stream, &ask, witness).await?;
                witness.saw(Step::Upgraded);
                early
            }
            // Quirk Q5: the remote speaks first.
            Handshake::None => Bytes::new(),
        };
        Ok(Connected { stream: standing.stream, early, peer: standing.peer, local: standing.local, tls: standing.tls })
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
