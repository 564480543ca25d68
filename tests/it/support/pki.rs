//! A throw-away PKI: an authority and the certificates that it issues, good or bad in one way each.
//!
//! Included by path in the unit tests of `tls` too, so it uses nothing of the product.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, as PEM.
pub struct Issued {
    /// The certificate.
    pub cert: String,
    /// The key, PKCS#8.
    pub key: String,
}

impl Authority {
    /// A new authority of this name.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("ECDSA P-256");
        let pem = params.self_signed(&key).expect("self-signed").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// The authority's certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Issues a certificate with this common name and these subject alternative names; `change` makes it special.
    pub fn issue(&self, common_name: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, common_name);
        change(&mut params);
        let key = KeyPair::generate().expect("ECDSA P-256");
        let cert = params.signed_by(&key, &self.issuer).expect("signed").pem();
        Issued { cert, key: key.serialize_pem() }
    }
}

impl Issued {
    /// Writes `NAME.crt` and `NAME.key`.
    pub fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (cert, key) = (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")));
        std::fs::write(&cert, &self.cert).expect("writable");
        std::fs::write(&key, &self.key).expect("writable");
        (cert, key)
    }
}
