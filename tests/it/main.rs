//! The integration tests: the rooms through their public interfaces, in one binary so that it links once.

mod check_connect;
#[cfg(feature = "kubernetes")]
mod configmap;
mod connect;
mod credentials;
mod faults;
mod forward;
mod forward_limits;
mod forward_messages;
mod gateway;
mod h2c;
mod hostile;
mod isolation;
mod lifecycle;
mod linger;
mod long_life;
mod metrics;
mod personas;
mod process;
mod proxy;
mod quirks;
mod reverse;
mod rewriting;
mod rtsp_bridge;
mod rtsp_credentials;
mod rtsp_http;
mod rtsp_websocket;
mod sidecar;
mod smuggling;
mod support;
mod tls_choices;
mod tokens;
mod uplink_service;
mod user_levels;
#[cfg(feature = "kubernetes")]
mod visible;
mod websocket;
mod wss;
