//! The WebSocket carrier: TCP, TLS, the WebSocket handshake, and then HTTP/2 in binary frames (ONVIF Uplink 26.06, WebSocket
//! h2c-reverse).

use bytes::Bytes;

use super::{
    Connected, Transport,
    carrier::stand,
    reach::Reach,
    upgrade::{Ask, upgrade},
    websocket::{End, WebSocketIo},
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
};

/// [`Transport`] for `wss` addresses.
#[derive(Clone, Debug)]
pub struct Wss {
    reach: Reach,
}

impl Wss {
    /// The scheme that it serves.
    pub const SCHEME: Scheme = Scheme::Wss;

    /// The transport; `reach` opens its sockets.
    pub fn new(reach: Reach) -> Self {
        Self { reach }
    }

    async fn establish(&self, uplink: &Uplink, grant: Grant, witness: &dyn Witness) -> Result<Connected, Failure> {
        let ask = Ask::websocket(uplink, grant.token.as_ref())?;
        let mut standing = stand(&self.reach, uplink, grant.tls, witness).await?;
        let early = upgrade(&mut standing.stream, &ask, witness).await?;
        witness.saw(Step::Upgraded);
        // What came behind the 101 is of the WebSocket; HTTP/2 begins within it.
        let stream = WebSocketIo::new(standing.stream, early, End::Device).await;
        Ok(Connected {
            stream: Box::new(stream),
            early: Bytes::new(),
            peer: standing.peer,
            local: standing.local,
            tls: standing.tls,
        })
    }
}

impl Transport for Wss {
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
