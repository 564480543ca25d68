//! TLS client authentication: the certificate and key that CertificateID names (ONVIF Uplink §5.3).
//!
//! Files are read anew at each attempt, so that a mended file is taken by itself; what did not change by content keeps its
//! TLS configuration and so its session tickets.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::watch;

use super::{Authorizer, Grant};
use crate::{
    base::{http::BoxFuture, watch::FileWatcher},
    model::{
        authorization::{Authorization, AuthorizationMode, Trust},
        failure::{Cause, Failure},
        step::{Step, Witness},
        uplink::Uplink,
    },
    tls::{
        client::{ClientConfigs, Wishes},
        identity::Identity,
        trust::Anchors,
    },
};

/// [`Authorizer`] for uplinks with a CertificateID.
pub struct MutualTls {
    watcher: Arc<FileWatcher>,
    configs: ClientConfigs,
}

impl MutualTls {
    /// The mode that it serves.
    pub const MODE: AuthorizationMode = AuthorizationMode::Mtls;

    /// Serves any number of uplinks; `watcher` tells when their files change.
    pub fn new(watcher: Arc<FileWatcher>) -> Self {
        Self { watcher, configs: ClientConfigs::new() }
    }

    async fn load(&self, uplink: &Uplink, witness: &dyn Witness) -> Result<Grant, Failure> {
        let Authorization::Mtls(certificate) = &uplink.authorization else {
            return Err(Failure::new(
                Cause::CredentialInvalid,
                "this uplink has no certificateID; client authentication needs one",
            ));
        };
        let id = certificate.id.clone();
        let (certificate, trust, wishes) = (certificate.clone(), uplink.trust.clone(), Wishes::of(uplink));
        // Mounted volumes may be slow, and parsing takes time that the streams of other uplinks would wait.
        let loaded =
            tokio::task::spawn_blocking(move || Ok((Identity::load(&certificate)?, Anchors::load(&trust)?))).await;
        let (identity, anchors) = loaded.unwrap_or_else(|_| {
            Err(Failure::new(
                Cause::CredentialUnreadable,
                "reading certificate and key was interrupted; it is tried again",
            ))
        })?;
        witness.saw(Step::Authorized { how: format!("certificate {id}"), expires: Some(identity.expiry()) });
        Ok(Grant {
            tls: self.configs.get_with(Some(&identity), &anchors, wishes),
            token: None,
            certificate_expiry: Some(identity.expiry()),
        })
    }
}

impl Authorizer for MutualTls {
    fn mode(&self) -> AuthorizationMode {
        Self::MODE
    }

    fn grant<'a>(&'a self, uplink: &'a Uplink, witness: &'a dyn Witness) -> BoxFuture<'a, Result<Grant, Failure>> {
        Box::pin(self.load(uplink, witness))
    }

    fn changes(&self, uplink: &Uplink) -> watch::Receiver<u64> {
        self.watcher.subscribe(&files(uplink))
    }
}

/// Every file that the grant of `uplink` is made from.
fn files(uplink: &Uplink) -> Vec<PathBuf> {
    let mut files = Vec::new();
    if let Authorization::Mtls(certificate) = &uplink.authorization {
        files.extend([certificate.cert_file.clone(), certificate.key_file.clone()]);
    }
    if let Trust::Policy(policy) = &uplink.trust {
        files.extend(policy.trust_anchor_files.iter().chain(&policy.crl_files).cloned());
    }
    files
}

#[cfg(test)]
#[path = "mtls_tests.rs"]
mod tests;
