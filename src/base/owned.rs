//! Tasks that are spawned from places which share one owner: the streams of a front connection, the uploads of a session,
//! the halves of tunnels to a device.
//!
//! Whoever spawns guards its task with [`AbortOnDrop`]; a task that may outlive that place is released to the owner.

use std::{
    sync::{Mutex, PoisonError},
    task::{Poll, ready},
};

use tokio::task::{AbortHandle, JoinError, JoinSet};

/// Owns what was spawned; dropping it aborts the rest.
#[derive(Debug, Default)]
pub struct Owned(Mutex<JoinSet<()>>);

impl Owned {
    /// Spawns on the caller's runtime. Ended tasks are forgotten here, so the set is never larger than what ran at once.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        // Nothing panics while the lock is held.
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = set.try_join_next() {
            log_panic(ended);
        }
        set.spawn(future)
    }

    /// Waits until nothing that was spawned is left. Cancel safe.
    pub async fn finished(&self) {
        std::future::poll_fn(|cx| {
            let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(ended) = ready!(set.poll_join_next(cx)) {
                log_panic(ended);
            }
            Poll::Ready(())
        })
        .await;
    }
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a task panicked; this is a defect of onvif-uplink");
    }
}

/// Aborts one task when dropped, unless it was told to let go.
#[derive(Debug)]
pub struct AbortOnDrop(Option<AbortHandle>);

impl AbortOnDrop {
    /// Guards `task`.
    pub fn new(task: AbortHandle) -> Self {
        Self(Some(task))
    }

    /// Leaves the task to its owner.
    pub fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}
