//! onvif-uplink: cameras and NVRs that do not speak the ONVIF Uplink Specification, made reachable through it.
//!
//! The bird's eye view: `run` is the sidecar beside an unmodified device. It reads a document of uplinks, dials each
//! remote over TLS, upgrades to `h2c-reverse` and serves HTTP/2 on the connection that it dialed, every request forwarded
//! to the device's loopback port. `gateway` is the other end: it accepts uplinks and lets ordinary HTTP clients reach the
//! devices. `camera` is an emulator, `demo` all three in one process.
//!
//! ```text
//! file -> ConfigSource -> raw -> validate -> DesiredSet -> Supervisor --diff--> one Runner per uplink
//! Runner: pure State --Connect--> Authorizer.grant -> Transport.connect (dial, TLS, 101) -> byte stream -> reverse server
//! reverse server -> Handler (Measured(UplinkService(Level(…(Routes))))) -> 127.0.0.1:port
//! Runner -> StatusBoard -> /status /readyz metrics            SIGTERM -> drain: GOAWAY, finish streams, deadline, force
//! ```
//!
//! # Invariants
//! - `model` knows no I/O.
//! - Only `transport` dials outward, only `forward` dials loopback, and never an address taken from a peer's message.
//! - Only `config` reads and writes configuration files; only `tls`, `authz` and `device` read secrets, and `app` the passwords of
//!   local accounts; the emulator's own account aside.
//! - A reload never touches an unchanged uplink.
//! - No task outlives `App::run`.
//! - No network input can panic. Every queue, body, header list, timeout and stream count has a named limit with its reason.
//! - The device never sees the remote's Authorization once mediation is on; the remote never sees the device's credentials.
//!
//! # Layers
//! Imports go down only and siblings do not import each other; `tests/architecture.rs` proves it.
//!
//! ```text
//! L6 main -> app gateway demo cli admin tls base telemetry    app -> all below but gateway and demo
//! L6 demo -> app gateway model base tls telemetry    cli -> model base telemetry
//! L5 uplink -> model base authz transport reverse    gateway -> model base tls transport
//! L4 transport -> model base tls authz
//! L3 authz -> model base tls    reverse -> base    device -> model base    onvif -> model base config
//! L3 admin -> model base telemetry
//! L2 config -> model base    tls -> model base    forward -> model base    cluster -> model base
//! L1 model -> base::secret base::activity
//! L0 base, telemetry -> external crates only
//! ```

pub mod admin;
pub mod app;
pub mod authz;
pub mod base;
pub mod cli;
#[cfg(feature = "kubernetes")]
pub mod cluster;
pub mod config;
pub mod demo;
pub mod device;
pub mod forward;
pub mod gateway;
pub mod model;
pub mod onvif;
pub mod reverse;
pub mod telemetry;
pub mod tls;
pub mod transport;
pub mod uplink;
