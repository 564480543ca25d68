//! L1: plain values of the domain: no I/O, no serde, no HTTP.
//!
//! What the specification calls Configuration (ONVIF Uplink §6.1) with everything that it refers to already resolved, the
//! set of uplinks that should run, what became of each, and the one list of failure causes.

pub mod access;
pub mod address;
pub mod addresses;
pub mod advice;
pub mod authorization;
pub mod desired;
pub mod device;
pub mod extensions;
pub mod failure;
pub mod kubernetes;
pub mod lab;
pub mod network;
pub mod pod;
pub mod status;
pub mod step;
pub mod streaming;
pub mod tls_choices;
pub mod uplink;
pub mod uplink_service;
pub mod user_level;
