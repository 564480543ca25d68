//! What becomes of a document that the source told: it is applied, or its errors are said everywhere and the last good one stays.

use std::sync::Arc;

use tokio::sync::watch;

use super::{reloads::Reloads, uplinks::Current};
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
    pub(super) exit_on_invalid: bool,
}

impl Follower<'_> {
    /// Applies a good document; whatever is wrong with another is said everywhere, and nothing else happens. Returns
    /// whether some document is in force.
    pub(super) fn take(&mut self, told: Result<Document, SourceError>) -> bool {
        let result = told.map_err(|error| vec![error.to_string()]).and_then(|document| {
            let read = config::read(&document.text, &document.base_dir, self.served);
            let named = |error: &config::ConfigError| format!("{}:{error}", document.name);
            let configuration = read.map_err(|errors| errors.iter().map(named).collect::<Vec<_>>())?;
            Ok(Current { text: document.text, configuration })
        });
        match result {
            Ok(current) => {
                let uplinks = current.configuration.desired.len();
                let named = &current.configuration.secrets;
                self.secrets.send_if_modified(|before| {
                    let changed = before != named;
                    before.clone_from(named);
                    changed
                });
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
