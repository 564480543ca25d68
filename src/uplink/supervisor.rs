//! Owns the runners and makes them what the desired set says.
//!
//! [`Supervisor::apply`] never waits: what is removed drains in the background, still owned here and visible on the board
//! until it is gone; an uplink that is in both sets unchanged is not touched at all.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

pub use super::parts::{MakeHandler, Parts};
use super::{
    report::{Entries, Entry},
    runner::Runner,
};
use crate::{
    base::{
        backoff::Backoff,
        drain::{Drain, DrainSwitch, drain},
        shard::ShardHandle,
    },
    model::{
        desired::DesiredSet,
        failure::{Cause, Failure},
        status::Status,
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

    /// Begins to drain all uplinks, at most for `grace`, and returns at once; [`Self::shutdown`] may shorten it.
    pub fn drain(&mut self, grace: Duration) {
        self.leaving.extend(std::mem::take(&mut self.running).into_values());
        for running in &self.leaving {
            running.drain.start(grace);
        }
    }

    /// Drains all uplinks and waits until they are gone; forces the end shortly after the grace period.
    pub async fn shutdown(mut self) {
        let deadline = Instant::now() + self.parts.grace + STOP_MARGIN;
        self.drain(self.parts.grace);
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
        let entry = Arc::new(self.entries.claim(&key));
        let (settings, receiver) = watch::channel(uplink);
        let (switch, part) = drain();
        let kept = keep(Arc::clone(&self.parts), key.clone(), entry, receiver, part);
        let task = AbortOnDropHandle::new((self.pick)(&key).spawn(kept));
        self.running.insert(key, Running { settings, drain: switch, task });
    }
}

/// Runs the uplink until its drain. A runner that panics is a defect of ours and no reason for the uplink to stay down: its
/// sessions end with it, its entry says so, and after a delay that ascends like that of failed attempts a new one starts.
async fn keep(
    parts: Arc<Parts>,
    key: UplinkKey,
    entry: Arc<Entry>,
    mut settings: watch::Receiver<Uplink>,
    mut drain: Drain,
) {
    let mut backoff = Backoff::new(&key);
    loop {
        settings.mark_unchanged();
        let runner = Runner::new(Arc::clone(&parts), Arc::clone(&entry), settings.clone(), drain.clone());
        // Nothing of the runner is looked at after its panic; what it shares is written under locks that recover.
        if AssertUnwindSafe(runner.run()).catch_unwind().await.is_ok() {
            return;
        }
        let delay = backoff.next_delay(None);
        tracing::error!(device = %key.device, remote = %key.remote, ?delay, "a runner panicked and is started again; this is a defect of onvif-uplink");
        entry.update(|status| {
            status.set(Status::Offline);
            status.session = None;
            status.error = Some(Failure::new(
                Cause::ProtocolViolation,
                "the uplink ended by a defect of onvif-uplink and is started again; please report the log",
            ));
        });
        if timeout(delay, drain.started()).await.is_ok() {
            return;
        }
    }
}
