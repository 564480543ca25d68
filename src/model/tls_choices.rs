//! What an uplink asks of TLS beyond its identity and its trust.

/// The `tls` settings of an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TlsChoices {
    /// The oldest version that is spoken.
    pub minimum_version: TlsVersion,
    /// Whether the hybrid X25519MLKEM768 is offered first, where the build has it.
    pub post_quantum: bool,
}

impl Default for TlsChoices {
    /// Both versions of the specification, and post-quantum key exchange.
    fn default() -> Self {
        Self { minimum_version: TlsVersion::Tls12, post_quantum: true }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl TlsVersion {
    /// The version as it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}
