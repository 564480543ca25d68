//! Secrets over the API: those that the document in force names are watched by name and written as files, which are followed like
//! mounted ones.
//!
//! Nothing is listed but these names, so a Role with `resourceNames` is enough. What was written stays when a Secret is deleted,
//! loses a key or cannot be watched; it goes when the document does not name it any more, and at the end of the process.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::{sync::watch, time::sleep};
use tokio_util::task::AbortOnDropHandle;

use super::secret_dir;
use crate::{
    base::object::{ObjectWatch, sentence},
    model::status::StatusBoard,
};

/// Each is a watch of its own at the API server; a pod with more certificates and accounts than this mounts its Secrets.
pub const SECRETS_MAX: usize = 64;
/// What could not be written is tried again after this; the API server would not repeat it.
const WRITE_AGAIN: Duration = Duration::from_secs(10);

/// Names of Secrets, each with the keys that are needed of it.
type Named = BTreeMap<String, BTreeSet<String>>;

/// Follows Secrets and keeps their files.
pub struct SecretFiles {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    namespace: String,
    dir: PathBuf,
    board: Arc<StatusBoard>,
    /// Those that were looked at since they are followed, whatever came of it.
    looked: watch::Sender<Named>,
    /// Those that may have files now. Held while files are written and removed, so that a late write cannot bring back what was
    /// removed.
    wanted: Mutex<BTreeSet<String>>,
}

impl SecretFiles {
    /// Writes the Secrets of `namespace` below `dir`; what cannot be had is said on the board.
    pub fn new(client: Client, namespace: impl Into<String>, dir: impl Into<PathBuf>, board: Arc<StatusBoard>) -> Self {
        let (namespace, dir, wanted) = (namespace.into(), dir.into(), Mutex::default());
        let looked = watch::Sender::default();
        Self { shared: Arc::new(Shared { client, namespace, dir, board, looked, wanted }) }
    }

    /// Resolves when each of these Secrets, which must be followed, was looked at once: its files are there, or the board says why not.
    /// Cancel safe.
    pub async fn looked_at(&self, named: &Named) {
        let all = |looked: &Named| named.iter().all(|(name, keys)| looked.get(name) == Some(keys));
        // It ends early only without a sender, which lives as long as this.
        let _ = self.shared.looked.subscribe().wait_for(all).await;
    }

    /// Follows what `named` names, at most [`SECRETS_MAX`] of them. Dropping the future ends the watches and keeps the files.
    pub async fn follow(&self, mut named: watch::Receiver<Named>) -> Infallible {
        let mut watches: BTreeMap<String, (BTreeSet<String>, AbortOnDropHandle<()>)> = BTreeMap::new();
        loop {
            let mut now = named.borrow_and_update().clone();
            self.shared.board.update_config(|config| config.secrets.retain(|name, _| now.contains_key(name)));
            let beyond = now.keys().nth(SECRETS_MAX).cloned().map(|first| now.split_off(&first)).unwrap_or_default();
            watches.retain(|name, (keys, _)| now.get(name) == Some(keys));
            self.shared.looked.send_modify(|looked| looked.retain(|name, keys| now.get(name) == Some(keys)));
            self.shared.forget(&now).await;
            for (name, keys) in &beyond {
                let sentence =
                    format!("is not followed: the configuration names more than {SECRETS_MAX}; mount them instead");
                self.shared.trouble(name, Some(sentence));
                self.shared.looked(name, keys);
            }
            for (name, keys) in now {
                watches.entry(name.clone()).or_insert_with(|| {
                    let one = follow_one(Arc::clone(&self.shared), name, keys.clone());
                    (keys, AbortOnDropHandle::new(tokio::spawn(one)))
                });
            }
            if named.changed().await.is_err() {
                // Nobody changes it any more: the process ends.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Removes all files that were written. Must be called when nothing uses them any more.
    pub async fn remove(&self) {
        self.shared.forget(&Named::new()).await;
    }
}

async fn follow_one(shared: Arc<Shared>, name: String, keys: BTreeSet<String>) {
    let api = Api::<Secret>::namespaced(shared.client.clone(), &shared.namespace);
    let mut object = ObjectWatch::new(api, &name);
    loop {
        let seen = match object.next().await {
            Err(trouble) => Err(sentence(&trouble, "secrets", &name, &shared.namespace)),
            Ok(None) => Err("there is no such Secret; create it".to_owned()),
            Ok(Some(secret)) => Ok(secret),
        };
        let Ok(secret) = seen else {
            shared.trouble(&name, seen.err());
            shared.looked(&name, &keys);
            continue;
        };
        let (writer, of, needed) = (Arc::clone(&shared), name.clone(), keys.clone());
        let written = tokio::task::spawn_blocking(move || writer.write(&of, &needed, &secret)).await;
        match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(missing) => {
                shared.trouble(&name, missing);
                shared.looked(&name, &keys);
            }
            Err(error) => {
                let dir = shared.dir.display();
                let sentence =
                    format!("cannot be written to {dir}: {error}; the directory must be a writable volume in memory");
                shared.trouble(&name, Some(sentence));
                shared.looked(&name, &keys);
                sleep(WRITE_AGAIN).await;
                object.look();
            }
        }
    }
}

impl Shared {
    fn wanted(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn looked(&self, name: &str, keys: &BTreeSet<String>) {
        self.looked.send_if_modified(|looked| looked.insert(name.to_owned(), keys.clone()).as_ref() != Some(keys));
    }

    /// Writes the `needed` keys if all are there; else what is there, if no older version is. Returns what is missing.
    fn write(&self, name: &str, needed: &BTreeSet<String>, secret: &Secret) -> io::Result<Option<String>> {
        let wanted = self.wanted();
        if !wanted.contains(name) {
            return Ok(None);
        }
        let empty = BTreeMap::new();
        let data = secret.data.as_ref().unwrap_or(&empty);
        let found = |key: &&String| data.get(*key).filter(|content| !content.0.is_empty());
        let files: secret_dir::Files<'_> =
            needed.iter().filter_map(|key| Some((key.as_str(), found(&key)?.0.as_slice()))).collect();
        let root = self.dir.join(name);
        let complete = files.len() == needed.len();
        // Half of a pair does not take the place of a whole one.
        let better = complete || !secret_dir::exists(&root);
        if better && secret_dir::write(&root, &files)? {
            tracing::info!(secret = name, namespace = self.namespace, "Secret written");
        }
        let missing: Vec<_> = needed.iter().filter(|key| found(key).is_none()).map(String::as_str).collect();
        let present: Vec<_> = data.keys().map(String::as_str).collect();
        let present =
            if present.is_empty() { "it has none".to_owned() } else { format!("it has {}", present.join(", ")) };
        Ok((!complete).then(|| format!("has no key {}, or it is empty; {present}", missing.join(", "))))
    }

    /// Says on the board and in the log what is wrong with a Secret, or that nothing is any more.
    fn trouble(&self, name: &str, sentence: Option<String>) {
        let full = sentence.map(|sentence| format!("Secret {}/{name}: {sentence}", self.namespace));
        let mut before = None;
        self.board.update_config(|config| {
            before = match &full {
                Some(full) => config.secrets.insert(name.to_owned(), full.clone()),
                None => config.secrets.remove(name),
            };
        });
        match full {
            Some(full) if before.as_ref() != Some(&full) => {
                tracing::error!("{full}; what was read before stays in use")
            }
            None if before.is_some() => tracing::info!(secret = name, "the Secret is in order again"),
            _ => {}
        }
    }

    /// Removes the files of all that `now` does not name.
    async fn forget(self: &Arc<Self>, now: &Named) {
        let (shared, now) = (Arc::clone(self), now.keys().cloned().collect::<BTreeSet<_>>());
        let removed = tokio::task::spawn_blocking(move || {
            let mut wanted = shared.wanted();
            for name in wanted.difference(&now) {
                if let Err(error) = secret_dir::remove(&shared.dir.join(name)) {
                    tracing::warn!(secret = name, %error, "the files of a Secret could not be removed");
                }
            }
            *wanted = now;
        });
        // It only ends early when it panicked, which is logged by the runtime's hook.
        let _ = removed.await;
    }
}
