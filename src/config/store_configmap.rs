//! Write-back to a key of a ConfigMap: read anew, edited, validated, and applied under a field manager of its own.
//!
//! What is edited is what lies there at that moment, and the server takes it only if that is still so: nobody's edit is lost. Only
//! this key is ours; other keys, labels and their owners stay.

use std::{path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{sync::Mutex, time::sleep};

use super::{
    MAX_DOCUMENT_BYTES, Served,
    configmap::document,
    source::Document,
    store::{ConfigStore, Edit, StoreError, edited},
};
use crate::{
    base::{
        call::{Purpose, Writes, bounded},
        http::BoxFuture,
        random::random,
        trouble::Trouble,
    },
    model::kubernetes::ConfigMapKey,
};

/// Owner of the key, for server-side apply.
pub const MANAGER: &str = "onvif-uplink-config";
/// How often a change is made anew because somebody else wrote meanwhile.
pub const ATTEMPTS_MAX: u32 = 5;
/// Longest pause before the next attempt, in ms: two sidecars that collide do not collide again.
const PAUSE_MAX_MS: u64 = 200;

/// [`ConfigStore`] for a ConfigMap.
pub struct ConfigMapStore {
    shared: Arc<Shared>,
}

struct Shared {
    api: Api<ConfigMap>,
    at: ConfigMapKey,
    base_dir: PathBuf,
    served: Served,
    writes: Writes,
    /// One change after the other.
    writing: Mutex<()>,
}

impl ConfigMapStore {
    /// Changes the key `at`, counted by `writes`; what validation accepts is what is `served`.
    pub fn new(client: Client, at: ConfigMapKey, base_dir: impl Into<PathBuf>, served: Served, writes: Writes) -> Self {
        let api = Api::namespaced(client, &at.namespace);
        let shared = Shared { api, at, base_dir: base_dir.into(), served, writes, writing: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }
}

impl ConfigStore for ConfigMapStore {
    fn change(&self, device: &str, edit: Edit) -> BoxFuture<'static, Result<Document, StoreError>> {
        let (shared, device) = (Arc::clone(&self.shared), device.to_owned());
        Box::pin(async move { shared.change(&device, &edit).await })
    }
}

impl Shared {
    async fn change(&self, device: &str, edit: &Edit) -> Result<Document, StoreError> {
        let _one = self.writing.lock().await;
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 0 {
                sleep(Duration::from_millis(u64::from_le_bytes(random()) % PAUSE_MAX_MS)).await;
            }
            let read = bounded(self.api.get_opt(&self.at.name)).await;
            if read.is_err() {
                self.writes.tried(Purpose::WriteBack, &read);
            }
            let map = read.map_err(|trouble| self.refused(&trouble))?;
            let version = map.as_ref().and_then(|map| map.metadata.resource_version.clone());
            let old = document(&self.at, &self.base_dir, Ok(map));
            let old = old.map_err(|error| StoreError::NotWritable(error.to_string()))?;
            let new = edited(&old, device, edit, &self.served)?;
            if new.text.len() > MAX_DOCUMENT_BYTES {
                return Err(StoreError::NotWritable(format!("{} would be too large for a ConfigMap", old.name)));
            }
            if new.text == old.text {
                return Ok(new);
            }
            let applied = self.apply(version, &new.text).await;
            self.writes.tried(Purpose::WriteBack, &applied);
            match applied {
                Ok(()) => {
                    tracing::info!(
                        configmap = old.name,
                        device,
                        "the uplink configuration service changed the configuration"
                    );
                    return Ok(new);
                }
                // Somebody else was faster.
                Err(Trouble::Answered(409, _)) => {}
                Err(trouble) => return Err(self.refused(&trouble)),
            }
        }
        Err(StoreError::NotWritable("somebody else writes to it all the time; try again".to_owned()))
    }

    /// Writes the key if the object still has this version.
    async fn apply(&self, version: Option<String>, text: &str) -> Result<(), Trouble> {
        let patch = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": self.at.name, "resourceVersion": version },
            "data": { self.at.key.as_str(): text },
        });
        // The key has been somebody else's until now, kubectl's or Helm's; the version guards what they wrote.
        let parameters = PatchParams::apply(MANAGER).force();
        bounded(self.api.patch(&self.at.name, &parameters, &Patch::Apply(patch))).await.map(drop)
    }

    fn refused(&self, trouble: &Trouble) -> StoreError {
        let ConfigMapKey { namespace, name, .. } = &self.at;
        let rule = format!("apiGroups: [\"\"], resources: [configmaps], resourceNames: [{name}], verbs: [get, patch]");
        StoreError::NotWritable(format!("{}: {}", self.at, trouble.sentence(&rule, namespace)))
    }
}

#[cfg(test)]
#[path = "store_configmap_tests.rs"]
mod tests;
