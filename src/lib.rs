//! onvif-uplink (crate documentation is completed at integration)

pub mod authz;
pub mod base;
pub mod demo;
pub mod model;
pub mod reverse;
pub mod forward;
pub mod model;
pub mod tls;
pub mod transport;
