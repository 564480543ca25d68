//! The tokens in use: one for each authorization server, whatever the number of uplinks, and one request under way.
//!
//! Who finds a request under way waits for it and shares what comes of it, a failure too: ten thousand uplinks that come back
//! after an outage ask once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    time::Instant,
};

use super::{
    answer,
    files::files_of,
    metadata::{self, Metadata, origin},
    request::{self, Material, uri},
};
use crate::{
    authz::Fetch,
    base::{clock, secret::Secret, watch::FileWatcher},
    model::{
        authorization::AuthorizationServer,
        failure::{Cause, Failure, Phase},
        network::Network,
        step::{Step, Witness},
    },
    tls::client::ClientConfigs,
};

/// Servers that are kept; a document names a few.
const SERVERS_MAX: usize = 256;
/// Metadata is read again after this.
const METADATA_AGE_MAX: Duration = Duration::from_secs(3600);
/// The end of a token is not used: a request takes its time, and clocks differ.
const MARGIN: Duration = Duration::from_secs(5);

/// A token that may be used.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) value: Secret,
    /// Its end, for people.
    pub(super) expires: SystemTime,
}

/// The tokens of all servers.
pub(super) struct Cache {
    fetch: Arc<dyn Fetch>,
    watcher: Arc<FileWatcher>,
    configs: Arc<ClientConfigs>,
    servers: Mutex<HashMap<AuthorizationServer, Arc<AsyncMutex<Slot>>>>,
}

struct Slot {
    kept: Option<Kept>,
    metadata: Option<(Instant, Metadata)>,
    failed: Option<(Instant, Failure)>,
    /// Secret, key, certificate and anchors.
    material: watch::Receiver<u64>,
}

struct Kept {
    token: Token,
    /// From here on it is refreshed.
    stale: Instant,
    /// From here on it is not used.
    end: Instant,
}

impl Cache {
    pub(super) fn new(fetch: Arc<dyn Fetch>, watcher: Arc<FileWatcher>) -> Self {
        Self { fetch, watcher, configs: Arc::default(), servers: Mutex::default() }
    }

    /// A token of `server`, kept or fresh. Cancel safe: whoever waits next asks in place of one who gave up.
    ///
    /// # Errors
    /// A cause of the phase authorize, or of the proxy on the way.
    pub(super) async fn token(
        &self,
        server: &AuthorizationServer,
        network: &Network,
        witness: &dyn Witness,
    ) -> Result<Token, Failure> {
        let asked = Instant::now();
        let slot = self.slot(server);
        let mut slot = slot.lock().await;
        if slot.material.has_changed().unwrap_or(false) {
            slot.material.mark_unchanged();
            (slot.kept, slot.metadata, slot.failed) = (None, None, None);
        }
        let now = Instant::now();
        let usable = slot.kept.as_ref().filter(|kept| now < kept.end).map(|kept| kept.token.clone());
        if let Some(token) = usable.clone().filter(|_| slot.kept.as_ref().is_some_and(|kept| now < kept.stale)) {
            return Ok(token);
        }
        let failure = match &slot.failed {
            Some((at, failure)) if *at > asked => failure.clone(),
            _ => match self.fresh(server, network, &mut slot, witness).await {
                Ok(token) => return Ok(token),
                Err(failure) => {
                    slot.failed = Some((Instant::now(), failure.clone()));
                    failure
                }
            },
        };
        match usable {
            Some(token) => {
                tracing::info!(%failure, server = server.id, "the access token could not be refreshed; the old one is good for a while");
                Ok(token)
            }
            None => Err(failure),
        }
    }

    /// Forgets the token if it is the one in use.
    pub(super) fn drop_token(&self, server: &AuthorizationServer, token: &Secret) {
        let slot = self.slot(server);
        // Who holds the lock is about to fetch another one.
        if let Ok(mut slot) = slot.try_lock()
            && slot.kept.as_ref().is_some_and(|kept| kept.token.value.expose() == token.expose())
        {
            slot.kept = None;
        }
    }

    fn slot(&self, server: &AuthorizationServer) -> Arc<AsyncMutex<Slot>> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = servers.get(server) {
            return Arc::clone(slot);
        }
        if servers.len() >= SERVERS_MAX {
            // Those that nobody uses now are of configurations that are gone.
            servers.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        let material = self.watcher.subscribe(&files_of(server));
        let slot = Arc::new(AsyncMutex::new(Slot { kept: None, metadata: None, failed: None, material }));
        servers.insert(server.clone(), Arc::clone(&slot));
        slot
    }

    async fn fresh(
        &self,
        server: &AuthorizationServer,
        network: &Network,
        slot: &mut Slot,
        witness: &dyn Witness,
    ) -> Result<Token, Failure> {
        let (owned, configs) = (server.clone(), Arc::clone(&self.configs));
        let loaded = tokio::task::spawn_blocking(move || Material::load(&owned, &configs)).await;
        let material = loaded.map_err(|_| {
            Failure::new(Cause::CredentialUnreadable, "reading the client's secret was interrupted; it is tried again")
        })??;
        let metadata = match slot.metadata.take() {
            Some((read, metadata)) if read.elapsed() < METADATA_AGE_MAX => metadata,
            _ => self.metadata(server, network, &material, witness).await?,
        };
        witness.saw(Step::Metadata {
            issuer: metadata.issuer.clone(),
            token_endpoint: metadata.token_endpoint.to_string(),
        });
        let request = request::build(server, &metadata, &material, SystemTime::now())?;
        let response = self.exchange(server, request, &material, network, witness).await?;
        let given = answer::read(server, &response, SystemTime::now())?;
        // Kept only after a token has come: what does not lead to one is read anew.
        slot.metadata = Some((Instant::now(), metadata));
        let now = Instant::now();
        let token = Token { value: given.token, expires: SystemTime::now() + given.life };
        let end = now + given.life.saturating_sub(MARGIN);
        slot.kept = Some(Kept { token: token.clone(), stale: (now + given.life * 4 / 5).min(end), end });
        slot.failed = None;
        Ok(token)
    }

    async fn metadata(
        &self,
        server: &AuthorizationServer,
        network: &Network,
        material: &Material,
        witness: &dyn Witness,
    ) -> Result<Metadata, Failure> {
        let mut status = StatusCode::NOT_FOUND;
        for candidate in metadata::candidates(&server.server_uri) {
            let mut request = Request::new(Bytes::new());
            *request.uri_mut() = uri(&candidate)?;
            request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
            let response = self.exchange(server, request, material, network, witness).await?;
            status = response.status();
            if status.is_success() {
                return metadata::read(server, response.body());
            }
            if status != StatusCode::NOT_FOUND {
                break;
            }
        }
        let who = origin(&server.server_uri);
        let (cause, problem) = match status {
            status if status.is_server_error() => (Cause::AuthorizationServerUnreachable, "it is asked again later"),
            status if status.is_redirection() => {
                (Cause::MetadataInvalid, "redirects are not followed; set serverUri to the right place")
            }
            _ => (Cause::MetadataInvalid, "there is no metadata document at serverUri; correct it"),
        };
        Err(Failure::new(cause, format!("the authorization server {who} answered {status}; {problem}")))
    }

    async fn exchange(
        &self,
        server: &AuthorizationServer,
        request: Request<Bytes>,
        material: &Material,
        network: &Network,
        witness: &dyn Witness,
    ) -> Result<Response<Bytes>, Failure> {
        // The steps of this way are not those of the uplink's: only clock and metadata are told.
        let fetched = self.fetch.fetch(request, Arc::clone(&material.tls), network).await;
        let response = fetched.map_err(|failure| at_the_server(server, failure))?;
        let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok()).and_then(clock::http_date);
        if let Some(date) = date {
            let offset_seconds = clock::offset_seconds(date, SystemTime::now());
            witness.saw(Step::Clock { server: origin(&server.server_uri), offset_seconds });
        }
        Ok(response)
    }
}

/// Whatever is wrong on the way to the authorization server is not wrong with the remote. A proxy stays at fault itself.
fn at_the_server(server: &AuthorizationServer, failure: Failure) -> Failure {
    match failure.cause.phase() {
        Phase::Resolve | Phase::Dial | Phase::Tls if failure.cause != Cause::SourceUnavailable => Failure::new(
            Cause::AuthorizationServerUnreachable,
            format!("the authorization server {} was not reached: {failure}", origin(&server.server_uri)),
        ),
        _ => failure,
    }
}
