//! The native carrier: TCP, TLS, the upgrade, and then HTTP/2 straight on the TLS connection (ONVIF Uplink §5.1).

use std::{sync::Arc, time::Duration};

use rustls::CommonState;
use tokio::time::timeout;

use super::{Connected, Transport, dial::dial, upgrade::upgrade};
use crate::{
    authz::Grant,
    base::http::BoxFuture,
    model::{
        address::Scheme,
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
    let handshake = TlsStream::connect(socket, Arc::clone(&grant.tls), name);
    let mut stream = match timeout(HANDSHAKE, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(refusal::of_handshake(&remote.to_string(), &error)),
        Err(_) => {
            return Err(Failure::new(
                Cause::TlsTimeout,
                format!(
                    "{remote} ({peer}) took the connection and did not finish the TLS handshake within {} s; check that the port speaks TLS",
                    HANDSHAKE.as_secs()
                ),
            ));
        }
    };
    let early = upgrade(&mut stream, remote, grant.token.as_ref()).await?;
    let tls = facts(stream.tls());
    Ok(Connected { stream: Box::new(stream), early, peer, tls })
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
