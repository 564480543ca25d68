//! onvif-uplink (crate documentation is completed at integration)

pub mod authz;
pub mod base;
pub mod gateway;
pub mod model;
pub mod tls;
pub mod transport;
