//! Signatures of JSON Web Tokens: the library's tokens, by the primitives that TLS uses anyway (RFC 7515, RFC 7518).
//!
//! The library leaves cryptography to a provider. Ours signs RS256, ES256 and HS256, which is what ONVIF's security baseline names and
//! client secrets need, and verifies RS256, RS384, RS512, PS256, ES256 and ES384; everything else is refused.

use std::path::Path;

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
};
use ring::{hmac, signature as ring_signature};
use rustls::{SignatureScheme, pki_types::PrivateKeyDer};
use signature::{Error as SignatureError, Signer, Verifier};
use x509_parser::{
    asn1_rs::{Integer, Sequence},
    prelude::FromDer,
};

use super::{pem, provider::provider};
use crate::model::failure::Failure;

/// Bytes of each half of an ES256 signature (RFC 7518 §3.4).
const P256_BYTES: usize = 32;

static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory: signer, verifier_factory: verifier, key_utils: KeyUtils::new_unimplemented() };

/// Makes tokens of the library use our provider. May be called any number of times.
pub fn install() {
    // An error says that it was called before.
    let _ = PROVIDER.install_default();
}

/// Loads the private key for assertions. Blocks: run it on a blocking thread.
///
/// # Errors
/// Causes of the phase authorize: unreadable, or no usable key; the sentence never quotes the file.
pub fn load_signing_key(path: &Path) -> Result<(Algorithm, EncodingKey), Failure> {
    const WHAT: &str = "key file of the authorization server";
    let key = pem::private_key(path, WHAT)?;
    signing_key(&key).map_err(|problem| pem::invalid(path, WHAT, &problem))
}

/// A private key for assertions with the algorithm that its kind has; PKCS#8, PKCS#1 and SEC1.
///
/// # Errors
/// A sentence: neither RSA nor P-256.
pub fn signing_key(key: &PrivateKeyDer<'_>) -> Result<(Algorithm, EncodingKey), String> {
    let wrong = || "it is neither an RSA nor a P-256 key; RS256 and ES256 are spoken".to_owned();
    let loaded = provider().key_provider.load_private_key(key.clone_key()).map_err(|_| wrong())?;
    let der = key.secret_der();
    if loaded.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).is_some() {
        Ok((Algorithm::RS256, EncodingKey::from_rsa_der(der)))
    } else if loaded.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).is_some() {
        Ok((Algorithm::ES256, EncodingKey::from_ec_der(der)))
    } else {
        Err(wrong())
    }
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    match (algorithm, key.family()) {
        (Algorithm::HS256, AlgorithmFamily::Hmac) => {
            Ok(Box::new(HmacSigner(hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()))))
        }
        (Algorithm::RS256, AlgorithmFamily::Rsa) => {
            asymmetric(key, SignatureScheme::RSA_PKCS1_SHA256, Algorithm::RS256)
        }
        (Algorithm::ES256, AlgorithmFamily::Ec) => {
            asymmetric(key, SignatureScheme::ECDSA_NISTP256_SHA256, Algorithm::ES256)
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

fn asymmetric(key: &EncodingKey, scheme: SignatureScheme, algorithm: Algorithm) -> Result<Box<dyn JwtSigner>, Error> {
    let invalid = || Error::from(ErrorKind::InvalidKeyFormat);
    let der = PrivateKeyDer::try_from(key.as_bytes().to_vec()).map_err(|_| invalid())?;
    let key = provider().key_provider.load_private_key(der).map_err(|_| invalid())?;
    let signer = key.choose_scheme(&[scheme]).ok_or_else(invalid)?;
    Ok(Box::new(KeySigner { signer, algorithm }))
}

struct HmacSigner(hmac::Key);

impl Signer<Vec<u8>> for HmacSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        Ok(hmac::sign(&self.0, message).as_ref().to_vec())
    }
}

impl JwtSigner for HmacSigner {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

struct KeySigner {
    signer: Box<dyn rustls::sign::Signer>,
    algorithm: Algorithm,
}

impl Signer<Vec<u8>> for KeySigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let signature = self.signer.sign(message).map_err(SignatureError::from_source)?;
        match self.algorithm {
            Algorithm::ES256 => fixed(&signature).ok_or_else(SignatureError::new),
            _ => Ok(signature),
        }
    }
}

impl JwtSigner for KeySigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// TLS has the two numbers of an ECDSA signature in DER, tokens have them side by side (RFC 7518 §3.4).
fn fixed(der: &[u8]) -> Option<Vec<u8>> {
    let (_, sequence) = Sequence::from_der(der).ok()?;
    let (rest, r) = Integer::from_der(&sequence.content).ok()?;
    let (_, s) = Integer::from_der(rest).ok()?;
    let mut both = Vec::with_capacity(2 * P256_BYTES);
    for number in [r, s] {
        let bytes: &[u8] = number.as_ref();
        let digits = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        both.extend(std::iter::repeat_n(0, P256_BYTES.checked_sub(digits.len())?));
        both.extend_from_slice(digits);
    }
    Some(both)
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    match (algorithm, key.family()) {
        (Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 | Algorithm::PS256, AlgorithmFamily::Rsa)
        | (Algorithm::ES256 | Algorithm::ES384, AlgorithmFamily::Ec) => {
            Ok(Box::new(KeyVerifier { algorithm: *algorithm, key: key.clone() }))
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

struct KeyVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl KeyVerifier {
    fn rsa(&self) -> Option<&'static ring_signature::RsaParameters> {
        match self.algorithm {
            Algorithm::RS256 => Some(&ring_signature::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => Some(&ring_signature::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => Some(&ring_signature::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => Some(&ring_signature::RSA_PSS_2048_8192_SHA256),
            _ => None,
        }
    }
}

impl Verifier<Vec<u8>> for KeyVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        let wrong = |_| SignatureError::new();
        match (self.rsa(), self.key.kind()) {
            (Some(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                ring_signature::RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).map_err(wrong)
            }
            (Some(parameters), DecodingKeyKind::SecretOrDer(der)) => {
                ring_signature::UnparsedPublicKey::new(parameters, der).verify(message, signature).map_err(wrong)
            }
            (None, DecodingKeyKind::SecretOrDer(point)) => {
                let curve = match self.algorithm {
                    Algorithm::ES384 => &ring_signature::ECDSA_P384_SHA384_FIXED,
                    _ => &ring_signature::ECDSA_P256_SHA256_FIXED,
                };
                ring_signature::UnparsedPublicKey::new(curve, point).verify(message, signature).map_err(wrong)
            }
            (None, DecodingKeyKind::RsaModulusExponent { .. }) => Err(SignatureError::new()),
        }
    }
}

impl JwtVerifier for KeyVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

#[cfg(test)]
#[path = "jose_tests.rs"]
mod tests;
