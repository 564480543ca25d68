//! What a sidecar takes from outside the pod's files: where its document and its Secrets come from, and the API of Kubernetes behind
//! them if they come from there. Without the feature `kubernetes` only files are left.

#[cfg(feature = "kubernetes")]
use std::time::Duration;
use std::{convert::Infallible, io, path::PathBuf, sync::Arc};

use prometheus_client::registry::Registry;
use tokio::sync::watch;
#[cfg(feature = "kubernetes")]
use tokio::time::timeout;

use crate::{
    base::watch::FileWatcher,
    config::{FileStore, Secrets, Served, file::FileSource, source::ConfigSource, store::ConfigStore},
    model::{kubernetes::ConfigMapKey, status::StatusBoard},
};

/// So long a document waits for the Secrets that it names: an uplink that finds no certificate would fail at first and wait for its next
/// attempt.
#[cfg(feature = "kubernetes")]
const LOOK_MAX: Duration = Duration::from_secs(5);

/// Where the document comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file; watched.
    File(PathBuf),
    /// A key of a ConfigMap, followed over the API; needs the feature `kubernetes`.
    ConfigMap(ConfigMapKey),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::ConfigMap(at) => at.fmt(f),
        }
    }
}

/// Where the Secrets come from that the document names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretsOrigin {
    /// They lie here as files, `SECRET/KEY`.
    pub dir: PathBuf,
    /// Namespace from which they are followed over the API and written to `dir`; `None` if the pod mounts them. Needs the feature
    /// `kubernetes`.
    pub namespace: Option<String>,
}

/// How the API of Kubernetes is reached: by default as the surroundings of the process say, and only if something needs it.
#[derive(Clone, Default)]
pub struct Cluster {
    #[cfg(feature = "kubernetes")]
    client: Option<kube::Client>,
    #[cfg(feature = "kubernetes")]
    pub(super) writes: crate::base::call::Writes,
}

#[cfg(feature = "kubernetes")]
impl Cluster {
    /// A known client instead.
    pub fn with_client(client: kube::Client) -> Self {
        Self { client: Some(client), ..Self::default() }
    }

    /// Counts what is written in this registry.
    pub(super) fn counted(self, registry: &mut Registry) -> Self {
        Self { writes: crate::base::call::Writes::register(registry), ..self }
    }

    /// One client for all that ask it from here on. Where none can be made each learns that by itself.
    pub(super) async fn shared(self) -> Self {
        match self.clone().connect().await {
            Ok(client) => Self { client: Some(client), ..self },
            Err(_) => self,
        }
    }

    pub(super) async fn connect(self) -> io::Result<kube::Client> {
        match self.client {
            Some(client) => Ok(client),
            None => crate::cluster::client::connect(crate::tls::provider::provider()).await.map_err(io::Error::other),
        }
    }
}

#[cfg(not(feature = "kubernetes"))]
impl Cluster {
    /// There is nothing to count.
    pub(super) fn counted(self, _: &mut Registry) -> Self {
        self
    }

    /// There is nothing to share.
    pub(super) async fn shared(self) -> Self {
        self
    }
}

/// Where changes go when the document is in a ConfigMap.
#[cfg(feature = "kubernetes")]
fn config_map_store(
    (client, writes): (&kube::Client, crate::base::call::Writes),
    at: &ConfigMapKey,
    base_dir: PathBuf,
    (write_back, served): (bool, &Served),
) -> Arc<dyn ConfigStore> {
    use crate::config::store_configmap::ConfigMapStore;
    if write_back {
        return Arc::new(ConfigMapStore::new(client.clone(), at.clone(), base_dir, served.clone(), writes));
    }
    let sentence = format!(
        "it is the ConfigMap {}/{}; change that instead, or start the sidecar with --write-back",
        at.namespace, at.name
    );
    Arc::new(crate::config::store::ReadOnly { sentence })
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

/// The parts that depend on where things come from.
pub(super) struct Parts {
    pub(super) source: Box<dyn ConfigSource>,
    pub(super) store: Arc<dyn ConfigStore>,
    pub(super) secrets: SecretsWork,
}

/// Chooses the parts.
///
/// # Errors
/// The API is needed and cannot be used at all; without the feature, that it is needed.
pub(super) async fn parts(
    (origin, write_back, secrets, cluster): (&Origin, bool, &SecretsOrigin, Cluster),
    served: &Served,
    watcher: Arc<FileWatcher>,
    board: &Arc<StatusBoard>,
) -> io::Result<Parts> {
    if let (Origin::File(path), None) = (origin, &secrets.namespace) {
        let store = Arc::new(FileStore::new(path.clone(), served.clone()));
        return Ok(Parts {
            source: Box::new(FileSource::new(path.clone(), watcher)),
            store,
            secrets: SecretsWork::default(),
        });
    }
    #[cfg(not(feature = "kubernetes"))]
    {
        let _ = (cluster, board, write_back);
        Err(io::Error::other("this program was built without the feature `kubernetes`, which the API needs"))
    }
    #[cfg(feature = "kubernetes")]
    {
        let writes = cluster.writes.clone();
        let client = cluster.connect().await?;
        let (source, store): (Box<dyn ConfigSource>, Arc<dyn ConfigStore>) = match origin {
            Origin::File(path) => {
                let store = FileStore::new(path.clone(), served.clone());
                (Box::new(FileSource::new(path.clone(), watcher)), Arc::new(store))
            }
            Origin::ConfigMap(at) => {
                let base_dir = std::env::current_dir()?;
                let source =
                    crate::config::configmap::ConfigMapSource::new(client.clone(), at.clone(), base_dir.clone());
                (Box::new(source), config_map_store((&client, writes), at, base_dir, (write_back, served)))
            }
        };
        let files = secrets.namespace.as_ref().map(|namespace| {
            crate::cluster::secrets::SecretFiles::new(client, namespace, secrets.dir.clone(), Arc::clone(board))
        });
        Ok(Parts { source, store, secrets: SecretsWork { files } })
    }
}

/// Brings Secrets from the API into their directory, if that is asked for.
#[derive(Default)]
pub(super) struct SecretsWork {
    #[cfg(feature = "kubernetes")]
    files: Option<crate::cluster::secrets::SecretFiles>,
}

impl SecretsWork {
    /// Follows the Secrets of the document in force. Never ends by itself.
    pub(super) async fn follow(&self, named: watch::Receiver<Secrets>) -> Infallible {
        #[cfg(feature = "kubernetes")]
        if let Some(files) = &self.files {
            return files.follow(named).await;
        }
        drop(named);
        std::future::pending().await
    }

    /// Resolves when the files of these Secrets are there, or the status says why not; after [`LOOK_MAX`] without either. Cancel safe.
    pub(super) async fn looked_at(&self, named: &Secrets) {
        #[cfg(feature = "kubernetes")]
        if let Some(files) = &self.files {
            // An API server that is silent costs new uplinks this time, and no other ones anything.
            let _ = timeout(LOOK_MAX, files.looked_at(named)).await;
        }
        let _ = named;
    }

    /// Removes what was written.
    pub(super) async fn remove(&self) {
        #[cfg(feature = "kubernetes")]
        if let Some(files) = &self.files {
            files.remove().await;
        }
    }
}
