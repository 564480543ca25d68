//! What the admin listener may ask of the process: to drain (`/drain`) or to stop (`POST /quitquitquit`).
//!
//! It only notes the wish; the root acts on it. A wish only grows: whoever asked to stop is not talked out of it by a drain.

use std::sync::Arc;

use tokio::sync::watch;

/// The wish, in the order in which one outdoes the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// To go on.
    #[default]
    Nothing,
    /// To take nothing new, and to let open streams go on until the stop.
    Drain,
    /// To stop within the grace period, as by SIGTERM.
    Stop,
}

/// The wish of those who reach the listener; cheap to clone.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    asked: Arc<watch::Sender<Asked>>,
    drain_endpoint: bool,
}

impl Lifecycle {
    /// Nothing is asked yet. `/drain` is there only with `drain_endpoint`: whoever reaches the listener can use it.
    pub fn new(drain_endpoint: bool) -> Self {
        Self { asked: Arc::default(), drain_endpoint }
    }

    /// Whether `/drain` is there.
    pub(super) fn has_drain_endpoint(&self) -> bool {
        self.drain_endpoint
    }

    /// Asks for it. Idempotent; what is less than what was asked before changes nothing.
    pub fn ask(&self, wish: Asked) {
        self.asked.send_if_modified(|asked| {
            let grows = wish > *asked;
            *asked = wish.max(*asked);
            grows
        });
    }

    /// Sees the wish, and wakes when it grows.
    pub fn watch(&self) -> watch::Receiver<Asked> {
        self.asked.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_only_grows() {
        let lifecycle = Lifecycle::new(true);
        let mut asked = lifecycle.watch();
        for (wish, grows, then) in [
            (Asked::Drain, true, Asked::Drain),
            (Asked::Drain, false, Asked::Drain),
            (Asked::Stop, true, Asked::Stop),
            (Asked::Drain, false, Asked::Stop),
        ] {
            lifecycle.ask(wish);
            assert_eq!(asked.has_changed().expect("it lives"), grows, "{wish:?}");
            assert_eq!(*asked.borrow_and_update(), then);
        }
    }
}
