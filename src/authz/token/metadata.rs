//! Where an authorization server gives tokens, from its metadata document (RFC 8414 §3; OpenID Connect Discovery §4).
//!
//! What the document says is believed only for the host that the configuration names: a token endpoint elsewhere would get
//! the client's credentials.

use serde::Deserialize;
use url::Url;

use crate::model::{
    authorization::{AuthorizationServer, ClientAuth},
    failure::{Cause, Failure},
};

/// What of the document is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    /// `issuer`.
    pub(super) issuer: String,
    /// Where tokens are asked for with the configured method.
    pub(super) token_endpoint: Url,
}

#[derive(Deserialize)]
struct Document {
    issuer: Option<String>,
    token_endpoint: Option<String>,
    mtls_endpoint_aliases: Option<Aliases>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Aliases {
    token_endpoint: Option<String>,
}

/// Where the document may be, in the order in which it is looked for.
pub(super) fn candidates(server_uri: &Url) -> Vec<Url> {
    const WELL_KNOWN: &str = "/.well-known/";
    if server_uri.path().contains(WELL_KNOWN) {
        return vec![server_uri.clone()];
    }
    let path = server_uri.path().trim_end_matches('/').to_owned();
    let with_path = |path: String| {
        let mut uri = server_uri.clone();
        uri.set_path(&path);
        uri
    };
    vec![
        with_path(format!("{WELL_KNOWN}oauth-authorization-server{path}")),
        with_path(format!("{path}{WELL_KNOWN}openid-configuration")),
    ]
}

/// Reads the document that came from `server`.
///
/// # Errors
/// [`Cause::MetadataInvalid`] with what is wrong.
pub(super) fn read(server: &AuthorizationServer, body: &[u8]) -> Result<Metadata, Failure> {
    let invalid = |problem: String| {
        let sentence =
            format!("the metadata of the authorization server {} is of no use: {problem}", origin(&server.server_uri));
        Failure::new(Cause::MetadataInvalid, sentence)
    };
    let document: Document = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("it is not the JSON of RFC 8414 ({error}); check serverUri")))?;
    let issuer = document.issuer.ok_or_else(|| invalid("it names no `issuer`; check serverUri".to_owned()))?;
    let issuer_host = Url::parse(&issuer).ok().and_then(|issuer| issuer.host_str().map(str::to_owned));
    if issuer_host.as_deref() != server.server_uri.host_str() {
        return Err(invalid(format!("it is that of another issuer, `{}`", shown(&issuer))));
    }
    let by_certificate =
        matches!(server.client_auth, ClientAuth::TlsClientAuth(_) | ClientAuth::SelfSignedTlsClientAuth(_));
    // RFC 8705 §5: a server may take certificates at an address of its own.
    let alias = document.mtls_endpoint_aliases.and_then(|aliases| aliases.token_endpoint).filter(|_| by_certificate);
    let endpoint =
        alias.or(document.token_endpoint).ok_or_else(|| invalid("it names no `token_endpoint`".to_owned()))?;
    let endpoint =
        Url::parse(&endpoint).map_err(|_| invalid(format!("its token endpoint `{}` is no URL", shown(&endpoint))))?;
    if endpoint.scheme() != "https" {
        return Err(invalid(format!("its token endpoint is `{}` and not https", shown(endpoint.as_str()))));
    }
    if !same_or_below(&endpoint, &server.server_uri, by_certificate) {
        return Err(invalid(format!(
            "its token endpoint is at another host, `{}`; the credentials are sent only to the host of serverUri",
            endpoint.host_str().unwrap_or_default()
        )));
    }
    if let Some(methods) = document.token_endpoint_auth_methods_supported
        && !methods.iter().any(|method| method == method_name(&server.client_auth))
    {
        return Err(invalid(format!(
            "it does not take {}; it takes {}: change clientAuth",
            method_name(&server.client_auth),
            shown(&methods.join(", "))
        )));
    }
    Ok(Metadata { issuer, token_endpoint: endpoint })
}

/// The same host, or, for the address of certificates, one below it.
fn same_or_below(endpoint: &Url, server: &Url, below: bool) -> bool {
    let (Some(endpoint), Some(server)) = (endpoint.host_str(), server.host_str()) else { return false };
    endpoint == server || below && endpoint.strip_suffix(server).is_some_and(|rest| rest.ends_with('.'))
}

/// The name of the method in metadata (RFC 7591 §2, RFC 8705 §2).
pub(super) fn method_name(method: &ClientAuth) -> &'static str {
    match method {
        ClientAuth::SecretBasic { .. } => "client_secret_basic",
        ClientAuth::SecretPost { .. } => "client_secret_post",
        ClientAuth::SecretJwt { .. } => "client_secret_jwt",
        ClientAuth::PrivateKeyJwt { .. } => "private_key_jwt",
        ClientAuth::TlsClientAuth(_) => "tls_client_auth",
        ClientAuth::SelfSignedTlsClientAuth(_) => "self_signed_tls_client_auth",
    }
}

/// Scheme, host and port: what a sentence names.
pub(super) fn origin(uri: &Url) -> String {
    uri.origin().ascii_serialization()
}

/// Text of a server as part of a sentence: bounded, on one line.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(120).flat_map(char::escape_debug).collect()
}
