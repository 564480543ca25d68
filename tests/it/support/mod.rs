//! What several test modules share.

pub mod device;
pub mod h2_peer;
pub mod pki;
