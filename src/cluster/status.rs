//! The status written where `kubectl` shows it: the document of `/status` in a ConfigMap of its own, or one line as an annotation of
//! the pod.
//!
//! Written when an uplink came up, failed in another way, or the configuration changed; counters alone write nothing. Trouble is
//! logged once and has no effect on uplinks.

use std::{
    convert::Infallible,
    mem::{Discriminant, discriminant},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::{ConfigMap, Pod as PodObject};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    base::{
        backoff::Backoff,
        call::{Purpose, Writes, bounded},
        trouble::Trouble,
    },
    model::{
        failure::Cause,
        pod::StatusTarget,
        status::{ConfigStatus, Snapshot, Status, StatusBoard},
        uplink::UplinkKey,
    },
};

/// Owner of what is written, for server-side apply.
pub const MANAGER: &str = "onvif-uplink";
/// The annotation.
pub const ANNOTATION: &str = "onvif-uplink/status";
/// The key of the ConfigMap.
pub const KEY: &str = "status.json";
/// Time between two writes at least: each is a write to the store of the cluster.
pub const WRITE_EVERY: Duration = Duration::from_secs(5);
/// Largest document, bytes: a ConfigMap takes 1 MiB with all that is around it.
const DOCUMENT_MAX: usize = 900 * 1024;
/// Longest annotation, characters; it is one line for people.
const LINE_MAX: usize = 256;

/// Makes the document of `/status`.
pub type MakeDocument = Arc<dyn Fn() -> Value + Send + Sync>;

/// Writes the status.
pub struct StatusWriter {
    client: Client,
    target: StatusTarget,
    document: MakeDocument,
    backoff: Backoff,
    writes: Writes,
    trouble: Option<Discriminant<Trouble>>,
}

/// What is worth a write.
#[derive(PartialEq, Eq)]
struct Picture {
    config: ConfigStatus,
    uplinks: Vec<(UplinkKey, Result<(), Option<Cause>>)>,
}

impl StatusWriter {
    /// Writes into `target`, counted by `writes`. Nothing is dialed before [`Self::follow`].
    pub fn new(client: Client, target: StatusTarget, document: MakeDocument, writes: Writes) -> Self {
        let backoff = Backoff::new(&MANAGER);
        Self { client, target, document, backoff, writes, trouble: None }
    }

    /// Writes what becomes of the board. Never ends by itself. Cancel safe: the last write may be missing.
    pub async fn follow(mut self, board: &StatusBoard) -> Infallible {
        let mut changes = board.watch();
        let mut written = None;
        loop {
            changes.borrow_and_update();
            let now = board.snapshot();
            let picture = Some(picture(&now));
            if written != picture {
                if self.write(&now).await {
                    written = picture;
                } else {
                    sleep(self.backoff.next_delay(None)).await;
                }
                sleep(WRITE_EVERY).await;
                continue;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Whether it is written, or would not be at the next time either.
    async fn write(&mut self, now: &Snapshot) -> bool {
        let (written, rule, namespace) = match &self.target {
            StatusTarget::ConfigMap { namespace, name } => {
                let document = format!("{:#}\n", (self.document)());
                if document.len() > DOCUMENT_MAX {
                    tracing::warn!(
                        bytes = document.len(),
                        "the status is too large for a ConfigMap; it is not written"
                    );
                    return true;
                }
                let rule = format!(
                    "apiGroups: [\"\"], resources: [configmaps], resourceNames: [{name}], verbs: [patch]}}, and to make it {{apiGroups: \
                     [\"\"], resources: [configmaps], verbs: [create]"
                );
                (apply(&self.client, (namespace, name), document).await, rule, namespace)
            }
            StatusTarget::Annotation(pod) => {
                let patch = json!({ "metadata": { "uid": pod.uid, "annotations": { ANNOTATION: line(now) } } });
                let api = Api::<PodObject>::namespaced(self.client.clone(), &pod.namespace);
                let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
                let patched = bounded(api.patch_metadata(&pod.name, &parameters, &Patch::Merge(patch))).await;
                let rule = "apiGroups: [\"\"], resources: [pods], verbs: [patch]".to_owned();
                (patched.map(drop), rule, &pod.namespace)
            }
        };
        self.writes.tried(Purpose::Status, &written);
        let Err(trouble) = written else {
            self.backoff.reset();
            if self.trouble.take().is_some() {
                tracing::info!("the status is written again");
            }
            return true;
        };
        if self.trouble.replace(discriminant(&trouble)) != Some(discriminant(&trouble)) {
            let reason = trouble.sentence(&rule, namespace);
            tracing::warn!(reason, "the status was not written; uplinks do not depend on it");
        }
        false
    }
}

/// Only this key is ever ours; whatever else is in the ConfigMap stays.
async fn apply(client: &Client, (namespace, name): (&str, &str), document: String) -> Result<(), Trouble> {
    let patch =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { KEY: document } });
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    bounded(api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch))).await.map(drop)
}

fn picture(now: &Snapshot) -> Picture {
    let uplinks = now.uplinks.iter().map(|(key, uplink)| {
        let is_online = uplink.status == Status::Online;
        let cause = uplink.error.as_ref().map(|failure| failure.cause);
        (key.clone(), if is_online { Ok(()) } else { Err(cause) })
    });
    Picture { config: now.config.clone(), uplinks: uplinks.collect() }
}

/// `2 of 3 uplinks Online; camera-1 -> https://cloud/: dial: connection-refused; configuration refused: …`
fn line(now: &Snapshot) -> String {
    let online = now.uplinks.values().filter(|uplink| uplink.status == Status::Online).count();
    let mut line = format!("{online} of {} uplinks Online", now.uplinks.len());
    if let Some(error) = now.config.errors.first() {
        line = format!("{line}; configuration refused: {error}");
    }
    for (key, uplink) in now.uplinks.iter().filter(|(_, uplink)| uplink.status != Status::Online) {
        if let Some(failure) = &uplink.error {
            line = format!("{line}; {key}: {}: {}", failure.phase().as_str(), failure.cause);
        }
        if line.len() > LINE_MAX {
            break;
        }
    }
    line.chars().take(LINE_MAX).collect()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
