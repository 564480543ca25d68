//! The pull points: who waits for events, how far each has got, when each ends (ONVIF Core §9.2, real-time pull-point).
//!
//! The camera's only event is a motion that begins and ends again and again, so what happened is computed from the time that
//! has passed: a subscription is a number of the next event, and its queue is what lies between that and now. It is as long as
//! [`QUEUE_MAX`]; what is older is lost, as in a camera whose memory is full. Nothing ticks, and what nobody pulls costs nothing.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until, timeout_at};

/// The motion begins or ends once in so long.
pub const MOTION_PERIOD: Duration = Duration::from_secs(5);
/// Pull points at once: more clients than a camera has.
pub const SUBSCRIPTIONS_MAX: usize = 16;
/// Events that wait in one: four minutes of them.
pub const QUEUE_MAX: u64 = 48;

/// One change of the motion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Motion {
    /// Whether it moves from now on.
    pub(super) moving: bool,
    /// It is the state at the time of the subscription, not a change.
    pub(super) initial: bool,
    /// How long ago it happened.
    pub(super) ago: Duration,
}

#[derive(Debug)]
struct Subscription {
    expires: Instant,
    /// By how much a pull prolongs it.
    life: Duration,
    /// The number of the next change.
    next: u64,
    /// The present state is still to be said.
    initial: bool,
}

/// All pull points.
#[derive(Debug)]
pub(super) struct Subscriptions {
    began: Instant,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    last: u32,
    by_number: BTreeMap<u32, Subscription>,
}

impl Subscriptions {
    /// None yet; the first motion begins after [`MOTION_PERIOD`].
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), open: Mutex::default() }
    }

    /// Opens a pull point for so long; `None` when there are too many.
    pub(super) fn open(&self, life: Duration) -> Option<u32> {
        let now = Instant::now();
        let mut open = self.lock(now);
        if open.by_number.len() >= SUBSCRIPTIONS_MAX {
            return None;
        }
        open.last = open.last.wrapping_add(1);
        let number = open.last;
        let subscription = Subscription { expires: now + life, life, next: self.happened(now) + 1, initial: true };
        open.by_number.insert(number, subscription);
        Some(number)
    }

    /// Lets it live for so long from now; `false` when it is not there.
    pub(super) fn renew(&self, number: u32, life: Duration) -> bool {
        let now = Instant::now();
        let mut open = self.lock(now);
        let Some(subscription) = open.by_number.get_mut(&number) else { return false };
        (subscription.expires, subscription.life) = (now + life, life);
        true
    }

    /// Says the present state again with the next pull; `false` when it is not there.
    pub(super) fn synchronize(&self, number: u32) -> bool {
        let mut open = self.lock(Instant::now());
        let Some(subscription) = open.by_number.get_mut(&number) else { return false };
        subscription.initial = true;
        true
    }

    /// Ends it; `false` when it was not there.
    pub(super) fn close(&self, number: u32) -> bool {
        self.lock(Instant::now()).by_number.remove(&number).is_some()
    }

    /// At most `most` events, as soon as there is one, or none after `time`; and how long the pull point lives from now on.
    /// `None` when it is not there, also when it ends meanwhile. Cancel safe: what was not returned is pulled again.
    pub(super) async fn pull(&self, number: u32, time: Duration, most: usize) -> Option<(Vec<Motion>, Duration)> {
        let until = Instant::now() + time;
        loop {
            let now = Instant::now();
            let events = self.take(number, most, now)?;
            if !events.is_empty() || now >= until {
                let open = self.lock(now);
                return open.by_number.get(&number).map(|subscription| (events, subscription.expires - now));
            }
            let next = self.at(self.happened(now) + 1);
            // Either way the clock says what to do next.
            let _ = timeout_at(until, sleep_until(next)).await;
        }
    }

    /// What waits, and the pull point lives on.
    fn take(&self, number: u32, most: usize, now: Instant) -> Option<Vec<Motion>> {
        let happened = self.happened(now);
        let mut open = self.lock(now);
        let subscription = open.by_number.get_mut(&number)?;
        subscription.expires = subscription.expires.max(now + subscription.life);
        let mut events = Vec::new();
        if subscription.initial && most > 0 {
            let ago = now - self.at(happened);
            events.push(Motion { moving: moving(happened), initial: true, ago });
            (subscription.initial, subscription.next) = (false, happened + 1);
        }
        subscription.next = subscription.next.max((happened + 1).saturating_sub(QUEUE_MAX));
        while subscription.next <= happened && events.len() < most {
            let change = subscription.next;
            events.push(Motion { moving: moving(change), initial: false, ago: now - self.at(change) });
            subscription.next += 1;
        }
        Some(events)
    }

    /// How many changes there were.
    fn happened(&self, now: Instant) -> u64 {
        (now - self.began).as_secs() / MOTION_PERIOD.as_secs()
    }

    /// When a change happens.
    fn at(&self, change: u64) -> Instant {
        self.began + Duration::from_secs(change.saturating_mul(MOTION_PERIOD.as_secs()))
    }

    /// The pull points that have not ended.
    fn lock(&self, now: Instant) -> MutexGuard<'_, Open> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.by_number.retain(|_, subscription| now < subscription.expires);
        open
    }
}

/// Every other change begins a motion.
fn moving(change: u64) -> bool {
    change % 2 == 1
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    async fn pulled(all: &Subscriptions, number: u32, seconds: u64, most: usize) -> Option<Vec<(bool, bool)>> {
        let (events, _) = all.pull(number, Duration::from_secs(seconds), most).await?;
        Some(events.into_iter().map(|motion| (motion.moving, motion.initial)).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn the_state_comes_first_and_then_each_change_when_it_happens() {
        let all = Subscriptions::new();
        let number = all.open(MINUTE).unwrap();
        assert_eq!(pulled(&all, number, 60, 10).await, Some(vec![(false, true)]));
        let began = Instant::now();
        assert_eq!(pulled(&all, number, 60, 10).await, Some(vec![(true, false)]));
        assert_eq!(began.elapsed().as_secs(), MOTION_PERIOD.as_secs());
        assert_eq!(pulled(&all, number, 60, 10).await, Some(vec![(false, false)]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pull_that_ends_before_an_event_gives_none() {
        let all = Subscriptions::new();
        let number = all.open(MINUTE).unwrap();
        pulled(&all, number, 1, 10).await;
        let began = Instant::now();
        assert_eq!(pulled(&all, number, 2, 10).await, Some(vec![]));
        assert_eq!(began.elapsed().as_secs(), 2);
        assert_eq!(pulled(&all, number, 0, 10).await, Some(vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_bounded_and_handed_over_in_portions() {
        let all = Subscriptions::new();
        let number = all.open(MINUTE * 60).unwrap();
        pulled(&all, number, 0, 10).await;
        advance(MOTION_PERIOD * 100).await;
        assert_eq!(pulled(&all, number, 0, 10).await.unwrap().len(), 10);
        assert_eq!(pulled(&all, number, 0, 100).await.unwrap().len(), QUEUE_MAX as usize - 10);
        assert_eq!(pulled(&all, number, 0, 100).await, Some(vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pull_point_ends_unless_it_is_pulled_or_renewed() {
        let all = Subscriptions::new();
        let number = all.open(MINUTE).unwrap();
        advance(MINUTE - Duration::from_secs(1)).await;
        assert!(pulled(&all, number, 0, 1).await.is_some(), "a pull prolongs it");
        advance(MINUTE - Duration::from_secs(1)).await;
        assert!(all.renew(number, MINUTE * 2));
        advance(MINUTE).await;
        assert!(all.synchronize(number));
        advance(MINUTE).await;
        assert!(!all.renew(number, MINUTE) && !all.synchronize(number) && !all.close(number));
        assert_eq!(pulled(&all, number, 9, 1).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_only_so_many_and_ended_ones_make_room() {
        let all = Subscriptions::new();
        let numbers: Vec<u32> = (0..SUBSCRIPTIONS_MAX).map(|_| all.open(MINUTE).unwrap()).collect();
        assert_eq!(all.open(MINUTE), None);
        assert!(all.close(numbers[3]));
        assert!(all.open(MINUTE).is_some_and(|number| !numbers.contains(&number)));
        advance(MINUTE).await;
        assert!(all.open(MINUTE).is_some());
    }
}
