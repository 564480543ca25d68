//! L0: building blocks that know nothing of cameras or uplinks: byte streams, HTTP bodies and handlers, HTTP/2 pumps, Digest,
//! backoff, drain and the signals that start it, shards, tasks, secrets, rate caps, watched files and objects, the network's changes.
//!
//! Everything above may use this room; it uses external crates only.

pub mod activity;
pub mod backoff;
#[cfg(feature = "kubernetes")]
pub mod call;
pub mod clock;
pub mod digest;
pub mod drain;
pub mod gather;
pub mod http;
pub mod http2;
pub mod io;
pub mod mediator;
pub mod network;
#[cfg(feature = "kubernetes")]
pub mod object;
pub mod owned;
pub mod random;
pub mod rate;
pub mod rtsp;
#[cfg(all(test, feature = "kubernetes"))]
pub mod scripted_api;
pub mod secret;
pub mod shard;
pub mod stops;
pub mod tasks;
#[cfg(feature = "kubernetes")]
pub mod trouble;
pub mod watch;
