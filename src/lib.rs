//! onvif-uplink (crate documentation is completed at integration)
//!
//! # Layers
//! Imports go down only and siblings do not import each other; `tests/architecture.rs` proves it.
//!
//! ```text
//! L6 main -> app gateway demo cli status_command telemetry    app -> all below but gateway and demo
//! L6 demo -> app gateway model base tls    cli -> model base telemetry    status_command -> model base
//! L5 uplink -> model base authz transport reverse    gateway -> model base tls transport
//! L4 transport -> model base tls authz
//! L3 authz -> model base tls    reverse -> base    device -> model base    onvif -> model base config
//! L3 admin -> model base telemetry
//! L2 config -> model base    tls -> model base    forward -> model base
//! L1 model -> base::secret base::activity
//! L0 base, telemetry -> external crates only
//! ```

pub mod admin;
pub mod authz;
pub mod base;
pub mod demo;
pub mod model;
pub mod reverse;
pub mod forward;
pub mod config;
pub mod model;
pub mod cli;
pub mod model;
pub mod telemetry;
pub mod transport;
pub mod tls;
pub mod transport;
