//! onvif-uplink (crate documentation is completed at integration)

pub mod authz;
pub mod base;
pub mod model;
pub mod reverse;
pub mod tls;
pub mod transport;
pub mod uplink;
