//! Which files a token depends on: secret, key, certificate, and whom the server is trusted by.

use std::path::PathBuf;

use crate::model::authorization::{AuthorizationServer, ClientAuth, Trust};

/// The files of a policy.
pub(in crate::authz) fn anchor_files(trust: &Trust) -> Vec<PathBuf> {
    match trust {
        Trust::SystemRoots => Vec::new(),
        Trust::Policy(policy) => policy.trust_anchor_files.iter().chain(&policy.crl_files).cloned().collect(),
    }
}

/// Every file that a token of `server` depends on.
pub(super) fn files_of(server: &AuthorizationServer) -> Vec<PathBuf> {
    let mut files = anchor_files(&server.trust);
    match &server.client_auth {
        ClientAuth::SecretBasic { secret_file }
        | ClientAuth::SecretPost { secret_file }
        | ClientAuth::SecretJwt { secret_file } => files.push(secret_file.clone()),
        ClientAuth::PrivateKeyJwt { key_file, .. } => files.push(key_file.clone()),
        ClientAuth::TlsClientAuth(certificate) | ClientAuth::SelfSignedTlsClientAuth(certificate) => {
            files.extend([certificate.cert_file.clone(), certificate.key_file.clone()]);
        }
    }
    files
}
