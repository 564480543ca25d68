//! The token request of each client authentication method (RFC 6749 §2.3.1, §4.4.2; RFC 7523 §2.2; RFC 8705 §2).

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use url::{Url, form_urlencoded};

use super::metadata::Metadata;
use crate::{
    base::secret::Secret,
    model::{
        authorization::{AuthorizationServer, ClientAuth},
        failure::{Cause, Failure},
    },
    tls::{client::ClientConfigs, identity::Identity, jose, trust::Anchors},
};

/// How long an assertion is good: long enough for a slow link, short enough to be worth nothing when stolen.
const ASSERTION_LIFE: Duration = Duration::from_secs(120);
/// `client_assertion_type` (RFC 7523 §2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Longest secret file in bytes.
const SECRET_MAX: u64 = 16 * 1024;

/// What is read from files for one request; on a blocking thread.
pub(super) struct Material {
    /// TLS to the server, with our certificate where the method wants it.
    pub(super) tls: Arc<rustls::ClientConfig>,
    proof: Proof,
}

enum Proof {
    Certificate,
    Basic(Secret),
    Post(Secret),
    Assertion { algorithm: Algorithm, key: EncodingKey, key_id: Option<String> },
}

impl Material {
    /// Reads what `server` refers to. Blocks.
    ///
    /// # Errors
    /// A cause of the phase authorize: a file that is unreadable or of no use.
    pub(super) fn load(server: &AuthorizationServer, configs: &ClientConfigs) -> Result<Self, Failure> {
        jose::install();
        let anchors = Anchors::load(&server.trust)?;
        let mut identity = None;
        let proof = match &server.client_auth {
            ClientAuth::SecretBasic { secret_file } => Proof::Basic(secret(secret_file)?),
            ClientAuth::SecretPost { secret_file } => Proof::Post(secret(secret_file)?),
            ClientAuth::SecretJwt { secret_file } => {
                let key = EncodingKey::from_secret(secret(secret_file)?.expose().as_bytes());
                Proof::Assertion { algorithm: Algorithm::HS256, key, key_id: None }
            }
            ClientAuth::PrivateKeyJwt { key_file, key_id } => {
                let (algorithm, key) = jose::load_signing_key(key_file)?;
                Proof::Assertion { algorithm, key, key_id: key_id.clone() }
            }
            ClientAuth::TlsClientAuth(certificate) | ClientAuth::SelfSignedTlsClientAuth(certificate) => {
                identity = Some(Identity::load(certificate)?);
                Proof::Certificate
            }
        };
        Ok(Self { tls: configs.get(identity.as_ref(), &anchors), proof })
    }
}

/// A secret is what stands on the only line of its file.
fn secret(file: &Path) -> Result<Secret, Failure> {
    use std::io::Read;
    let unreadable = |error: std::io::Error| {
        let sentence = format!("cannot read the client secret file {}: {error}", file.display());
        Failure::new(Cause::CredentialUnreadable, sentence)
    };
    let mut text = String::new();
    std::fs::File::open(file).map_err(unreadable)?.take(SECRET_MAX).read_to_string(&mut text).map_err(unreadable)?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.contains(['\r', '\n']) {
        let sentence = format!("the client secret file {} must hold one line, the secret", file.display());
        return Err(Failure::new(Cause::CredentialInvalid, sentence));
    }
    Ok(Secret::new(line))
}

/// The claims of an assertion (RFC 7523 §3).
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: String,
    iat: u64,
    nbf: u64,
    exp: u64,
}

/// The request for a token.
///
/// # Errors
/// [`Cause::CredentialInvalid`] when the key does not sign.
pub(super) fn build(
    server: &AuthorizationServer,
    metadata: &Metadata,
    material: &Material,
    now: SystemTime,
) -> Result<Request<Bytes>, Failure> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if !server.scopes.is_empty() {
        form.append_pair("scope", &server.scopes.join(" "));
    }
    let mut authorization = None;
    match &material.proof {
        Proof::Certificate => {
            form.append_pair("client_id", &server.client_id);
        }
        Proof::Basic(secret) => authorization = Some(basic(&server.client_id, secret)),
        Proof::Post(secret) => {
            form.append_pair("client_id", &server.client_id).append_pair("client_secret", secret.expose());
        }
        Proof::Assertion { algorithm, key, key_id } => {
            let assertion = assertion(server, metadata, *algorithm, key, key_id.as_deref(), now)?;
            form.append_pair("client_id", &server.client_id)
                .append_pair("client_assertion_type", ASSERTION_TYPE)
                .append_pair("client_assertion", &assertion);
        }
    }
    let mut request = Request::new(Bytes::from(form.finish()));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = uri(&metadata.token_endpoint)?;
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(value) = authorization {
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

/// RFC 6749 §2.3.1: both parts are form-encoded before they are joined.
fn basic(client_id: &str, secret: &Secret) -> HeaderValue {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let encoded = STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret.expose())));
    let mut value = HeaderValue::try_from(format!("Basic {encoded}")).expect("base64 is ASCII");
    value.set_sensitive(true);
    value
}

fn assertion(
    server: &AuthorizationServer,
    metadata: &Metadata,
    algorithm: Algorithm,
    key: &EncodingKey,
    key_id: Option<&str>,
    now: SystemTime,
) -> Result<String, Failure> {
    let unusable = || {
        let sentence = format!("the key for the authorization server `{}` does not sign; look at its file", server.id);
        Failure::new(Cause::CredentialInvalid, sentence)
    };
    let mut random = [0; 16];
    SystemRandom::new().fill(&mut random).map_err(|_| unusable())?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = Claims {
        iss: &server.client_id,
        sub: &server.client_id,
        aud: server.audience.as_deref().unwrap_or(metadata.token_endpoint.as_str()),
        jti: URL_SAFE_NO_PAD.encode(random),
        iat: now,
        nbf: now,
        exp: now + ASSERTION_LIFE.as_secs(),
    };
    let header = Header { kid: key_id.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, &claims, key).map_err(|_| unusable())
}

/// A URL as the HTTP library has it.
///
/// # Errors
/// [`Cause::MetadataInvalid`] for one that it does not take.
pub(super) fn uri(url: &Url) -> Result<http::Uri, Failure> {
    url.as_str().parse().map_err(|_| {
        Failure::new(
            Cause::MetadataInvalid,
            "the authorization server has an address that HTTP cannot carry; check serverUri",
        )
    })
}
