//! The check of a server's certificate as an uplink wants it: path, name and revocation by webpki, then pins; or nothing in a
//! laboratory (RFC 5280 §6, RFC 6125; the pins are those of RFC 7469 §2.4).
//!
//! What the server shows is told to whoever watches the attempt, before it is judged: an installer sees the chain of a
//! handshake that failed.

use std::{
    cell::RefCell,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use crate::model::{authorization::SpkiPin, step::SeenCertificate};

/// Names of a certificate that are told.
const NAMES_MAX: usize = 8;
/// Certificates of a chain that are told.
const CHAIN_MAX: usize = 8;

tokio::task_local! {
    /// The chain of the handshake of this task, if somebody watches.
    static SEEN: RefCell<Vec<SeenCertificate>>;
}

/// Runs a handshake and returns with it the certificates that the server showed, whether they were accepted or not.
pub async fn watched<T>(handshake: impl Future<Output = T>) -> (T, Vec<SeenCertificate>) {
    SEEN.scope(RefCell::default(), async {
        let ended = handshake.await;
        (ended, SEEN.with(RefCell::take))
    })
    .await
}

/// The verifier of one uplink's policy.
#[derive(Debug)]
pub(super) struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    pins: Vec<SpkiPin>,
    /// Whoever answers is taken for the remote.
    skip: bool,
}

impl Verifier {
    pub(super) fn new(webpki: Arc<WebPkiServerVerifier>, pins: Vec<SpkiPin>, skip: bool) -> Self {
        Self { webpki, pins, skip }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = || std::iter::once(leaf).chain(intermediates);
        // Nobody watches in the ordinary case, and then this is one look at a task's slot.
        let _ = SEEN.try_with(|seen| *seen.borrow_mut() = chain().take(CHAIN_MAX).filter_map(look).collect());
        if self.skip {
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self.webpki.verify_server_cert(leaf, intermediates, name, ocsp, now)?;
        if self.pins.is_empty() || chain().filter_map(pin).any(|pin| self.pins.contains(&pin)) {
            return Ok(verified);
        }
        let seen = chain().take(CHAIN_MAX).filter_map(pin).collect();
        Err(CertificateError::Other(OtherError(Arc::new(PinMismatch { seen }))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.webpki.root_hint_subjects()
    }
}

/// The chain is good and none of its keys is pinned.
#[derive(Debug)]
pub(super) struct PinMismatch {
    seen: Vec<SpkiPin>,
}

impl fmt::Display for PinMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, SpkiPin(hash)) in self.seen.iter().enumerate() {
            write!(f, "{}sha256/{}", if index == 0 { "" } else { ", " }, STANDARD.encode(hash))?;
        }
        Ok(())
    }
}

impl std::error::Error for PinMismatch {}

/// SHA-256 of the SubjectPublicKeyInfo.
pub(super) fn pin(certificate: &CertificateDer<'_>) -> Option<SpkiPin> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let hash = ring::digest::digest(&ring::digest::SHA256, certificate.public_key().raw);
    hash.as_ref().try_into().ok().map(SpkiPin)
}

/// What a person looks at.
fn look(certificate: &CertificateDer<'_>) -> Option<SeenCertificate> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|names| names.value.general_names.iter().take(NAMES_MAX).filter_map(name).collect());
    let time = |seconds: i64| -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default().min(u64::from(u32::MAX) * 64))
    };
    Some(SeenCertificate {
        subject: bounded(&certificate.subject().to_string()),
        issuer: bounded(&certificate.issuer().to_string()),
        names: names.unwrap_or_default(),
        not_before: time(certificate.validity().not_before.timestamp()),
        not_after: time(certificate.validity().not_after.timestamp()),
    })
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(bounded(name)),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(*octets).ok().map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
            16 => <[u8; 16]>::try_from(*octets).ok().map(|ip| std::net::Ipv6Addr::from(ip).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// Text of a stranger: its control characters escaped, at most 120 characters.
fn bounded(text: &str) -> String {
    text.escape_debug().take(120).collect()
}
