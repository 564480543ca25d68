//! What uplinks refer to by id: certificates, trust policies and authorization servers (ONVIF Security).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::{
    connection::pins,
    context::Context,
    error::Position,
    keys,
    reader::{Cursor, Errors, Fields, near},
    secrets,
};
use crate::model::authorization::{AuthorizationServer, CertPathValidationPolicy, Certificate, ClientAuth, Trust};

/// Longest id (ONVIF Security: CertificateID, CertPathValidationPolicyID).
const MAX_ID: usize = 64;
const CLIENT_AUTH: &[&str] = &[
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
];

/// The entries by id; `None` is one that is there but wrong, so that whoever refers to it gets no second error.
#[derive(Debug, Default)]
pub(super) struct References {
    certificates: BTreeMap<String, Option<Certificate>>,
    policies: BTreeMap<String, Option<CertPathValidationPolicy>>,
    servers: BTreeMap<String, Option<AuthorizationServer>>,
}

impl References {
    /// Reads all of them.
    pub(super) fn read(document: &Fields<'_>, context: &Context<'_>, errors: &mut Errors) -> Self {
        let mut found = Self::default();
        for (id, entry) in entries(document, "certificates", errors) {
            let certificate = certificate(id, &entry, context, errors);
            found.certificates.insert(id.to_owned(), certificate);
        }
        for (id, entry) in entries(document, "certPathValidationPolicies", errors) {
            let policy = policy(id, &entry, context, errors);
            found.policies.insert(id.to_owned(), policy);
        }
        for (id, entry) in entries(document, "authorizationServers", errors) {
            let server = server(id, &entry, &found, context, errors);
            found.servers.insert(id.to_owned(), server);
        }
        found
    }

    /// The ids of certificates, policies and authorization servers.
    pub(super) fn ids(&self) -> [BTreeSet<String>; 3] {
        let servers = self.servers.keys().cloned().collect();
        [self.certificates.keys().cloned().collect(), self.policies.keys().cloned().collect(), servers]
    }

    /// The certificate that the id at the cursor names.
    pub(super) fn certificate(&self, cursor: &Cursor<'_>, errors: &mut Errors) -> Option<Certificate> {
        resolve(&self.certificates, "certificates", cursor, errors)
    }

    /// The authorization server that the token at the cursor names.
    pub(super) fn server(&self, cursor: &Cursor<'_>, errors: &mut Errors) -> Option<AuthorizationServer> {
        resolve(&self.servers, "authorizationServers", cursor, errors)
    }

    /// Whom the map trusts: its policy, or the system's roots if it names none.
    pub(super) fn trust(&self, fields: &Fields<'_>, errors: &mut Errors) -> Option<Trust> {
        match fields.optional("certPathValidationPolicyID") {
            None => Some(Trust::SystemRoots),
            Some(cursor) => resolve(&self.policies, "certPathValidationPolicies", cursor, errors).map(Trust::Policy),
        }
    }
}

fn entries<'n>(document: &Fields<'n>, key: &str, errors: &mut Errors) -> Vec<(&'n str, Cursor<'n>)> {
    let Some(cursor) = document.optional(key) else { return Vec::new() };
    let mut found = Vec::new();
    for (id, at, entry) in cursor.entries(errors) {
        check_id(id, at, &entry.path, errors);
        found.push((id, entry));
    }
    found
}

fn check_id(id: &str, at: Position, path: &str, errors: &mut Errors) {
    let first = |c: char| c.is_alphabetic() || c == '_';
    let further = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !id.starts_with(first) || !id.chars().all(further) || id.chars().count() > MAX_ID {
        let rule = "an id begins with a letter or `_`, goes on with letters, digits, `.`, `-`, `_`";
        errors.add(at, path, format!("{rule}, and has at most {MAX_ID} characters (NCName)"));
    }
}

fn resolve<T: Clone>(
    entries: &BTreeMap<String, Option<T>>,
    room: &str,
    cursor: &Cursor<'_>,
    errors: &mut Errors,
) -> Option<T> {
    let id = cursor.text(errors)?;
    if let Some(entry) = entries.get(id) {
        return entry.clone();
    }
    let ids: Vec<_> = entries.keys().map(String::as_str).collect();
    let hint = near(id, &ids).map(|id| format!("; did you mean `{id}`?")).unwrap_or_default();
    errors.at(cursor, format!("there is no `{id}` under {room}{hint}"));
    None
}

fn certificate(id: &str, entry: &Cursor<'_>, context: &Context<'_>, errors: &mut Errors) -> Option<Certificate> {
    let fields = entry.fields(keys::CERTIFICATE, errors)?;
    if let Some(secret) = secrets::named(&fields, &["certFile", "keyFile"], errors) {
        let file = |key| secret.map(|name| context.secret(name, key));
        return Some(Certificate { id: id.to_owned(), cert_file: file("tls.crt")?, key_file: file("tls.key")? });
    }
    let mut file = |key| secrets::required(&fields, key, errors).and_then(|at| context.file(at, errors));
    let (cert_file, key_file) = (file("certFile"), file("keyFile"));
    Some(Certificate { id: id.to_owned(), cert_file: cert_file?, key_file: key_file? })
}

fn policy(
    id: &str,
    entry: &Cursor<'_>,
    context: &Context<'_>,
    errors: &mut Errors,
) -> Option<CertPathValidationPolicy> {
    let fields = entry.fields(keys::POLICY, errors)?;
    let trust_anchor_files = trust_anchors(&fields, context, errors);
    let crl_files = match fields.optional("crlFiles") {
        Some(list) => files(&list.list(errors), context, errors),
        None => Some(Vec::new()),
    };
    let pins = pins(&fields, errors);
    Some(CertPathValidationPolicy {
        id: id.to_owned(),
        trust_anchor_files: trust_anchor_files?,
        crl_files: crl_files?,
        pins: pins?,
    })
}

/// The files of the trust anchors: of the list, or a key of a Secret.
fn trust_anchors(fields: &Fields<'_>, context: &Context<'_>, errors: &mut Errors) -> Option<Vec<PathBuf>> {
    if let Some(secret) = secrets::named(fields, &["trustAnchorFiles"], errors) {
        let key = secrets::key(fields, "ca.crt", errors);
        return Some(vec![context.secret(secret?, &key?)]);
    }
    let list = secrets::required(fields, "trustAnchorFiles", errors)?;
    let items = list.list(errors);
    if items.is_empty() && matches!(list.node.value, super::node::Value::List(_)) {
        errors.at(list, "names no file; without a trust anchor no remote can be trusted");
    }
    files(&items, context, errors).filter(|files| !files.is_empty())
}

/// All of the files, or nothing if one of them is not named by a text.
fn files(items: &[Cursor<'_>], context: &Context<'_>, errors: &mut Errors) -> Option<Vec<PathBuf>> {
    let files: Vec<_> = items.iter().filter_map(|item| context.file(item, errors)).collect();
    (files.len() == items.len()).then_some(files)
}

fn server(
    id: &str,
    entry: &Cursor<'_>,
    references: &References,
    context: &Context<'_>,
    errors: &mut Errors,
) -> Option<AuthorizationServer> {
    let fields = entry.fields(keys::AUTHORIZATION_SERVER, errors)?;
    if let Some((kind, at)) = fields.required_text("type", errors)
        && kind != "OAuthClientCredentials"
    {
        errors.at(at, format!("`{kind}` is not served; write OAuthClientCredentials"));
    }
    let server_uri = fields.required_text("serverUri", errors).and_then(|(text, at)| {
        let parsed = url::Url::parse(text).map_err(|error| format!("`{text}` is not a URL ({error})"));
        let https = parsed.and_then(|url| match url.scheme() {
            "https" => Ok(url),
            other => Err(format!("the scheme `{other}` would show the credentials; write https://")),
        });
        errors.keep(at, https)
    });
    let client_id = fields.required_text("clientID", errors).map(|(text, _)| text.to_owned());
    let client_auth = client_auth(&fields, references, context, errors);
    let scopes = match fields.optional("scopes") {
        Some(list) => list.list(errors).iter().filter_map(|item| item.text(errors)).map(str::to_owned).collect(),
        None => Vec::new(),
    };
    let audience = fields.optional_text("audience", errors).map(|(text, _)| text.to_owned());
    let trust = references.trust(&fields, errors);
    Some(AuthorizationServer {
        id: id.to_owned(),
        server_uri: server_uri?,
        client_id: client_id?,
        client_auth: client_auth?,
        scopes,
        audience,
        trust: trust?,
    })
}

fn client_auth(
    fields: &Fields<'_>,
    references: &References,
    context: &Context<'_>,
    errors: &mut Errors,
) -> Option<ClientAuth> {
    let (method, at) = fields.required_text("clientAuth", errors)?;
    let needed: &[&str] = match method {
        "client_secret_basic" | "client_secret_post" | "client_secret_jwt" => {
            &["secretFile", "secretName", "secretKey"]
        }
        "private_key_jwt" => &["keyFile", "secretName", "secretKey", "keyID"],
        "tls_client_auth" | "self_signed_tls_client_auth" => &["certificateID"],
        _ => {
            errors.at(at, format!("`{method}` is no method; write one of {}", CLIENT_AUTH.join(", ")));
            return None;
        }
    };
    for key in ["secretFile", "keyFile", "secretName", "secretKey", "keyID", "certificateID"] {
        if let Some(extra) = fields.optional(key).filter(|_| !needed.contains(&key)) {
            errors.at(extra, format!("has no meaning with {method}; remove the key"));
        }
    }
    match method {
        "private_key_jwt" => {
            let key_id = fields.optional_text("keyID", errors).map(|(text, _)| text.to_owned());
            secrets::file(fields, "keyFile", "tls.key", context, errors)
                .map(|key_file| ClientAuth::PrivateKeyJwt { key_file, key_id })
        }
        "tls_client_auth" | "self_signed_tls_client_auth" => {
            let certificate = references.certificate(fields.required("certificateID", errors)?, errors)?;
            Some(match method {
                "tls_client_auth" => ClientAuth::TlsClientAuth(certificate),
                _ => ClientAuth::SelfSignedTlsClientAuth(certificate),
            })
        }
        _ => {
            let secret_file = secrets::file(fields, "secretFile", "client-secret", context, errors)?;
            Some(match method {
                "client_secret_basic" => ClientAuth::SecretBasic { secret_file },
                "client_secret_post" => ClientAuth::SecretPost { secret_file },
                _ => ClientAuth::SecretJwt { secret_file },
            })
        }
    }
}
