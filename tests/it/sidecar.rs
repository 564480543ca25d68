//! The whole sidecar: real configuration files, real TLS, real sockets, against the real gateway or a scripted remote.
//!
//! Nothing here sleeps: each step waits for a condition with one generous deadline. What takes 30 s by the specification is
//! tested in virtual time beside the code (src/uplink/tests.rs).

mod answers;
mod certificates;
mod drain;
mod reload;
mod rotation;
mod start;
