//! How many devices may come up in a second: the rest is told to come back, before anything expensive is done for it.
//!
//! After an outage a whole fleet dials at once. TLS has been paid for when the request is read; what comes after it (looking at
//! a token, a session with its buffers) is done only for as many as the gateway was made for.

use std::{
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
};

use tokio::time::Instant;

/// The longest that a device is asked to wait, in seconds; they are spread over it.
const RETRY_AFTER_MAX: u16 = 5;

/// A token bucket of upgrades.
#[derive(Debug)]
pub struct Admission {
    per_second: f64,
    state: Mutex<(f64, Instant)>,
}

impl Admission {
    /// Lets `per_second` in, as many at once after a pause.
    pub fn new(per_second: NonZeroU32) -> Self {
        let per_second = f64::from(per_second.get());
        Self { per_second, state: Mutex::new((per_second, Instant::now())) }
    }

    /// Whether one more may come in now.
    pub fn admit(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let gained = now.duration_since(state.1).as_secs_f64() * self.per_second;
        *state = ((state.0 + gained).min(self.per_second), now);
        let admitted = state.0 >= 1.0;
        if admitted {
            state.0 -= 1.0;
        }
        admitted
    }
}

/// `Retry-After` in seconds, another for each peer, so that those who were refused together do not come back together.
pub fn retry_after(peer_port: u16) -> u16 {
    1 + peer_port % RETRY_AFTER_MAX
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn as_many_as_said_come_in_each_second_and_a_pause_saves_one_second() {
        let admission = Admission::new(NonZeroU32::new(10).expect("not zero"));
        let burst = |count: usize| (0..count).filter(|_| admission.admit()).count();
        assert_eq!(burst(100), 10);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(burst(100), 5);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(burst(100), 10);
    }

    #[test]
    fn those_who_are_refused_together_come_back_spread() {
        let delays: std::collections::BTreeSet<_> = (40_000..40_100).map(retry_after).collect();
        assert_eq!(delays, (1..=RETRY_AFTER_MAX).collect());
    }
}
