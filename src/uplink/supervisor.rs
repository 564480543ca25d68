//! Owns the runners and makes them what the desired set says.
//!
//! [`Supervisor::apply`] never waits: what is removed drains in the background, still owned here and visible on the board
//! until it is gone; an uplink that is in both sets unchanged is not touched at all.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

pub use super::parts::{MakeHandler, Parts};
use super::{report::Entries, runner::Runner};
use crate::{
    base::{
        drain::{DrainSwitch, drain},
        shard::ShardHandle,
    },
    model::{
        desired::DesiredSet,
        uplink::{Uplink, UplinkKey},
    },
};

/// After the grace period a runner may take this much to close; then it is aborted.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// Where the runner of an uplink lives.
pub type PickShard = Box<dyn Fn(&UplinkKey) -> ShardHandle + Send + Sync>;

struct Running {
    settings: watch::Sender<Uplink>,
    drain: DrainSwitch,
    task: AbortOnDropHandle<()>,
}

/// The owner of all runners. Dropping it aborts them.
pub struct Supervisor {
    parts: Arc<Parts>,
    pick: PickShard,
    entries: Arc<Entries>,
    desired: DesiredSet,
    running: BTreeMap<UplinkKey, Running>,
    leaving: Vec<Running>,
}

impl Supervisor {
    /// A supervisor of no uplinks. `pick` is `Shards::pick` in the product.
    pub fn new(parts: Parts, pick: PickShard) -> Self {
        let entries = Entries::new(Arc::clone(&parts.board));
        let desired = DesiredSet::default();
        Self { parts: Arc::new(parts), pick, entries, desired, running: BTreeMap::new(), leaving: Vec::new() }
    }

    /// Makes `desired` the set that runs. Returns at once; what is removed drains in the background.
    pub fn apply(&mut self, desired: DesiredSet) {
        self.leaving.retain(|running| !running.task.is_finished());
        let diff = self.desired.diff(&desired);
        for key in &diff.removed {
            if let Some(running) = self.running.remove(key) {
                tracing::info!(device = %key.device, remote = %key.remote, "uplink removed; it drains");
                running.drain.start(self.parts.grace);
                self.leaving.push(running);
            }
        }
        for uplink in diff.added {
            self.start(uplink);
        }
        for uplink in diff.changed {
            match self.running.get(&uplink.key()) {
                Some(running) if !running.task.is_finished() => {
                    running.settings.send_replace(uplink);
                }
                _ => self.start(uplink),
            }
        }
        self.desired = desired;
    }

    /// Drains all uplinks and waits until they are gone; forces the end shortly after the grace period.
    pub async fn shutdown(mut self) {
        let deadline = Instant::now() + self.parts.grace + STOP_MARGIN;
        self.leaving.extend(std::mem::take(&mut self.running).into_values());
        for running in &self.leaving {
            running.drain.start(self.parts.grace);
        }
        for running in self.leaving {
            match timeout_at(deadline, running.task).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a runner panicked; this is a defect of onvif-uplink"),
                Err(_) => tracing::warn!("an uplink did not end within the grace period; it was cut"),
            }
        }
    }

    fn start(&mut self, uplink: Uplink) {
        let key = uplink.key();
        let entry = self.entries.claim(&key);
        let (settings, receiver) = watch::channel(uplink);
        let (switch, part) = drain();
        let runner = Runner::new(Arc::clone(&self.parts), entry, receiver, part);
        let task = AbortOnDropHandle::new((self.pick)(&key).spawn(runner.run()));
        self.running.insert(key, Running { settings, drain: switch, task });
    }
}
