//! The camera's RTSP server (RFC 2326): its picture as JPEG over RTP in the RTSP connection, as cameras offer it beside HTTP.
//!
//! Interleaved TCP only, as that is what goes through an uplink. By choice players may wrap a conversation in HTTP (Apple's
//! "Tunnelling RTSP and RTP through HTTP") on the same port, and by choice the camera asks for Digest credentials. A player
//! that reads slowly misses whole pictures; it never delays another, and the camera holds one picture for it at most.
//!
//! `jpeg` cuts a picture into payloads, `rtp` numbers and times them, `conversation` answers requests, `connection` moves the
//! bytes of one conversation, `tunnel` joins the two halves of a wrapped one; `sdp` and `transport` are two formats.

mod connection;
mod conversation;
pub mod jpeg;
pub mod rtp;
mod sdp;
mod transport;
mod tunnel;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    digest::{Algorithm, Settings, Verifier},
    feed::Feed,
};
use crate::base::{drain::Drain, secret::Secret};

/// A session ends when nothing was asked in it for so long. Players ask every half of it.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(60);
/// A nonce that was not used for so long is stale: longer than a session may be silent, so that a keep-alive never is.
const NONCE_LIFE: Duration = Duration::from_secs(5 * 60);

/// What the server is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Whether conversations may be wrapped in HTTP.
    pub tunnel: bool,
    /// The user and password that players must know; anybody may watch if there are none.
    pub credentials: Option<(String, Secret)>,
}

/// What all conversations of the server share.
#[derive(Debug)]
pub struct Station {
    feed: Feed,
    name: String,
    verifier: Option<Verifier>,
    tunnels: Option<Arc<tunnel::Tunnels>>,
}

impl Station {
    /// The server of the camera of this name, with the pictures of `feed`.
    pub fn new(feed: Feed, name: &str, options: &Options) -> Self {
        let verifier = options.credentials.clone().map(|user| {
            let settings = Settings {
                realm: name.to_owned(),
                // MD5 last: players that know nothing else keep the last challenge that they read.
                algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
                qop: false,
                same_uri: false,
                nonce_life: NONCE_LIFE,
            };
            Verifier::new(settings, [user])
        });
        let tunnels = options.tunnel.then(Arc::default);
        Self { feed, name: name.to_owned(), verifier, tunnels }
    }
}

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
