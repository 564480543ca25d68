//! What the RTSP server is started with, and what all of its conversations share.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::joined::Tunnels;
use crate::{
    base::{
        digest::{Algorithm, Settings, Verifier},
        secret::Secret,
    },
    demo::camera::feed::Feed,
};

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
    pub(super) feed: Feed,
    pub(super) name: String,
    pub(super) verifier: Option<Verifier>,
    pub(super) tunnels: Option<Arc<Tunnels>>,
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
