//! What becomes of a document that the source told: it is applied, or its errors are said everywhere and the last good one stays.

use std::sync::Arc;

use tokio::sync::watch;

use super::{cluster::SecretsWork, reloads::Reloads, uplinks::Current};
use crate::{
    admin::Readiness,
    config::{
        self, Secrets, Served,
        source::{Document, SourceError},
    },
    forward::rtsp::probe::Ways,
    model::status::StatusBoard,
    uplink::supervisor::Supervisor,
};

/// The readiness latch that the first good configuration opens.
pub(super) const CONFIGURATION: &str = "configuration";

/// What a told document changes.
pub(super) struct Follower<'a> {
    pub(super) supervisor: &'a mut Supervisor,
    pub(super) board: &'a StatusBoard,
    pub(super) readiness: &'a Readiness,
    pub(super) reloads: &'a Reloads,
    pub(super) served: &'a Served,
    pub(super) ways: &'a Ways,
    pub(super) current: &'a watch::Sender<Arc<Current>>,
    pub(super) secrets: &'a watch::Sender<Secrets>,
    pub(super) files: &'a SecretsWork,
    pub(super) exit_on_invalid: bool,
}

impl Follower<'_> {
    /// Reads a document. If it is good, waits for the Secrets that it names, so that uplinks find their certificates. Cancel safe.
    ///
    /// # Errors
    /// All that is wrong, a sentence each.
    pub(super) async fn read(&self, told: Result<Document, SourceError>) -> Result<Current, Vec<String>> {
        let current = told.map_err(|error| vec![error.to_string()]).and_then(|document| {
            let read = config::read(&document.text, &document.base_dir, self.served);
            let named = |error: &config::ConfigError| format!("{}:{error}", document.name);
            let configuration = read.map_err(|errors| errors.iter().map(named).collect::<Vec<_>>())?;
            Ok(Current { text: document.text, configuration })
        })?;
        let named = &current.configuration.secrets;
        // Those of the document in force as well: its uplinks run until the new one is applied.
        let mut both = self.secrets.borrow().clone();
        both.extend(named.clone());
        self.name(both);
        self.files.looked_at(named).await;
        Ok(current)
    }

    /// Names the Secrets that are followed.
    fn name(&self, named: Secrets) {
        self.secrets.send_if_modified(|before| {
            let changed = *before != named;
            *before = named;
            changed
        });
    }

    /// Applies a good document; whatever is wrong with another is said everywhere, and nothing else happens. Returns
    /// whether some document is in force.
    pub(super) fn take(&mut self, read: Result<Current, Vec<String>>) -> bool {
        match read {
            Ok(current) => {
                let uplinks = current.configuration.desired.len();
                self.name(current.configuration.secrets.clone());
                self.ways.follow(current.configuration.desired.devices());
                self.supervisor.apply(current.configuration.desired.clone());
                self.current.send_replace(Arc::new(current));
                let mut generation = 0;
                self.board.update_config(|config| {
                    generation = config.generation + 1;
                    (config.generation, config.errors) = (generation, Vec::new());
                });
                self.readiness.clear(CONFIGURATION);
                self.reloads.applied(generation);
                tracing::info!(generation, uplinks, "configuration applied");
                true
            }
            Err(errors) => {
                let in_force = self.board.snapshot().config.generation > 0;
                for error in &errors {
                    tracing::error!("configuration refused: {error}");
                }
                if in_force {
                    tracing::warn!("the last good configuration stays in force");
                } else {
                    self.readiness.set(CONFIGURATION, errors.first().cloned().unwrap_or_default());
                    tracing::warn!("waiting for a usable configuration");
                }
                self.reloads.refused();
                self.board.update_config(|config| config.errors = errors);
                in_force
            }
        }
    }
}
