//! L3: what the product knows of ONVIF's own protocol: SOAP messages and their services.
//!
//! - [`misplaced`]: operations of the device service that came to another path (quirk Q9).
//! - [`rewrite`]: addresses that work outside.
//! - [`soap`]: envelopes and faults.

pub mod misplaced;
pub mod rewrite;
pub mod soap;
