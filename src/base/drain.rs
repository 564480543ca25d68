//! Drain: stop what is new, let finish what is old, at a deadline force the end.
//!
//! A [`Drain`] is the argument by which an owner ends a part; it is never global. `start` begins the grace period; the
//! part then has until [`Draining::deadline`] and must end by itself. Children end with their parent.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

/// The owner's end: starts the drain.
#[derive(Debug)]
pub struct DrainSwitch {
    state: watch::Sender<Option<Instant>>,
}

/// The part's end: learns that it shall drain, and until when. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain {
    state: watch::Receiver<Option<Instant>>,
}

/// The fact that a drain has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draining {
    /// After this instant nobody waits any more.
    pub deadline: Instant,
}

impl Draining {
    /// Time until the deadline; none after it.
    pub fn left(self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// A connected pair.
pub fn drain() -> (DrainSwitch, Drain) {
    let (sender, receiver) = watch::channel(None);
    (DrainSwitch { state: sender }, Drain { state: receiver })
}

impl DrainSwitch {
    /// Starts the drain with a grace period from now. A later call may shorten the period but never lengthens it.
    pub fn start(&self, grace: Duration) {
        let deadline = Instant::now() + grace;
        self.state.send_if_modified(|state| match state {
            Some(earlier) if *earlier <= deadline => false,
            _ => {
                *state = Some(deadline);
                true
            }
        });
    }
}

impl Drain {
    /// Resolves when the drain starts, or at once with no grace when the owner is gone. Cancel safe.
    pub async fn started(&mut self) -> Draining {
        let deadline = match self.state.wait_for(Option::is_some).await {
            Ok(state) => *state,
            Err(_) => None,
        };
        Draining { deadline: deadline.unwrap_or_else(Instant::now) }
    }

    /// Resolves when the deadline is drawn nearer than `deadline`. Never resolves when the owner is gone. Cancel safe.
    pub async fn nearer_than(&mut self, deadline: Instant) -> Draining {
        let nearer =
            self.state.wait_for(|state| state.is_some_and(|now| now < deadline)).await.ok().and_then(|now| *now);
        match nearer {
            Some(deadline) => Draining { deadline },
            None => std::future::pending().await,
        }
    }

    /// The drain if it has started already.
    pub fn now(&self) -> Option<Draining> {
        let deadline = *self.state.borrow();
        deadline.map(|deadline| Draining { deadline })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_start_can_only_shorten_the_grace_period() {
        let (switch, mut part) = drain();
        let now = Instant::now();
        switch.start(Duration::from_secs(30));
        switch.start(Duration::from_secs(60));
        assert_eq!(part.started().await.deadline, now + Duration::from_secs(30));
        switch.start(Duration::from_secs(1));
        assert_eq!(part.started().await.deadline, now + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_whose_owner_is_gone_drains_with_no_grace() {
        let (switch, mut part) = drain();
        assert_eq!(part.now(), None);
        drop(switch);
        assert_eq!(part.started().await.deadline, Instant::now());
    }
}
