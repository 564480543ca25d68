//! The configuration document as a key of a ConfigMap, followed over the API: an edit is there a moment after it was accepted,
//! where a mounted ConfigMap needs up to 90 s.
//!
//! Whatever goes wrong (no such object or key, a Role without a rule, an API server that is away) is told as of any source: the last
//! good set goes on. A deleted ConfigMap is one that is missing, not an empty one.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use tokio::sync::Notify;

use super::{
    MAX_DOCUMENT_BYTES,
    source::{ConfigSource, Document, SourceError},
};
use crate::{
    base::{
        http::BoxFuture,
        object::{ObjectWatch, sentence},
        trouble::Trouble,
    },
    model::kubernetes::ConfigMapKey,
};

type Told = Result<Document, SourceError>;

/// Keys that a sentence lists; a ConfigMap with more is not a matter of a typing error.
const KEYS_LISTED: usize = 10;

/// Tells one key of one ConfigMap whenever it changed.
pub struct ConfigMapSource {
    at: ConfigMapKey,
    /// Relative file names are relative to this.
    base_dir: PathBuf,
    object: ObjectWatch<ConfigMap>,
    told: Option<Told>,
    reload: Notify,
}

impl ConfigMapSource {
    /// Follows the key `at`, which need not exist. A document has no directory here; its relative file names are relative to
    /// `base_dir`.
    pub fn new(client: Client, at: ConfigMapKey, base_dir: impl Into<PathBuf>) -> Self {
        let object = ObjectWatch::new(Api::namespaced(client, &at.namespace), &at.name);
        Self { at, base_dir: base_dir.into(), object, told: None, reload: Notify::new() }
    }

    async fn next_told(&mut self) -> Told {
        loop {
            let seen = tokio::select! {
                seen = self.object.next() => seen,
                () = self.reload.notified() => {
                    self.object.look();
                    continue;
                }
            };
            let now = document(&self.at, &self.base_dir, seen);
            if self.told.as_ref() != Some(&now) {
                self.told = Some(now.clone());
                return now;
            }
        }
    }
}

impl ConfigSource for ConfigMapSource {
    fn name(&self) -> String {
        self.at.to_string()
    }

    fn next(&mut self) -> BoxFuture<'_, Told> {
        Box::pin(self.next_told())
    }

    fn reload(&self) {
        self.reload.notify_one();
    }
}

/// The document in what was seen of the ConfigMap.
pub(super) fn document(
    at: &ConfigMapKey,
    base_dir: &std::path::Path,
    seen: Result<Option<ConfigMap>, Trouble>,
) -> Told {
    let name = at.to_string();
    let unreadable = |reason: String| SourceError::Unreadable { name: name.clone(), reason };
    let map = seen
        .map_err(|trouble| unreadable(sentence(&trouble, "configmaps", &at.name, &at.namespace)))?
        .ok_or_else(|| SourceError::MissingObject(name.clone()))?;
    let (texts, binaries) = (map.data.unwrap_or_default(), map.binary_data.unwrap_or_default());
    let Some(text) = texts.get(&at.key) else {
        if binaries.contains_key(&at.key) {
            return Err(SourceError::Binary(name));
        }
        let all: Vec<&str> = texts.keys().chain(binaries.keys()).map(String::as_str).collect();
        let more = if all.len() > KEYS_LISTED { ", …" } else { "" };
        let present = match &all[..] {
            [] => "it has no keys".to_owned(),
            keys => format!("it has {}{more}", keys[..keys.len().min(KEYS_LISTED)].join(", ")),
        };
        return Err(SourceError::MissingKey { name, key: at.key.clone(), present });
    };
    if text.len() > MAX_DOCUMENT_BYTES {
        return Err(SourceError::TooLarge { name, limit: MAX_DOCUMENT_BYTES });
    }
    Ok(Document { name, text: text.clone(), base_dir: base_dir.to_owned() })
}

#[cfg(test)]
#[path = "configmap_tests.rs"]
mod tests;
