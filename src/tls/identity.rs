//! Certificate and key, loaded and checked as one pair (ONVIF Uplink §5.3; RFC 5280 §4.1.2.5 for the validity).
//!
//! A mounted Secret is replaced file by file or as a whole; a certificate that meets the key of another moment is seen
//! here, before a handshake, and named. Key material is never printed: this type has no `Debug` that shows it.

use std::{
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    Error, InconsistentKeys,
    pki_types::CertificateDer,
    sign::{CertifiedKey, SingleCertAndKey},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{pem, provider::provider};
use crate::{
    base::clock::date,
    model::{
        authorization::Certificate,
        failure::{Cause, Failure},
    },
};

/// A certificate chain with the key of its first certificate.
#[derive(Clone)]
pub struct Identity {
    pair: Arc<CertifiedKey>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Identity {
    /// Loads the identity of an uplink. Blocks: run it on a blocking thread.
    ///
    /// # Errors
    /// A cause of the phase authorize: unreadable, no usable PEM, a key that does not belong to the certificate, expired,
    /// not valid yet.
    pub fn load(certificate: &Certificate) -> Result<Self, Failure> {
        let identity = Self::load_files(&certificate.cert_file, &certificate.key_file)?;
        identity.check_validity(SystemTime::now(), &certificate.id)?;
        Ok(identity)
    }

    /// Loads a pair of files without a look at the clock. Blocks.
    ///
    /// # Errors
    /// A cause of the phase authorize: unreadable, no usable PEM, a key that does not belong to the certificate.
    pub fn load_files(cert_file: &Path, key_file: &Path) -> Result<Self, Failure> {
        let chain = pem::certificates(cert_file, "certificate file")?;
        let (not_before, not_after) = validity(&chain[0]).ok_or_else(|| {
            pem::invalid(cert_file, "certificate file", "its first section is not an X.509 certificate")
        })?;
        let key = pem::private_key(key_file, "key file")?;
        let pair = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Failure::new(
                Cause::KeyMismatch,
                format!(
                    "the key {} does not belong to the first certificate in {}; replace both together, the device's own certificate first",
                    key_file.display(),
                    cert_file.display(),
                ),
            ),
            Error::InvalidCertificate(_) => {
                pem::invalid(cert_file, "certificate file", "its first section is not an X.509 version 3 certificate")
            }
            // The library's own text names algorithms only; it is left out all the same, as it comes from parsing a key.
            _ => pem::invalid(key_file, "key file", "the key is damaged or of a kind that TLS does not use; RSA from 2048 bits, ECDSA and Ed25519 work"),
        })?;
        Ok(Self { pair: Arc::new(pair), not_before, not_after })
    }

    fn check_validity(&self, now: SystemTime, id: &str) -> Result<(), Failure> {
        if now > self.not_after {
            return Err(Failure::new(
                Cause::ClientCertificateExpired,
                format!(
                    "our certificate `{id}` expired at {}; it is {} now; issue a new one",
                    date(self.not_after),
                    date(now)
                ),
            ));
        }
        if now < self.not_before {
            return Err(Failure::new(
                Cause::ClientCertificateNotYetValid,
                format!(
                    "our certificate `{id}` is valid from {} and it is {} now; if that is not so, set the clock",
                    date(self.not_before),
                    date(now),
                ),
            ));
        }
        Ok(())
    }

    /// The end of the first certificate.
    pub fn expiry(&self) -> SystemTime {
        self.not_after
    }

    /// The chain, the own certificate first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.pair.cert
    }

    /// What rustls asks for the certificate, on either side.
    pub(super) fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.pair)))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// Beginning and end of a certificate; `None` if it is none.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let validity = certificate.validity();
    Some((instant(validity.not_before.timestamp())?, instant(validity.not_after.timestamp())?))
}

fn instant(timestamp: i64) -> Option<SystemTime> {
    let distance = Duration::from_secs(timestamp.unsigned_abs());
    if timestamp < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
