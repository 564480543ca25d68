//! The native carrier: TCP, TLS, the upgrade, and then HTTP/2 straight on the TLS connection (ONVIF Uplink §5.1).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, CommonState, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{Connected, Transport, dial::dial, upgrade::upgrade};
use crate::{
    authz::Grant,
    base::http::BoxFuture,
    model::{
        address::{RemoteAddress, Scheme},
        failure::{Cause, Failure},
        status::TlsFacts,
        uplink::Uplink,
    },
    tls::{client::server_name, refusal, stream::TlsStream},
};

/// How long the TLS handshake may take: three round trips over a bad mobile link, and slow signatures.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// [`Transport`] for `https` addresses, and for bare `host:port` ones (quirk Q7).
#[derive(Clone, Copy, Debug, Default)]
pub struct Https;

impl Https {
    /// The scheme that it serves.
    pub const SCHEME: Scheme = Scheme::Https;

    /// The transport; it has no state of its own.
    pub fn new() -> Self {
        Self
    }
}

impl Transport for Https {
    fn scheme(&self) -> Scheme {
        Self::SCHEME
    }

    fn connect<'a>(&'a self, uplink: &'a Uplink, grant: Grant) -> BoxFuture<'a, Result<Connected, Failure>> {
        Box::pin(connect(uplink, grant))
    }
}

async fn connect(uplink: &Uplink, grant: Grant) -> Result<Connected, Failure> {
    let remote = &uplink.remote;
    let name = server_name(remote.host())?;
    let socket = dial(remote).await?;
    let peer = socket.peer_addr().map_err(|error| {
        Failure::new(Cause::Unreachable, format!("{remote} closed the connection at once: {error}"))
    })?;
    let mut stream = handshake(socket, remote, peer, Arc::clone(&grant.tls), name).await?;
    let early = upgrade(&mut stream, remote, grant.token.as_ref()).await?;
    let tls = facts(stream.tls());
    Ok(Connected { stream: Box::new(stream), early, peer, tls })
}

/// TLS on `socket`, the connection to `remote` at `peer`, within [`HANDSHAKE`]. Cancel safe: dropping the future drops `socket`.
async fn handshake<S>(
    socket: S,
    remote: &RemoteAddress,
    peer: SocketAddr,
    tls: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<TlsStream<S>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match timeout(HANDSHAKE, TlsStream::connect(socket, tls, name)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(refusal::of_handshake(&remote.to_string(), &error)),
        Err(_) => Err(Failure::new(
            Cause::TlsTimeout,
            format!(
                "{remote} ({peer}) took the connection and did not finish the TLS handshake within {} s; check that the port speaks TLS",
                HANDSHAKE.as_secs()
            ),
        )),
    }
}

/// What TLS came to, by the names of the IANA registry.
fn facts(tls: &CommonState) -> TlsFacts {
    TlsFacts {
        version: tls.protocol_version().and_then(|version| version.as_str()).unwrap_or_default().replace('_', "."),
        cipher: tls.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default().to_owned(),
        group: tls
            .negotiated_key_exchange_group()
            .and_then(|group| group.name().as_str())
            .unwrap_or_default()
            .to_owned(),
    }
}

#[cfg(test)]
#[path = "https_tests.rs"]
mod tests;
