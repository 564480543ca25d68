//! Who we are to the remote, and whom we trust there: identities, trust policies, authorization servers
//! (ONVIF Uplink §5.3; ONVIF Security: keystore, CertPathValidationPolicy, AuthorizationServerConfiguration).
//!
//! Files are named, not read: only the rooms `tls` and `authz` read secrets.

use std::path::PathBuf;

/// A client certificate with its key: what CertificateID refers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Certificate {
    /// CertificateID (NCName, at most 64 characters).
    pub id: String,
    /// PEM file: the certificate, then the intermediates.
    pub cert_file: PathBuf,
    /// PEM file: the private key.
    pub key_file: PathBuf,
}

/// Which server certificates are accepted (RFC 6125 name check always on).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// No CertPathValidationPolicyID: the system's roots.
    SystemRoots,
    /// The trust anchors of a CertPathValidationPolicy, and nothing else.
    Policy(CertPathValidationPolicy),
}

/// A CertPathValidationPolicy of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertPathValidationPolicy {
    /// CertPathValidationPolicyID (NCName, at most 64 characters).
    pub id: String,
    /// PEM files with the trust anchors; at least one.
    pub trust_anchor_files: Vec<PathBuf>,
    /// PEM or DER files with certificate revocation lists (RFC 5280 §5); may be empty.
    pub crl_files: Vec<PathBuf>,
    /// SHA-256 of public keys (SubjectPublicKeyInfo), one of which must be in the server's chain; empty: no pins.
    pub pins: Vec<SpkiPin>,
}

/// SHA-256 of a SubjectPublicKeyInfo (the form of RFC 7469 §2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpkiPin(pub [u8; 32]);

/// How the device shows who it is: a client certificate or an access token, never both (ONVIF Uplink 26.06, Authentication).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Authorization {
    /// TLS client authentication.
    Mtls(Certificate),
    /// A bearer token of an authorization server on the upgrade request.
    AccessToken(Box<AccessToken>),
    /// Neither: what was possible before 24.06 and the draft of the device test specification does (UPLINK-1-1-1). Only where the
    /// device's configuration allows it.
    Unauthenticated,
}

/// An access token: where it comes from and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccessToken {
    /// Where it comes from.
    pub server: AuthorizationServer,
    /// Where the upgrade request carries it.
    pub placement: TokenPlacement,
}

/// Where the upgrade request carries the token (RFC 6750 §2; ONVIF Uplink 26.06, Access token authentication).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenPlacement {
    /// `Authorization: Bearer`.
    #[default]
    Header,
    /// `access_token` in the query; only for wss.
    Query,
}

impl Authorization {
    /// Which of the two.
    pub fn mode(&self) -> AuthorizationMode {
        match self {
            Self::Mtls(_) => AuthorizationMode::Mtls,
            Self::AccessToken(_) => AuthorizationMode::AccessToken,
            Self::Unauthenticated => AuthorizationMode::Unauthenticated,
        }
    }
}

/// The authorization modes: those of the specification (capability AuthorizationModes), and none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuthorizationMode {
    /// `mTLS`
    Mtls,
    /// `AccessToken`
    AccessToken,
    /// None; never among the capabilities.
    Unauthenticated,
}

impl AuthorizationMode {
    /// The value in the specification's capability list; `none` for the one that it does not have.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mtls => "mTLS",
            Self::AccessToken => "AccessToken",
            Self::Unauthenticated => "none",
        }
    }
}

/// An AuthorizationServerConfiguration of type OAuthClientCredentials.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthorizationServer {
    /// The token by which uplinks refer to it.
    pub id: String,
    /// RFC 8414 metadata document.
    pub server_uri: url::Url,
    /// `client_id`.
    pub client_id: String,
    /// How the client authenticates.
    pub client_auth: ClientAuth,
    /// Requested scopes.
    pub scopes: Vec<String>,
    /// `aud` of client assertions; by default the token endpoint.
    pub audience: Option<String>,
    /// Whom we trust there.
    pub trust: Trust,
}

/// ClientAuth of an authorization server, with what each method needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientAuth {
    /// `client_secret_basic`
    SecretBasic {
        /// File that holds the secret.
        secret_file: PathBuf,
    },
    /// `client_secret_post`
    SecretPost {
        /// File that holds the secret.
        secret_file: PathBuf,
    },
    /// `client_secret_jwt`
    SecretJwt {
        /// File that holds the secret.
        secret_file: PathBuf,
    },
    /// `private_key_jwt`
    PrivateKeyJwt {
        /// PEM file with the private key.
        key_file: PathBuf,
        /// `kid` of the assertion, when set.
        key_id: Option<String>,
    },
    /// `tls_client_auth`
    TlsClientAuth(Certificate),
    /// `self_signed_tls_client_auth`
    SelfSignedTlsClientAuth(Certificate),
}
