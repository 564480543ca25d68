//! PEM files as they are mounted beside a camera: read within a bound, taken apart, and never printed (RFC 7468).
//!
//! Everything here blocks; callers run it on a blocking thread.

use std::{fs::File, io::Read, path::Path};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::model::failure::{Cause, Failure};

/// Longest file that is read, in bytes: the public roots of a distribution take a quarter of it.
const FILE_MAX: u64 = 1024 * 1024;

/// All certificates of a file, in its order; at least one. `what` says in a sentence what the file is for.
///
/// # Errors
/// [`Cause::CredentialUnreadable`] or [`Cause::CredentialInvalid`].
pub(super) fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let bytes = read(path, what)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(invalid(
            path,
            what,
            "it holds no PEM certificate; it needs a section that starts with -----BEGIN CERTIFICATE-----",
        )),
        Ok(certificates) => Ok(certificates),
        // What the parser says may quote the file, which may also hold the key: it is not passed on.
        Err(_) => Err(invalid(path, what, "its PEM is damaged; write the file again")),
    }
}

/// The first private key of a file: PKCS#8, PKCS#1 or SEC 1, not encrypted.
///
/// # Errors
/// [`Cause::CredentialUnreadable`] or [`Cause::CredentialInvalid`]; the sentence never quotes the file.
pub(super) fn private_key(path: &Path, what: &str) -> Result<PrivateKeyDer<'static>, Failure> {
    let bytes = read(path, what)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let encrypted = bytes.windows(9).any(|window| window == b"ENCRYPTED");
        let problem = if encrypted {
            "the key is encrypted with a passphrase; store it without one, for example by `openssl pkey -in OLD -out NEW`"
        } else {
            "it holds no PEM private key; it needs a section that starts with -----BEGIN PRIVATE KEY-----"
        };
        invalid(path, what, problem)
    })
}

/// The bytes of a regular file of at most 1 MiB.
///
/// # Errors
/// [`Cause::CredentialUnreadable`] or [`Cause::CredentialInvalid`].
pub(super) fn read(path: &Path, what: &str) -> Result<Vec<u8>, Failure> {
    let unreadable = |problem: String| {
        Failure::new(Cause::CredentialUnreadable, format!("cannot read the {what} {}: {problem}", path.display()))
    };
    // Asked before it is opened: to open a pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if !metadata.is_file() {
        return Err(unreadable("it is not a regular file".to_owned()));
    }
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(invalid(path, what, "it is longer than 1 MiB"));
    }
    Ok(bytes)
}

/// The failure of a file that can be read and not used.
pub(super) fn invalid(path: &Path, what: &str, problem: &str) -> Failure {
    Failure::new(Cause::CredentialInvalid, format!("the {what} {} is of no use: {problem}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_more_than_its_bound_is_not_read() {
        let directory = tempfile::tempdir().expect("writable");
        let path = directory.path().join("long.pem");
        std::fs::write(&path, vec![b'a'; FILE_MAX as usize + 1]).expect("writable");
        let failure = certificates(&path, "certificate file").expect_err("too long");
        assert_eq!(failure.cause, Cause::CredentialInvalid);
        assert!(failure.message.contains("1 MiB"), "{failure}");
    }

    #[test]
    fn a_directory_is_not_a_certificate() {
        let directory = tempfile::tempdir().expect("writable");
        let failure = certificates(directory.path(), "certificate file").expect_err("a directory");
        assert_eq!(failure.cause, Cause::CredentialUnreadable);
    }

    #[test]
    fn a_damaged_key_is_refused_without_being_quoted() {
        let directory = tempfile::tempdir().expect("writable");
        let path = directory.path().join("key.pem");
        std::fs::write(&path, "-----BEGIN PRIVATE KEY-----\nhunter2!\n-----END PRIVATE KEY-----\n").expect("writable");
        let failure = private_key(&path, "key file").expect_err("damaged");
        assert_eq!(failure.cause, Cause::CredentialInvalid);
        assert!(!failure.message.contains("hunter2"), "{failure}");
    }

    #[test]
    fn an_encrypted_key_is_refused_with_the_mend() {
        let directory = tempfile::tempdir().expect("writable");
        let path = directory.path().join("key.pem");
        let text = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        std::fs::write(&path, text).expect("writable");
        let failure = private_key(&path, "key file").expect_err("encrypted");
        assert!(failure.message.contains("passphrase"), "{failure}");
    }
}
