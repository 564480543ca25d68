//! What a failed handshake means: a cause, and a sentence for the person who stands on the ladder (RFC 8446 §6.2).
//!
//! In TLS 1.3 the client's handshake is over before the server has looked at the client's certificate: a refusal comes as
//! an alert with the first read (RFC 8446 §4.4.2.4), so [`explain`] serves the upgrade too.

use std::{fmt::Write, io, time::UNIX_EPOCH};

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, pki_types::UnixTime};

use super::verify::PinMismatch;
use crate::{
    base::clock::date,
    model::failure::{Cause, Failure},
};

/// Names of a certificate that a sentence lists.
const NAMES_SHOWN: usize = 8;

/// Turns an error of a TLS connection to `remote` into its cause. `None` for errors that are not about TLS.
pub fn explain(remote: &str, error: &io::Error) -> Option<Failure> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    let (cause, sentence) = match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => received_alert(*alert),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge,
        ) => (
            Cause::TlsHandshakeFailed,
            "it does not speak TLS on this port; check the port in remoteAddress, and for a proxy in between"
                .to_owned(),
        ),
        Error::NoCertificatesPresented => (Cause::ServerCertificateInvalid, "it showed no certificate".to_owned()),
        Error::PeerIncompatible(problem) => (
            Cause::TlsHandshakeFailed,
            format!(
                "it and this program have no TLS version or cipher in common ({problem:?}); it needs TLS 1.2 or 1.3"
            ),
        ),
        other => (Cause::TlsHandshakeFailed, format!("TLS failed: {}", bounded(&other.to_string()))),
    };
    Some(Failure::new(cause, format!("{remote}: {sentence}")))
}

/// Like [`explain`], for the handshake itself: the connection's own errors are failures of the handshake too.
pub fn of_handshake(remote: &str, error: &io::Error) -> Failure {
    explain(remote, error).unwrap_or_else(|| {
        let sentence = match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                "it closed the connection within the TLS handshake; check the port in remoteAddress, and whether it expects another certificate of this device".to_owned()
            }
            _ => format!("the connection broke within the TLS handshake: {}", bounded(&error.to_string())),
        };
        Failure::new(Cause::TlsHandshakeFailed, format!("{remote}: {sentence}"))
    })
}

fn certificate(error: &CertificateError) -> (Cause, String) {
    match error {
        CertificateError::Expired => (Cause::ServerCertificateExpired, "its certificate has expired; renew it there".to_owned()),
        CertificateError::ExpiredContext { time, not_after } => (
            Cause::ServerCertificateExpired,
            format!("its certificate, or one of the chain, expired at {}; it is {} here; renew it there, or set this clock", unix(*not_after), unix(*time)),
        ),
        CertificateError::NotValidYet => {
            (Cause::ServerCertificateNotYetValid, "its certificate is not valid yet; check the clock of this device".to_owned())
        }
        CertificateError::NotValidYetContext { time, not_before } => (
            Cause::ServerCertificateNotYetValid,
            format!("its certificate is valid from {}; it is {} here; if that is not so, set the clock of this device", unix(*not_before), unix(*time)),
        ),
        CertificateError::NotValidForName => {
            (Cause::ServerNameMismatch, "its certificate is for another name than the one in remoteAddress".to_owned())
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            (Cause::ServerNameMismatch, other_name(&expected.to_str(), presented))
        }
        CertificateError::UnknownIssuer => (
            Cause::ServerUntrusted,
            "its certificate is not from a trusted authority; add that authority to the trust anchors of the uplink's certPathValidationPolicy, or check that this is the right server".to_owned(),
        ),
        CertificateError::Revoked => (
            Cause::ServerCertificateRevoked,
            "its certificate, or one of its chain, has been revoked by the authority; it needs a new one, or is not what it says".to_owned(),
        ),
        CertificateError::Other(other) if other.0.is::<PinMismatch>() => (
            Cause::ServerPinMismatch,
            format!("none of the pinned keys is in its chain; seen were {}: pin one of these if this is the right server", other.0),
        ),
        CertificateError::BadSignature => {
            (Cause::ServerUntrusted, "its certificate is not signed by the authority that it names".to_owned())
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => (
            Cause::ServerCertificateInvalid,
            "its certificate is not made for servers; issue one with the extended key usage serverAuth".to_owned(),
        ),
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => (
            Cause::ServerCertificateInvalid,
            "it shows the certificate of an authority as its own; issue one with CA:FALSE for the server".to_owned(),
        ),
        other => (Cause::ServerCertificateInvalid, format!("its certificate cannot be used: {}", bounded(&other.to_string()))),
    }
}

fn other_name(expected: &str, presented: &[String]) -> String {
    if presented.is_empty() {
        return format!(
            "its certificate has no subject alternative name, so it is not valid for `{expected}`; a common name does not count: issue one with that name"
        );
    }
    let mut names = String::new();
    for name in presented.iter().take(NAMES_SHOWN) {
        // The library prints `DnsName("a")` and `IpAddress(1.2.3.4)`; a person wants the name.
        let plain =
            name.split_once('(').map_or(name.as_str(), |(_, rest)| rest.trim_end_matches(')')).trim_matches('"');
        let _ = write!(names, "{}{}", if names.is_empty() { "" } else { ", " }, bounded(plain));
    }
    if presented.len() > NAMES_SHOWN {
        let _ = write!(names, " and {} more", presented.len() - NAMES_SHOWN);
    }
    format!("its certificate is not valid for `{expected}` but for: {names}; correct remoteAddress or the certificate")
}

fn received_alert(alert: AlertDescription) -> (Cause, String) {
    use AlertDescription as A;
    let why = match alert {
        A::CertificateExpired => "it says that it has expired, perhaps by its own clock",
        A::CertificateRevoked => "it says that it has been revoked",
        A::UnknownCA => "it does not trust the authority that issued it",
        A::CertificateRequired | A::NoCertificate => "it says that this device showed none",
        A::AccessDenied => "it does not let this device in",
        A::BadCertificate | A::UnsupportedCertificate | A::CertificateUnknown => "it does not say more; its log may",
        A::ProtocolVersion | A::HandshakeFailure | A::InsufficientSecurity | A::NoApplicationProtocol => {
            return (
                Cause::TlsHandshakeFailed,
                format!(
                    "it refused the TLS handshake ({alert:?}); it needs TLS 1.2 or 1.3, common ciphers and, if it checks ALPN, http/1.1"
                ),
            );
        }
        _ => return (Cause::TlsHandshakeFailed, format!("it ended TLS with the alert {alert:?}")),
    };
    (Cause::ClientCertificateRefused, format!("it refused the certificate of this device ({alert:?}): {why}"))
}

fn unix(time: UnixTime) -> String {
    date(UNIX_EPOCH + std::time::Duration::from_secs(time.as_secs().min(u64::from(u32::MAX) * 64)))
}

/// Text that a peer had a hand in: its control characters escaped, at most 200 characters.
fn bounded(text: &str) -> String {
    text.escape_debug().take(200).collect()
}
