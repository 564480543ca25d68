//! The public keys of whoever issues tokens: a JWKS file, or an address that serves one (RFC 7517 §5).

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use rustls::ClientConfig;
use tokio::{sync::Mutex, time::Instant};

use super::reload::Reloading;
use crate::{model::network::Network, transport::fetch::HttpsFetch};

/// Keys are fetched again after this.
const AGE_MAX: Duration = Duration::from_secs(600);
/// Two fetches are at least this far apart, whatever key identifiers strangers make up.
const FETCH_GAP: Duration = Duration::from_secs(30);
/// Longest file in bytes.
const FILE_MAX: u64 = 256 * 1024;

/// Where the keys are.
pub enum Keys {
    /// A file, read again when it changed.
    File(Reloading<Arc<JwkSet>>),
    /// An https address.
    Url(Box<Served>),
}

/// Keys behind an address.
pub struct Served {
    url: http::Uri,
    fetch: HttpsFetch,
    tls: Arc<ClientConfig>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: Option<(Instant, Arc<JwkSet>)>,
    tried: Option<Instant>,
}

impl Keys {
    /// Keys of a file.
    ///
    /// # Errors
    /// A sentence: unreadable, or no key set.
    pub fn file(path: PathBuf) -> Result<Self, String> {
        let from = path.clone();
        Reloading::new(&[&path], move || read_file(&from)).map(Self::File)
    }

    /// Keys behind `url`, fetched when they are first needed.
    pub fn url(url: http::Uri, fetch: HttpsFetch, tls: Arc<ClientConfig>) -> Self {
        Self::Url(Box::new(Served { url, fetch, tls, state: Mutex::default() }))
    }

    /// The key of this identifier; without one, the only key for signatures there is.
    pub async fn find(&self, key_id: Option<&str>) -> Option<Jwk> {
        match self {
            Self::File(keys) => pick(&keys.get(), key_id),
            Self::Url(served) => served.find(key_id).await,
        }
    }
}

impl Served {
    /// Whoever finds a fetch under way waits for it and uses what came.
    async fn find(&self, key_id: Option<&str>) -> Option<Jwk> {
        let mut state = self.state.lock().await;
        let known = state.keys.as_ref().and_then(|(_, keys)| pick(keys, key_id));
        let fresh = state.keys.as_ref().is_some_and(|(fetched, _)| fetched.elapsed() < AGE_MAX);
        if (fresh && known.is_some()) || state.tried.is_some_and(|tried| tried.elapsed() < FETCH_GAP) {
            return known;
        }
        state.tried = Some(Instant::now());
        match self.fetch().await {
            Ok(keys) => {
                let found = pick(&keys, key_id);
                state.keys = Some((Instant::now(), Arc::new(keys)));
                found
            }
            Err(error) => {
                tracing::warn!(%error, url = %self.url, "the keys of tokens could not be fetched; the last good ones stay");
                known
            }
        }
    }

    async fn fetch(&self) -> Result<JwkSet, String> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = self.url.clone();
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let fetched = self.fetch.exchange(request, Arc::clone(&self.tls), &Network::default()).await;
        let response = fetched.map_err(|failure| failure.message)?;
        if !response.status().is_success() {
            return Err(format!("it answered {}", response.status()));
        }
        parse(response.body())
    }
}

fn read_file(path: &std::path::Path) -> Result<Arc<JwkSet>, String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes));
    read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    parse(&bytes).map(Arc::new).map_err(|problem| format!("{}: {problem}", path.display()))
}

fn parse(bytes: &[u8]) -> Result<JwkSet, String> {
    let keys: JwkSet = serde_json::from_slice(bytes).map_err(|error| format!("it is no JWKS of RFC 7517: {error}"))?;
    if keys.keys.is_empty() { Err("it holds no key".to_owned()) } else { Ok(keys) }
}

fn pick(keys: &JwkSet, key_id: Option<&str>) -> Option<Jwk> {
    let mut signing =
        keys.keys.iter().filter(|key| !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption)));
    match key_id {
        Some(id) => signing.find(|key| key.common.key_id.as_deref() == Some(id)).cloned(),
        None => {
            let first = signing.next()?;
            signing.next().is_none().then(|| first.clone())
        }
    }
}
