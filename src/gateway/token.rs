//! Who a device is by its access token: a JWT of an issuer that the gateway trusts (RFC 7519, RFC 9068; ONVIF Uplink 26.06).

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::jwks::Keys;
use crate::{base::secret::Secret, tls::jose};

/// What a public key may sign with here. `none` and the HMACs, whose secret a public key must never become, are not among them.
const ALGORITHMS: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384];
/// Seconds by which clocks may differ.
const LEEWAY: u64 = 60;
/// Longest token in bytes; it came in a head of 16 KiB.
const TOKEN_MAX: usize = 12 * 1024;
/// Longest device name in characters, as with certificates.
const NAME_MAX: usize = 64;

/// What a token must be.
pub struct TokenRules {
    keys: Keys,
    issuer: String,
    audience: String,
    claim: String,
}

impl TokenRules {
    /// Tokens signed by one of `keys`, from `issuer`, for `audience`; `claim` names the device.
    pub fn new(keys: Keys, issuer: String, audience: String, claim: String) -> Self {
        jose::install();
        Self { keys, issuer, audience, claim }
    }

    /// The name of the device that shows `token`. Cancel safe.
    ///
    /// # Errors
    /// A sentence for the log, never for the device; it does not quote the token.
    pub async fn device(&self, token: &Secret) -> Result<String, String> {
        let token = token.expose();
        if token.len() > TOKEN_MAX {
            return Err("the token is longer than 12 KiB".to_owned());
        }
        let header = decode_header(token).map_err(|error| format!("the bearer is no JWT: {error}"))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(format!("the token is signed by {:?}, which is not accepted", header.alg));
        }
        let Some(key) = self.keys.find(header.kid.as_deref()).await else {
            return Err("the token is signed by a key that is not in the JWKS".to_owned());
        };
        let key = DecodingKey::from_jwk(&key).map_err(|error| format!("the key in the JWKS is of no use: {error}"))?;
        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let claims = decode::<Map<String, Value>>(token, &key, &validation)
            .map_err(|error| format!("the token is not valid: {error}"))?
            .claims;
        match claims.get(&self.claim).and_then(Value::as_str) {
            Some(name)
                if !name.is_empty()
                    && name.chars().count() <= NAME_MAX
                    && !name.contains(|c: char| c.is_control() || c == '/') =>
            {
                Ok(name.to_owned())
            }
            _ => Err(format!("the claim `{}` of the token names no usable device", self.claim)),
        }
    }
}
