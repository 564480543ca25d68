//! Why an uplink is not up: one list of causes for log, metric, status, Event and the specification's `Error` field.
//!
//! A [`Cause`] is a label (bounded, stable, kebab-case); the sentence beside it is for people. Each cause belongs to one
//! [`Phase`] of the way from a name to a running session.

use std::{fmt, time::Duration};

/// How far an attempt or a session came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Name resolution.
    Resolve,
    /// TCP.
    Dial,
    /// The egress proxy.
    Proxy,
    /// The TLS handshake and the server's certificate.
    Tls,
    /// Our own certificate or token.
    Authorize,
    /// The HTTP/1.1 upgrade.
    Upgrade,
    /// Between the 101 and the HTTP/2 preface of the remote.
    Preface,
    /// The session is dead: nothing received for 30 s (ONVIF Uplink §5.2), or its network is gone.
    Liveness,
    /// The remote ended the session.
    RemoteClosed,
    /// HTTP/2 was violated.
    Protocol,
    /// The uplink works, but the device does not accept what the sidecar sends for it.
    Device,
    /// We ended it: removal, change, shutdown.
    Drained,
}

impl Phase {
    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Dial => "dial",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Authorize => "authorize",
            Self::Upgrade => "upgrade",
            Self::Preface => "preface",
            Self::Liveness => "liveness",
            Self::RemoteClosed => "remote-closed",
            Self::Protocol => "protocol",
            Self::Device => "device",
            Self::Drained => "drained",
        }
    }
}

macro_rules! causes {
    ($($(#[doc = $doc:literal])+ $name:ident = $label:literal in $phase:ident,)+) => {
        /// What went wrong. The label is stable: alerts are built on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Cause { $($(#[doc = $doc])+ $name,)+ }

        impl Cause {
            /// All causes, for documentation and for metrics that start at zero.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The label in metrics and status.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// How far it came.
            pub fn phase(self) -> Phase {
                match self { $(Self::$name => Phase::$phase,)+ }
            }
        }
    };
}

causes! {
    /// The name has no address.
    NameNotResolved = "name-not-resolved" in Resolve,
    /// The resolver did not answer in time.
    ResolveTimeout = "resolve-timeout" in Resolve,
    /// Nothing listens there.
    ConnectionRefused = "connection-refused" in Dial,
    /// No answer to the TCP handshake.
    DialTimeout = "dial-timeout" in Dial,
    /// No route, no permission or another network error.
    Unreachable = "unreachable" in Dial,
    /// The source address or interface of the configuration is not on this host, or may not be used.
    SourceUnavailable = "source-unavailable" in Dial,
    /// The proxy could not be reached.
    ProxyUnreachable = "proxy-unreachable" in Proxy,
    /// The proxy took the connection and did not answer in time.
    ProxyTimeout = "proxy-timeout" in Proxy,
    /// The proxy wants other credentials, or some (407).
    ProxyAuthentication = "proxy-authentication" in Proxy,
    /// The proxy does not let us through to the remote, or cannot reach it.
    ProxyRefused = "proxy-refused" in Proxy,
    /// What answers is no proxy of the configured kind, or its certificate is not accepted.
    ProxyInvalid = "proxy-invalid" in Proxy,
    /// The server's certificate is past its end.
    ServerCertificateExpired = "server-certificate-expired" in Tls,
    /// The server's certificate is not valid yet; often our clock is wrong.
    ServerCertificateNotYetValid = "server-certificate-not-yet-valid" in Tls,
    /// The server's certificate is for another name.
    ServerNameMismatch = "server-name-mismatch" in Tls,
    /// The server's certificate is not from a trusted authority.
    ServerUntrusted = "server-untrusted" in Tls,
    /// The server's certificate, or one of its chain, has been revoked.
    ServerCertificateRevoked = "server-certificate-revoked" in Tls,
    /// None of the pinned public keys is in the server's chain.
    ServerPinMismatch = "server-pin-mismatch" in Tls,
    /// The server's certificate is wrong in another way.
    ServerCertificateInvalid = "server-certificate-invalid" in Tls,
    /// The remote refused our certificate with a TLS alert.
    ClientCertificateRefused = "client-certificate-refused" in Tls,
    /// No common version, cipher or another handshake failure; or no TLS at all on the other side.
    TlsHandshakeFailed = "tls-handshake-failed" in Tls,
    /// The handshake did not finish in time.
    TlsTimeout = "tls-timeout" in Tls,
    /// A certificate, key or trust anchor file is missing or unreadable.
    CredentialUnreadable = "credential-unreadable" in Authorize,
    /// A certificate or key file holds no usable PEM.
    CredentialInvalid = "credential-invalid" in Authorize,
    /// The key does not belong to the certificate.
    KeyMismatch = "key-mismatch" in Authorize,
    /// Our certificate is past its end.
    ClientCertificateExpired = "client-certificate-expired" in Authorize,
    /// Our certificate is not valid yet; often our clock is wrong.
    ClientCertificateNotYetValid = "client-certificate-not-yet-valid" in Authorize,
    /// The authorization server could not be reached, not even securely, or did not answer in time.
    AuthorizationServerUnreachable = "authorization-server-unreachable" in Authorize,
    /// The metadata of the authorization server is unusable.
    MetadataInvalid = "metadata-invalid" in Authorize,
    /// The authorization server refused the client: secret, key, certificate, scope.
    TokenRefused = "token-refused" in Authorize,
    /// The authorization server's answer holds no usable token.
    TokenInvalid = "token-invalid" in Authorize,
    /// The clocks of this host and of a server differ so much that assertions or tokens are refused.
    ClockSkew = "clock-skew" in Authorize,
    /// The remote answered 401 or 403: it does not know this device.
    Unauthorized = "unauthorized" in Upgrade,
    /// The remote answered with a redirect, which an uplink does not follow.
    Redirected = "redirected" in Upgrade,
    /// The remote answered 503 or 429: it wants to be asked later.
    RemoteBusy = "remote-busy" in Upgrade,
    /// The remote answered with another status than 101.
    UpgradeRefused = "upgrade-refused" in Upgrade,
    /// The remote's answer is not an HTTP/1.1 response head, or a 101 to another protocol.
    UpgradeMalformed = "upgrade-malformed" in Upgrade,
    /// The remote's response head did not end within its bound.
    UpgradeHeadTooLarge = "upgrade-head-too-large" in Upgrade,
    /// The remote accepted a WebSocket without the subprotocol h2c-reverse, or with another one.
    WebSocketSubprotocol = "websocket-subprotocol" in Upgrade,
    /// No complete answer to the upgrade in time.
    UpgradeTimeout = "upgrade-timeout" in Upgrade,
    /// The remote closed the connection before it answered the upgrade.
    UpgradeClosed = "upgrade-closed" in Upgrade,
    /// A 101, then no HTTP/2 preface for 30 s.
    PrefaceTimeout = "preface-timeout" in Preface,
    /// A 101, then something else than an HTTP/2 preface, or the end.
    PrefaceInvalid = "preface-invalid" in Preface,
    /// Nothing was received for 30 s.
    Silent = "silent" in Liveness,
    /// The network changed: the address of the session is gone, or its route leads elsewhere.
    NetworkChanged = "network-changed" in Liveness,
    /// The remote said GOAWAY or closed in good order.
    ClosedByRemote = "closed-by-remote" in RemoteClosed,
    /// The connection was reset.
    ConnectionReset = "connection-reset" in RemoteClosed,
    /// The remote violated HTTP/2, or exceeded a bound of ours.
    ProtocolViolation = "protocol-violation" in Protocol,
    /// The remote violated the WebSocket protocol: text frames, oversized frames, masking.
    WebSocketViolation = "websocket-violation" in Protocol,
    /// The device refused user name or password of the account; for a while it is not tried again.
    DeviceCredentialsRefused = "device-credentials-refused" in Device,
    /// The file with the password of the account cannot be read, or does not hold one line.
    DeviceCredentialsUnreadable = "device-credentials-unreadable" in Device,
    /// The device asks for credentials in no way that is known.
    DeviceAuthenticationUnknown = "device-authentication-unknown" in Device,
    /// Removed from the configuration, replaced by a newer session, or shut down.
    Drained = "drained" in Drained,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A cause with its sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The label.
    pub cause: Cause,
    /// One sentence: what was tried, what came back, what to do.
    pub message: String,
    /// How long the remote asked to wait (RFC 9110 §10.2.3).
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A cause with its sentence.
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into(), retry_after: None }
    }

    /// The same with the remote's `Retry-After`.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Option<Duration>) -> Self {
        self.retry_after = delay;
        self
    }

    /// How far it came.
    pub fn phase(&self) -> Phase {
        self.cause.phase()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_cause_has_a_label_of_its_own() {
        let labels: BTreeSet<_> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
        assert_eq!(labels.len(), Cause::ALL.len());
        assert!(Cause::ALL.len() > 20);
        assert!(labels.iter().all(|label| label.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
    }

    #[test]
    fn every_cause_is_explained_in_the_operations_manual() {
        let manual = include_str!("../../docs/operations.md");
        for cause in Cause::ALL {
            let row = format!("| `{cause}` | {} | ", cause.phase().as_str());
            let found = manual.lines().find(|line| line.starts_with(&row));
            let told = found.unwrap_or_else(|| panic!("docs/operations.md has no row `{row}`"));
            assert!(told.ends_with(&format!(" | {} |", cause.advice())), "docs/operations.md advises else: {told}");
        }
    }
}
