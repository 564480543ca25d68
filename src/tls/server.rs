//! TLS as the remote's side has it: the gateway accepts devices by their client certificates (ONVIF Uplink §5.3).
//!
//! The device's name is read from the certificate that the handshake has verified, never from anything the peer sends
//! later.

use std::{path::Path, sync::Arc};

use rustls::{
    ServerConfig,
    pki_types::CertificateDer,
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{client::ALPN_HTTP_1_1, identity::Identity, provider::provider, trust::Anchors};
use crate::model::failure::{Cause, Failure};

/// Longest device name in characters: the upper bound of a common name (RFC 5280, ub-common-name).
const COMMON_NAME_MAX: usize = 64;

/// What of a client certificate names the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityField {
    /// The subject's common name.
    CommonName,
    /// The serial number that the authority gave the certificate, in lower-case hexadecimal.
    SerialNumber,
}

/// Which client certificates are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates<'a> {
    /// One of these authorities, from everybody.
    Required(&'a Path),
    /// One of these authorities, or none: who has none shows a token.
    Optional(&'a Path),
    /// None is asked for.
    Never,
}

/// TLS 1.2 and 1.3 with a certificate of our own and client certificates as said.
/// The only application protocol is `http/1.1`, because an upgrade needs it (RFC 9113 §8.6); peers without ALPN are fine.
/// Blocks while it reads the files.
///
/// # Errors
/// The causes of [`Identity::load_files`] and [`Anchors::from_files`].
pub fn server_config(cert: &Path, key: &Path, clients: ClientCertificates<'_>) -> Result<Arc<ServerConfig>, Failure> {
    let identity = Identity::load_files(cert, key)?;
    let provider = provider();
    let unusable = |error: &dyn std::fmt::Display| {
        Failure::new(Cause::CredentialInvalid, format!("cannot verify client certificates: {error}"))
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| unusable(&error))?;
    let builder = match clients {
        ClientCertificates::Never => builder.with_no_client_auth(),
        ClientCertificates::Required(authorities) | ClientCertificates::Optional(authorities) => {
            let anchors = Anchors::from_files(&[authorities.to_owned()])?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(anchors.store()), provider);
            let verifier = match clients {
                ClientCertificates::Optional(_) => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| unusable(&error))?)
        }
    };
    let mut config = builder.with_cert_resolver(identity.resolver());
    config.alpn_protocols = vec![ALPN_HTTP_1_1.to_vec()];
    Ok(Arc::new(config))
}

/// The device's name from `cert`, the verified leaf certificate.
///
/// # Errors
/// A sentence: not a certificate, no common name or several, or one with control characters or more than 64 characters.
pub fn identity_of(cert: &CertificateDer<'_>, by: IdentityField) -> Result<String, String> {
    let (_, certificate) =
        X509Certificate::from_der(cert).map_err(|_| "the client certificate is not an X.509 certificate".to_owned())?;
    match by {
        IdentityField::SerialNumber => {
            let octets = certificate.tbs_certificate.raw_serial();
            // DER puts a zero octet before a number whose first bit is set; tools do not show it.
            let octets = octets.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(octets);
            Ok(octets.iter().map(|octet| format!("{octet:02x}")).collect())
        }
        IdentityField::CommonName => {
            let mut names = certificate.subject().iter_common_name();
            let (Some(name), None) = (names.next(), names.next()) else {
                return Err("the client certificate does not have exactly one common name".to_owned());
            };
            let name = name.as_str().map_err(|_| "the common name of the client certificate is not text".to_owned())?;
            if name.is_empty() || name.chars().count() > COMMON_NAME_MAX || name.contains(char::is_control) {
                return Err(format!(
                    "the common name of the client certificate is empty, has control characters or more than {COMMON_NAME_MAX} characters"
                ));
            }
            Ok(name.to_owned())
        }
    }
}
