//! L3: the admin listener: `/livez`, `/readyz`, `/metrics`, `/status`, `PUT /log-level`, `/drain` and `POST /quitquitquit`
//! (design.md §6), and the asking side for `onvif-uplink status` and `healthcheck`.
//!
//! Plain HTTP/1.1 for probes, Prometheus and people; it carries no secret. What changes something is for loopback
//! peers only, but for `/drain`, which kubelet asks from outside of the pod and which therefore must be switched on.
//! Sidecar and gateway share it: what `/status` says is a function that the root gives.

pub mod ask;
pub mod lifecycle;
mod listener;
mod pages;
mod readiness;
pub mod status;
pub mod table;

use std::{fmt, sync::Arc};

pub use self::{
    lifecycle::Lifecycle,
    listener::{Admin, CONNECTIONS_MAX, HEAD_MAX, HEAD_TIMEOUT},
    readiness::Readiness,
};
use crate::telemetry::{logs::LevelHandle, metrics::Metrics};

/// Makes the document of `/status` at each request. It must not block: it runs on the listener's thread.
pub type StatusFn = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// What the pages show.
pub struct AdminState {
    /// What `/readyz` answers.
    pub readiness: Readiness,
    /// What `/metrics` answers.
    pub metrics: Arc<Metrics>,
    /// What `/status` answers.
    pub status: StatusFn,
    /// What `PUT /log-level` changes.
    pub level: LevelHandle,
    /// What `/drain` and `/quitquitquit` ask for; `None` where neither is.
    pub lifecycle: Option<Lifecycle>,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}
