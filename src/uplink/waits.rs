//! What a runner waits for, each as a future that is pending when there is nothing to wait for.

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::base::{
    drain::{Drain, Draining},
    http::BoxFuture,
};

/// The start of the drain, or after it a nearer deadline.
pub(super) async fn drained(drain: &mut Drain, draining: Option<Draining>) -> Draining {
    match draining {
        Some(draining) => drain.nearer_than(draining.deadline).await,
        None => drain.started().await,
    }
}

/// The end of the future, if there is one.
pub(super) async fn pending_or<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Resolves at the next change; never when the sender is gone, because nothing will change any more.
pub(super) async fn changed<T>(receiver: Option<&mut watch::Receiver<T>>) {
    let news = match receiver {
        Some(receiver) => receiver.changed().await.is_ok(),
        None => false,
    };
    if !news {
        std::future::pending::<()>().await;
    }
}

/// The deadline, if there is one.
pub(super) async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
