//! What several test modules share.

pub mod h2_peer;
pub mod pki;
