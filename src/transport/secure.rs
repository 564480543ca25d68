//! TLS on the way out: the handshake within its deadline, and what it came to (ONVIF Uplink §5.1).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, CommonState, HandshakeKind, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use crate::{
    model::{
        failure::{Cause, Failure},
        status::TlsFacts,
        step::{Step, Witness},
    },
    tls::{refusal, stream::TlsStream, verify::watched},
};

/// How long the TLS handshake may take: three round trips over a bad mobile link, and slow signatures.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);

/// TLS on `socket`, the connection to `remote` (for sentences) at `peer`. Cancel safe: dropping the future drops `socket`.
///
/// # Errors
/// A cause of the phase tls.
pub async fn handshake<S>(
    socket: S,
    remote: &str,
    peer: SocketAddr,
    tls: Arc<ClientConfig>,
    name: ServerName<'static>,
    witness: &dyn Witness,
) -> Result<TlsStream<S>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let shaking = timeout(HANDSHAKE, TlsStream::connect(socket, tls, name));
    let (shaken, chain) = if witness.watches() { watched(shaking).await } else { (shaking.await, Vec::new()) };
    if witness.watches() {
        let facts = shaken.as_ref().ok().and_then(|stream| stream.as_ref().ok()).map(|stream| facts(stream.tls()));
        witness.saw(Step::Secured { facts: facts.unwrap_or_default(), chain });
    }
    match shaken {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(refusal::of_handshake(remote, &error)),
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
pub fn facts(tls: &CommonState) -> TlsFacts {
    TlsFacts {
        version: tls.protocol_version().and_then(|version| version.as_str()).unwrap_or_default().replace('_', "."),
        cipher: tls.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default().to_owned(),
        group: tls
            .negotiated_key_exchange_group()
            .and_then(|group| group.name().as_str())
            .unwrap_or_default()
            .to_owned(),
        resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
    }
}
