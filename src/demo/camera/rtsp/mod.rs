//! The camera's RTSP server (RFC 2326): its picture as JPEG over RTP in the RTSP connection, as cameras offer it beside HTTP.
//!
//! Interleaved TCP only, as that is what goes through an uplink. By choice players may wrap a conversation in HTTP (Apple's
//! "Tunnelling RTSP and RTP through HTTP") on the same port, and by choice the camera asks for Digest credentials. A player
//! that reads slowly misses whole pictures; it never delays another, and the camera holds one picture for it at most.
//!
//! `jpeg` cuts a picture into payloads, `rtp` numbers and times them, `conversation` answers requests, `connection` moves the
//! bytes of one conversation, `tunnel` serves the halves of a wrapped one and `joined` brings them together, `station` is what all share; `sdp` and `transport` are two formats.

mod connection;
mod conversation;
mod joined;
pub mod jpeg;
pub mod rtp;
mod sdp;
mod station;
mod transport;
mod tunnel;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub use self::station::{Options, SESSION_TIMEOUT, Station};
use crate::base::drain::Drain;

/// Serves one connection until its end; a drain ends its video at once. Aborting it closes the connection.
pub async fn serve<S>(mut stream: S, station: Arc<Station>, drain: Drain)
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let ended = match connection::begin(&mut stream).await {
        Ok(connection::Begin::Rtsp(early)) => connection::converse(stream, early, None, station, drain).await,
        Ok(connection::Begin::Http(early)) => tunnel::serve(stream, early, station, drain).await,
        Err(error) => Err(error),
    };
    // A player that goes away is everyday life: most close the connection and say nothing.
    if let Err(error) = ended {
        tracing::debug!(%error, "an RTSP connection to the camera ended early");
    }
}

#[cfg(test)]
mod tests;
