//! onvif-uplink (crate documentation is completed at integration)

pub mod admin;
pub mod authz;
pub mod base;
pub mod cli;
pub mod model;
pub mod telemetry;
pub mod transport;
pub mod tls;
