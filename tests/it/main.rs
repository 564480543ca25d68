//! The integration tests: the rooms through their public interfaces, in one binary so that it links once.

mod check_connect;
mod connect;
mod credentials;
mod faults;
mod forward;
mod forward_limits;
mod forward_messages;
mod gateway;
mod h2c;
mod hostile;
mod linger;
mod metrics;
mod personas;
mod process;
mod proxy;
mod quirks;
mod reverse;
mod sidecar;
mod smuggling;
mod support;
mod tls_choices;
mod tokens;
mod user_levels;
mod websocket;
mod wss;
