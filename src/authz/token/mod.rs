//! Access tokens by OAuth client credentials (RFC 6749 §4.4; ONVIF Security, AuthorizationServerConfiguration; ONVIF Uplink 26.06).
//!
//! - [`metadata`]: where the server gives tokens (RFC 8414, OpenID Connect Discovery).
//! - [`request`]: what each client authentication method sends.
//! - [`answer`]: what comes back, as a token or a cause.
//! - [`cache`]: one token and one request under way per server, whatever the number of uplinks.
//!
//! A token is asked for when an attempt needs one. After four fifths of its life it is refreshed at the next attempt; if that fails
//! while it still is valid, it is used. An established session is not authorized anew (the specification is silent).

mod answer;
mod cache;
pub(super) mod files;
mod metadata;
mod request;

use std::sync::Arc;

use tokio::sync::watch;

use self::{
    cache::Cache,
    files::{anchor_files, files_of},
};
use super::{Authorizer, Fetch, Grant};
use crate::{
    base::{http::BoxFuture, secret::Secret, watch::FileWatcher},
    model::{
        authorization::{Authorization, AuthorizationMode},
        failure::{Cause, Failure},
        step::{Step, Witness},
        uplink::Uplink,
    },
    tls::{
        client::{ClientConfigs, Wishes},
        trust::Anchors,
    },
};

/// [`Authorizer`] for uplinks with an AuthorizationServer.
pub struct AccessTokens {
    watcher: Arc<FileWatcher>,
    configs: ClientConfigs,
    cache: Cache,
}

impl AccessTokens {
    /// The mode that it serves.
    pub const MODE: AuthorizationMode = AuthorizationMode::AccessToken;

    /// Serves any number of uplinks; `watcher` tells when secrets change, `fetch` reaches the authorization servers.
    pub fn new(watcher: Arc<FileWatcher>, fetch: Arc<dyn Fetch>) -> Self {
        Self { cache: Cache::new(fetch, Arc::clone(&watcher)), watcher, configs: ClientConfigs::new() }
    }

    async fn load(&self, uplink: &Uplink, witness: &dyn Witness) -> Result<Grant, Failure> {
        let Authorization::AccessToken(wanted) = &uplink.authorization else {
            return Err(Failure::new(
                Cause::CredentialInvalid,
                "this uplink has no authorizationServer; an access token needs one",
            ));
        };
        let trust = uplink.trust.clone();
        let anchors = tokio::task::spawn_blocking(move || Anchors::load(&trust)).await.map_err(|_| {
            Failure::new(Cause::CredentialUnreadable, "reading the trust anchors was interrupted; it is tried again")
        })??;
        let token = self.cache.token(&wanted.server, &uplink.network, witness).await?;
        let how = format!("access token of {} as {}", wanted.server.id, wanted.server.client_id);
        witness.saw(Step::Authorized { how, expires: Some(token.expires) });
        let tls = self.configs.get_with(None, &anchors, Wishes::of(uplink));
        Ok(Grant { tls, token: Some(token.value), certificate_expiry: None })
    }
}

impl Authorizer for AccessTokens {
    fn mode(&self) -> AuthorizationMode {
        Self::MODE
    }

    fn grant<'a>(&'a self, uplink: &'a Uplink, witness: &'a dyn Witness) -> BoxFuture<'a, Result<Grant, Failure>> {
        Box::pin(self.load(uplink, witness))
    }

    fn refused(&self, uplink: &Uplink, token: &Secret) -> bool {
        let Authorization::AccessToken(wanted) = &uplink.authorization else { return false };
        self.cache.drop_token(&wanted.server, token);
        true
    }

    fn changes(&self, uplink: &Uplink) -> watch::Receiver<u64> {
        let mut files = anchor_files(&uplink.trust);
        if let Authorization::AccessToken(wanted) = &uplink.authorization {
            files.extend(files_of(&wanted.server));
        }
        self.watcher.subscribe(&files)
    }
}

#[cfg(test)]
mod tests;
