//! L3: what the product knows of ONVIF's own protocol: SOAP messages and their services.
//!
//! - [`level`]: what the user level of an uplink allows.
//! - [`local`]: who may use the local listener.
//! - [`misplaced`]: operations of the device service that came to another path (quirk Q9).
//! - [`rewrite`]: addresses that work outside.
//! - [`soap`]: envelopes and faults.
//! - [`uplink_service`]: the uplink configuration service.

pub mod level;
pub mod local;
pub mod misplaced;
pub mod rewrite;
pub mod soap;
pub mod uplink_service;
