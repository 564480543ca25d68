//! What several test modules share.

pub mod answer;
#[cfg(feature = "kubernetes")]
pub mod api_server;
pub mod cloud;
pub mod connect;
pub mod device;
pub mod fault;
pub mod frames;
pub mod h2_peer;
pub mod http;
pub mod pki;
pub mod raw_device;
pub mod remote;
pub mod rtsp;
pub mod sidecar;
pub mod websocket;
