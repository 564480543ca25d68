//! The ascending interval of one device (ONVIF Uplink §5.2): "Each camera shall use an individual ascending interval
//! strategy to avoid that all cameras connect at the same time", with the examples 3, 6, 12, 24, 30, 30… and 2, 4, 8, 16, 30….
//!
//! The first interval is 2 s to 3 s by a hash of what identifies the device and its remote, so it is the device's own and
//! the same after a restart; it doubles to a cap of 30 s. Jitter only ever lengthens an interval, by up to a tenth and
//! never over the cap, so the ascent of the specification stands. Plain values in and out: no clock, no sleep.

use std::{
    hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState},
    time::Duration,
};

/// The shortest first interval.
pub const FIRST_MIN: Duration = Duration::from_secs(2);
/// The longest first interval.
pub const FIRST_MAX: Duration = Duration::from_secs(3);
/// No interval is longer.
pub const CAP: Duration = Duration::from_secs(30);
/// A remote's `Retry-After` is honoured up to this; a longer one is a mistake or an attack.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);
/// Jitter adds at most interval / this.
const JITTER_SHARE: u32 = 10;

/// The intervals between the attempts of one uplink.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    next: Duration,
    jitter: JitterSource,
}

impl Backoff {
    /// The intervals of the device and remote that `key` names.
    pub fn new(key: &impl Hash) -> Self {
        // DefaultHasher::new has fixed keys: the same device has the same pattern after each start.
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let spread_ms = (FIRST_MAX - FIRST_MIN).as_millis() as u64;
        let first = FIRST_MIN + Duration::from_millis(hasher.finish() % (spread_ms + 1));
        Self { first, next: first, jitter: JitterSource::default() }
    }

    /// The interval to wait now, and one step up for the next time. `retry_after` is what the remote asked for
    /// (RFC 9110 §10.2.3): it can lengthen this interval, never shorten it.
    pub fn next_delay(&mut self, retry_after: Option<Duration>) -> Duration {
        let base = self.next;
        self.next = (base * 2).min(CAP);
        let own = (base + self.jitter.below(base / JITTER_SHARE)).min(CAP);
        own.max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX))
    }

    /// Starts over at the first interval. To be called only after a session that has lasted: a remote that accepts and
    /// drops at once must still see the ascent.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Randomness that is good enough to spread load; std's per-process random hash keys, no crate.
#[derive(Clone, Debug, Default)]
struct JitterSource {
    keys: RandomState,
    drawn: u64,
}

impl JitterSource {
    fn below(&mut self, bound: Duration) -> Duration {
        self.drawn += 1;
        let draw = self.keys.hash_one(self.drawn);
        Duration::from_micros(draw % (bound.as_micros() as u64 + 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn intervals_double_from_two_to_three_seconds_up_to_thirty_seconds() {
        let mut backoff = Backoff::new(&("camera-1", "https://cloud/uplink"));
        let delays: Vec<_> = (0..7).map(|_| backoff.next_delay(None)).collect();
        assert!(delays[0] >= FIRST_MIN && delays[0] <= FIRST_MAX + FIRST_MAX / JITTER_SHARE, "{delays:?}");
        assert!(delays.windows(2).all(|pair| pair[0] <= pair[1]), "{delays:?}");
        assert_eq!(delays[6], CAP);
    }

    #[test]
    fn the_remote_can_ask_for_more_patience_but_not_for_less_and_not_for_ever() {
        let mut backoff = Backoff::new(&"camera");
        assert_eq!(backoff.next_delay(Some(Duration::from_secs(90))), Duration::from_secs(90));
        assert!(backoff.next_delay(Some(Duration::from_secs(0))) >= FIRST_MIN * 2);
        assert_eq!(backoff.next_delay(Some(Duration::from_secs(1 << 30))), RETRY_AFTER_MAX);
    }

    #[test]
    fn a_reset_starts_the_same_pattern_again() {
        let mut backoff = Backoff::new(&"camera");
        for _ in 0..5 {
            backoff.next_delay(None);
        }
        backoff.reset();
        assert!(backoff.next_delay(None) <= FIRST_MAX + FIRST_MAX / JITTER_SHARE);
    }

    proptest! {
        #[test]
        fn no_interval_is_below_two_seconds_or_above_the_cap(key in ".*", steps in 1usize..40) {
            let mut backoff = Backoff::new(&key);
            let mut before = Duration::ZERO;
            for _ in 0..steps {
                let delay = backoff.next_delay(None);
                prop_assert!(delay >= FIRST_MIN && delay <= CAP);
                prop_assert!(delay >= before.min(CAP));
                before = delay;
            }
        }

        #[test]
        fn different_devices_have_different_first_intervals_of_their_own(a in "[a-z]{1,12}", b in "[A-Z]{1,12}") {
            let first = |key: &str| Backoff::new(&key).first;
            prop_assert_eq!(first(&a), first(&a));
            prop_assert!(first(&b) >= FIRST_MIN && first(&b) <= FIRST_MAX);
        }
    }
}
