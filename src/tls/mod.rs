//! L2: TLS by rustls: which primitives, the byte stream, our identity, whom we trust (RFC 8446, RFC 5246, RFC 6125).
//!
//! - [`provider`]: cipher suites and key exchange, by what this CPU does best.
//! - [`stream`]: a TLS connection as a byte stream that is flushed by turn.
//! - [`identity`]: certificate and key, loaded and checked as one pair.
//! - [`trust`]: trust anchors.
//! - [`verify`], [`revocation`]: the check of a server, with pins and lists.
//! - [`jose`]: signatures of tokens.
//! - [`client`], [`server`]: configurations of both sides.
//! - [`refusal`]: what a failed handshake means, as a cause and a sentence.

pub mod client;
pub mod identity;
pub mod jose;
mod pem;
pub mod provider;
pub mod refusal;
mod revocation;
pub mod server;
pub mod stream;
pub mod trust;
pub mod verify;

/// The throw-away PKI of all tests, shared with the integration tests.
#[cfg(test)]
#[path = "../../tests/it/support/pki.rs"]
pub(crate) mod test_pki;
#[cfg(test)]
mod tests;
