//! No authorization at all: TLS as its client, and whoever answers does not learn who we are.
//!
//! Before 24.06 an uplink could be set without a certificate, and the draft of the device test specification does so
//! (UPLINK-1-1-1). Since then it is the fault MissingAuthentication. It is on only where the configuration of the device says so.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Authorizer, Grant, token::files::anchor_files};
use crate::{
    base::{http::BoxFuture, watch::FileWatcher},
    model::{
        authorization::AuthorizationMode,
        failure::{Cause, Failure},
        step::{Step, Witness},
        uplink::Uplink,
    },
    tls::{
        client::{ClientConfigs, Wishes},
        trust::Anchors,
    },
};

/// [`Authorizer`] for uplinks with neither CertificateID nor AuthorizationServer.
pub struct Unauthenticated {
    watcher: Arc<FileWatcher>,
    configs: ClientConfigs,
}

impl Unauthenticated {
    /// The mode that it serves.
    pub const MODE: AuthorizationMode = AuthorizationMode::Unauthenticated;

    /// Serves any number of uplinks; `watcher` tells when trust anchors change.
    pub fn new(watcher: Arc<FileWatcher>) -> Self {
        Self { watcher, configs: ClientConfigs::new() }
    }

    async fn load(&self, uplink: &Uplink, witness: &dyn Witness) -> Result<Grant, Failure> {
        let trust = uplink.trust.clone();
        let anchors = tokio::task::spawn_blocking(move || Anchors::load(&trust)).await.map_err(|_| {
            Failure::new(Cause::CredentialUnreadable, "reading the trust anchors was interrupted; it is tried again")
        })??;
        tracing::warn!(
            device = uplink.device.name,
            remote = %uplink.remote,
            "this uplink shows the remote no authorization; configure certificateID or authorizationServer"
        );
        witness.saw(Step::Authorized { how: "without authorization".to_owned(), expires: None });
        let tls = self.configs.get_with(None, &anchors, Wishes::of(uplink));
        Ok(Grant { tls, token: None, certificate_expiry: None })
    }
}

impl Authorizer for Unauthenticated {
    fn mode(&self) -> AuthorizationMode {
        Self::MODE
    }

    fn grant<'a>(&'a self, uplink: &'a Uplink, witness: &'a dyn Witness) -> BoxFuture<'a, Result<Grant, Failure>> {
        Box::pin(self.load(uplink, witness))
    }

    fn changes(&self, uplink: &Uplink) -> watch::Receiver<u64> {
        self.watcher.subscribe(&anchor_files(&uplink.trust))
    }
}
