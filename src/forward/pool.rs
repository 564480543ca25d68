//! The connections to one device: how many may be in use, how many wait without a request, and for how long.

use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

use super::{connection::Link, fault::Fault, limits::Limits};

/// The connections to one device.
pub struct Pool {
    address: SocketAddr,
    limits: Limits,
    in_use: Arc<Semaphore>,
    endless: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// The youngest last: it is the one whose next use is the surest.
    links: Vec<(Instant, Link)>,
    /// Closes what has waited too long; owned here, so it ends with the pool.
    reaper: Option<AbortOnDropHandle<()>>,
}

/// The right to use one connection.
pub type Permit = OwnedSemaphorePermit;

impl Pool {
    /// A pool without connections.
    pub fn new(address: SocketAddr, limits: Limits) -> Arc<Self> {
        let in_use = Arc::new(Semaphore::new(limits.connections));
        let endless = Arc::new(Semaphore::new(limits.endless));
        Arc::new(Self { address, limits, in_use, endless, idle: Mutex::default() })
    }

    /// Waits for the right to use a connection, in the order of asking.
    ///
    /// # Errors
    /// [`Fault::Busy`] after [`Limits::wait`].
    pub async fn permit(&self) -> Result<Permit, Fault> {
        if let Ok(permit) = Arc::clone(&self.in_use).try_acquire_owned() {
            return Ok(permit);
        }
        let waited = tokio::time::timeout(self.limits.wait, Arc::clone(&self.in_use).acquire_owned()).await;
        waited.ok().and_then(Result::ok).ok_or(Fault::Busy)
    }

    /// The right to keep a connection for an answer without an end in sight.
    ///
    /// # Errors
    /// [`Fault::StreamsBusy`] at once: such connections do not come back soon.
    pub fn endless_permit(&self) -> Result<Permit, Fault> {
        Arc::clone(&self.endless).try_acquire_owned().map_err(|_| Fault::StreamsBusy)
    }

    /// A kept-alive connection that is sound as far as can be seen.
    pub async fn idle_link(&self) -> Option<Link> {
        poll_fn(|cx| {
            loop {
                let Some((since, mut link)) = self.lock().links.pop() else { return Poll::Ready(None) };
                if since.elapsed() < self.limits.idle_for && link.is_reusable(cx) {
                    return Poll::Ready(Some(link));
                }
            }
        })
        .await
    }

    /// A new connection.
    ///
    /// # Errors
    /// Those of [`Link::dial`].
    pub async fn new_link(&self) -> Result<Link, Fault> {
        Link::dial(self.address, &self.limits).await
    }

    /// Takes a connection back after its exchange, or closes it.
    pub fn give_back(self: &Arc<Self>, mut link: Link, cx: &mut Context<'_>) {
        if !link.is_reusable(cx) {
            return;
        }
        let mut idle = self.lock();
        if idle.links.len() >= self.limits.idle {
            return;
        }
        idle.links.push((Instant::now(), link));
        if idle.reaper.as_ref().is_none_or(AbortOnDropHandle::is_finished) {
            let reaper = tokio::spawn(reap(Arc::downgrade(self), self.limits));
            idle.reaper = Some(AbortOnDropHandle::new(reaper));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what has waited too long; says when the next is due.
    fn close_expired(&self) -> Option<Instant> {
        let mut idle = self.lock();
        let now = Instant::now();
        idle.links.retain(|(since, _)| now.duration_since(*since) < self.limits.idle_for);
        let next = idle.links.first().map(|(since, _)| *since + self.limits.idle_for);
        if next.is_none() {
            // Within the lock: the next connection that comes back starts a new one.
            drop(idle.reaper.take().map(AbortOnDropHandle::detach));
        }
        next
    }
}

async fn reap(pool: Weak<Pool>, limits: Limits) {
    let mut next = Instant::now() + limits.idle_for;
    loop {
        tokio::time::sleep_until(next).await;
        let Some(pool) = pool.upgrade() else { return };
        match pool.close_expired() {
            Some(due) => next = due,
            None => return,
        }
    }
}
