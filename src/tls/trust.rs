//! Whom we trust as the remote: trust anchors (ONVIF Security, CertPathValidationPolicy; RFC 5280 §6.1.1).
//!
//! A policy replaces the system's roots, it never adds to them. The check itself, names included (RFC 6125: SAN dNSName
//! with wildcards, SAN iPAddress, never the common name), is that of webpki; [`super::refusal`] says what it found.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, CertificateRevocationListDer},
};
use rustls_native_certs::CertificateResult;

use super::{pem, provider::provider, revocation, verify::Verifier};
use crate::model::{
    authorization::{CertPathValidationPolicy, SpkiPin, Trust},
    failure::{Cause, Failure},
};

/// How old the cached system roots may become: distributions update them a few times a year, and reading them takes
/// some milliseconds.
const SYSTEM_ROOTS_AGE_MAX: Duration = Duration::from_secs(600);

/// The trust anchors of one attempt; never empty.
#[derive(Clone, Debug)]
pub struct Anchors {
    store: Arc<RootCertStore>,
    lists: Arc<Vec<CertificateRevocationListDer<'static>>>,
    pins: Vec<SpkiPin>,
    webpki: Arc<WebPkiServerVerifier>,
}

impl Anchors {
    /// Loads what `trust` refers to. Blocks: run it on a blocking thread.
    ///
    /// # Errors
    /// A cause of the phase authorize: a file that is unreadable or holds no usable certificate, or a system without roots.
    pub fn load(trust: &Trust) -> Result<Self, Failure> {
        match trust {
            Trust::SystemRoots => system_roots(),
            Trust::Policy(policy) => Self::from_policy(policy),
        }
    }

    fn from_policy(policy: &CertPathValidationPolicy) -> Result<Self, Failure> {
        let store = store_of(&policy.trust_anchor_files)?;
        let mut lists = Vec::new();
        for file in &policy.crl_files {
            lists.extend(revocation::lists(file)?);
        }
        Self::new(Arc::new(store), lists, policy.pins.clone()).map_err(|problem| {
            let sentence = format!("the certPathValidationPolicy `{}` is of no use: {problem}", policy.id);
            Failure::new(Cause::CredentialInvalid, sentence)
        })
    }

    fn new(
        store: Arc<RootCertStore>,
        lists: Vec<CertificateRevocationListDer<'static>>,
        pins: Vec<SpkiPin>,
    ) -> Result<Self, String> {
        // Issuers without a list are accepted: a policy lists what has been revoked, not everything that has not.
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::clone(&store), provider())
            .with_crls(lists.iter().cloned())
            .allow_unknown_revocation_status()
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { store, lists: Arc::new(lists), pins, webpki })
    }

    /// The check by all of it; with `skip` none at all, for laboratories.
    pub(super) fn verifier(&self, skip: bool) -> Arc<dyn ServerCertVerifier> {
        Arc::new(Verifier::new(Arc::clone(&self.webpki), self.pins.clone(), skip))
    }

    /// Loads PEM files; every certificate in them is an anchor. Blocks.
    ///
    /// # Errors
    /// A cause of the phase authorize: a file that is unreadable, or a section that is no certificate.
    pub fn from_files(files: &[PathBuf]) -> Result<Self, Failure> {
        let unusable = |problem: String| Failure::new(Cause::CredentialInvalid, problem);
        Self::new(Arc::new(store_of(files)?), Vec::new(), Vec::new()).map_err(unusable)
    }

    /// The anchors as rustls wants them.
    pub(super) fn store(&self) -> &Arc<RootCertStore> {
        &self.store
    }

    /// Whether both trust the same authorities, to the same extent.
    pub(super) fn same(&self, other: &Self) -> bool {
        let roots = Arc::ptr_eq(&self.store, &other.store) || self.store.roots == other.store.roots;
        roots && self.pins == other.pins && self.lists == other.lists
    }
}

/// Every certificate of these files is an anchor; at least one.
fn store_of(files: &[PathBuf]) -> Result<RootCertStore, Failure> {
    const WHAT: &str = "trust anchor file";
    let mut store = RootCertStore::empty();
    for file in files {
        for certificate in pem::certificates(file, WHAT)? {
            store
                .add(certificate)
                .map_err(|_| pem::invalid(file, WHAT, "one of its sections is not an X.509 certificate"))?;
        }
    }
    if store.is_empty() {
        return Err(Failure::new(Cause::CredentialInvalid, "the certPathValidationPolicy names no trust anchor file"));
    }
    Ok(store)
}

/// The system's roots; shared by all uplinks and read again when they are old.
fn system_roots() -> Result<Anchors, Failure> {
    static CACHE: Mutex<Option<(Instant, Anchors)>> = Mutex::new(None);
    // A panic while the lock was held left the old roots or none; both are right.
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((read, anchors)) = &*cache
        && read.elapsed() < SYSTEM_ROOTS_AGE_MAX
    {
        return Ok(anchors.clone());
    }
    let anchors = gather(rustls_native_certs::load_native_certs())?;
    let anchors = match &*cache {
        Some((_, old)) if old.same(&anchors) => old.clone(),
        _ => anchors,
    };
    *cache = Some((Instant::now(), anchors.clone()));
    Ok(anchors)
}

/// Makes anchors of what the system gave. Single roots that cannot be used are left out, as browsers do.
fn gather(found: CertificateResult) -> Result<Anchors, Failure> {
    let problem = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs.into_iter().map(CertificateDer::into_owned));
    if store.is_empty() {
        return Err(Failure::new(
            Cause::CredentialUnreadable,
            format!(
                "this system has no root certificates{problem}; mount them (SSL_CERT_FILE says where they are) or give the uplink a certPathValidationPolicyID"
            ),
        ));
    }
    Anchors::new(Arc::new(store), Vec::new(), Vec::new()).map_err(|problem| {
        Failure::new(Cause::CredentialInvalid, format!("the root certificates of this system are of no use: {problem}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_roots_is_told_with_the_mend() {
        let failure = gather(CertificateResult::default()).expect_err("no roots");
        assert_eq!(failure.cause, Cause::CredentialUnreadable);
        assert!(failure.message.contains("certPathValidationPolicyID"), "{failure}");
    }

    #[test]
    fn a_policy_without_usable_anchors_is_refused() {
        assert_eq!(Anchors::from_files(&[]).expect_err("empty").cause, Cause::CredentialInvalid);
        let directory = tempfile::tempdir().expect("writable");
        let file = directory.path().join("ca.crt");
        assert_eq!(
            Anchors::from_files(std::slice::from_ref(&file)).expect_err("missing").cause,
            Cause::CredentialUnreadable
        );
        std::fs::write(&file, "").expect("writable");
        assert_eq!(Anchors::from_files(&[file]).expect_err("no PEM").cause, Cause::CredentialInvalid);
    }
}
