//! What an attempt sees on its way from a name to a session, phase by phase: for `check --connect` and the debug log.
//!
//! Plain values; the parts of the way tell a [`Witness`] as they pass. Nothing here holds a secret.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use super::status::TlsFacts;

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A name has these addresses.
    Resolved {
        /// The name.
        name: String,
        /// In the order in which they are tried.
        addresses: Vec<SocketAddr>,
    },
    /// TCP stands.
    Dialed {
        /// To whom: the remote, or the proxy.
        peer: SocketAddr,
        /// From where.
        local: SocketAddr,
    },
    /// The proxy has opened the way.
    Proxied {
        /// Its address as it is configured.
        proxy: String,
    },
    /// TLS stands, or failed after the server had shown its certificate.
    Secured {
        /// What it came to; empty when it failed.
        facts: TlsFacts,
        /// The certificates that the server showed, the leaf first.
        chain: Vec<SeenCertificate>,
    },
    /// The metadata of the authorization server was read.
    Metadata {
        /// `issuer`.
        issuer: String,
        /// Where tokens are asked for.
        token_endpoint: String,
    },
    /// The authorization is ready.
    Authorized {
        /// How, for a person.
        how: String,
        /// When it ends.
        expires: Option<SystemTime>,
    },
    /// A server said what time it is (RFC 9110 §6.6.1).
    Clock {
        /// Whose clock: the host.
        server: String,
        /// Its time less ours, in seconds; positive when ours is behind.
        offset_seconds: i64,
    },
    /// The remote answered 101.
    Upgraded,
    /// The remote's HTTP/2 preface came.
    Preface,
}

/// A certificate as a person looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenCertificate {
    /// Subject.
    pub subject: String,
    /// Issuer.
    pub issuer: String,
    /// SAN names; bounded.
    pub names: Vec<String>,
    /// Begin of its validity.
    pub not_before: SystemTime,
    /// End of its validity.
    pub not_after: SystemTime,
}

/// Clocks that differ by less are not worth a word: the `Date` field has seconds, and answers take a while.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// Is told what an attempt sees.
pub trait Witness: Send + Sync {
    /// Something was seen.
    fn saw(&self, step: Step);

    /// Whether anybody looks; what costs something to tell is not told to nobody.
    fn watches(&self) -> bool {
        true
    }
}

/// For attempts that nobody watches.
impl Witness for () {
    fn saw(&self, _: Step) {}

    fn watches(&self) -> bool {
        false
    }
}
