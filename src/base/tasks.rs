//! Owned tasks: nothing is spawned and forgotten.
//!
//! A [`Tasks`] owns what it spawned. Dropping it aborts all of them, so a part that ends takes its tasks with it; a panic
//! of one is logged with its name and harms no other.

use std::task::{Context, Poll};

use tokio::task::JoinSet;
use tracing::Instrument;

/// A set of running tasks with one owner.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<()>,
}

impl Tasks {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns `future` on the current runtime; `name` appears in the logs of the task and of its panic.
    pub fn spawn(&mut self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(future.instrument(tracing::trace_span!("task", name)));
    }

    /// How many tasks have not been reaped yet.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether no task is left.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Forgets the tasks that have ended. `Ready` when none is left, else wakes at the next end.
    pub fn poll_reap(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.set.poll_join_next(cx) {
                Poll::Ready(Some(ended)) => log_panic(ended),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Waits for the end of all tasks. Cancel safe: what is left stays owned.
    pub async fn finished(&mut self) {
        std::future::poll_fn(|cx| self.poll_reap(cx)).await;
    }

    /// Aborts all tasks and waits until they are gone.
    pub async fn abort(&mut self) {
        self.set.abort_all();
        self.finished().await;
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a task panicked; this is a defect of onvif-uplink");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct SetOnDrop(Option<tokio::sync::oneshot::Sender<()>>);

    impl Drop for SetOnDrop {
        fn drop(&mut self) {
            if let Some(gone) = self.0.take() {
                let _ = gone.send(());
            }
        }
    }

    #[tokio::test]
    async fn dropping_the_owner_ends_its_tasks() {
        let (gone, is_gone) = tokio::sync::oneshot::channel();
        let guard = SetOnDrop(Some(gone));
        let mut tasks = Tasks::new();
        tasks.spawn("endless", async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        drop(tasks);
        assert!(is_gone.await.is_ok());
    }

    #[tokio::test]
    async fn a_panicking_task_leaves_the_others_alone() {
        let (done, is_done) = tokio::sync::oneshot::channel();
        let mut tasks = Tasks::new();
        tasks.spawn("bad", async { panic!("on purpose") });
        tasks.spawn("good", async move {
            let _ = done.send(());
        });
        tasks.finished().await;
        assert!(is_done.await.is_ok());
        assert!(tasks.is_empty());
    }
}
