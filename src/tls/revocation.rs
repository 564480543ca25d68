//! Revocation lists of a policy (RFC 5280 §5): PEM or DER, read with the anchors and at the same times.
//!
//! A list that is past its `nextUpdate` still refuses what it lists: an authority that is late must not let a stolen key in again, nor
//! take a fleet offline. It is warned of, once for each version of a file.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::pki_types::{CertificateRevocationListDer, pem::PemObject};
use x509_parser::{prelude::FromDer, revocation_list::CertificateRevocationList};

use super::pem;
use crate::model::failure::Failure;

const WHAT: &str = "revocation list file";

/// The lists of a file; at least one.
///
/// # Errors
/// A cause of the phase authorize: unreadable, or no list.
pub(super) fn lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Failure> {
    let bytes = pem::read(path, WHAT)?;
    let damaged = || pem::invalid(path, WHAT, "it holds no revocation list, in PEM or DER");
    let lists = if bytes.starts_with(b"-----BEGIN") || bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>().map_err(|_| damaged())?
    } else {
        vec![CertificateRevocationListDer::from(bytes)]
    };
    if lists.is_empty() {
        return Err(damaged());
    }
    for list in &lists {
        let (_, parsed) = CertificateRevocationList::from_der(list).map_err(|_| damaged())?;
        warn_when_late(path, &parsed);
    }
    Ok(lists)
}

fn warn_when_late(path: &Path, list: &CertificateRevocationList<'_>) {
    static WARNED: Mutex<BTreeSet<(String, i64)>> = Mutex::new(BTreeSet::new());
    let Some(next) = list.next_update().map(|time| time.timestamp()) else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let late = u64::try_from(next).is_ok_and(|next| next < now);
    if late && WARNED.lock().unwrap_or_else(PoisonError::into_inner).insert((path.display().to_string(), next)) {
        tracing::warn!(file = %path.display(), "the revocation list is past its nextUpdate; what it lists stays refused, get a newer one");
    }
}
