//! The queue of notices: bounded, the newest of a subject in place of an older one, and each subject and all together at a bounded rate.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::notices::Notice;

/// Notices that wait; beyond it the oldest goes. More uplinks than that at once are for metrics, not for people.
pub const QUEUE_MAX: usize = 256;
/// So many of one subject at once …
pub const SUBJECT_BURST: u32 = 3;
/// … and then one each.
pub const SUBJECT_EVERY: Duration = Duration::from_secs(300);
/// So many of all subjects at once …
pub const ALL_BURST: u32 = 20;
/// … and then one each. Events cost the API server's storage.
pub const ALL_EVERY: Duration = Duration::from_secs(10);

/// Allows a burst, and then one each interval.
#[derive(Debug)]
struct Bucket {
    burst: u32,
    every: Duration,
    /// When it is full again; one that has never been used is full.
    full_at: Instant,
}

impl Bucket {
    fn new(burst: u32, every: Duration, now: Instant) -> Self {
        Self { burst, every, full_at: now }
    }

    /// When the next is allowed.
    fn next_at(&self) -> Instant {
        let whole = self.every * self.burst.saturating_sub(1);
        self.full_at.checked_sub(whole).unwrap_or(self.full_at)
    }

    fn take(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + self.every;
    }
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Say this.
    Say(Notice),
    /// Nothing before this instant.
    At(Instant),
    /// Nothing.
    Empty,
}

/// The queue.
#[derive(Debug)]
pub struct Pace {
    queue: VecDeque<Notice>,
    subjects: BTreeMap<(&'static str, String), Bucket>,
    all: Bucket,
}

impl Pace {
    /// An empty queue that allows the bursts.
    pub fn new(now: Instant) -> Self {
        let all = Bucket::new(ALL_BURST, ALL_EVERY, now);
        Self { queue: VecDeque::new(), subjects: BTreeMap::new(), all }
    }

    /// Puts a notice last. What waits about the same is not of interest any more. Returns one that will never be said because there
    /// are too many.
    pub fn push(&mut self, notice: Notice) -> Option<Notice> {
        self.queue.retain(|waiting| topic(waiting) != topic(&notice));
        self.queue.push_back(notice);
        if self.queue.len() > QUEUE_MAX { self.queue.pop_front() } else { None }
    }

    /// Puts back what could not be said, unless there is something newer about it.
    pub fn put_back(&mut self, notice: Notice) {
        if self.queue.len() < QUEUE_MAX && !self.queue.iter().any(|waiting| topic(waiting) == topic(&notice)) {
            self.queue.push_front(notice);
        }
    }

    /// The first that may be said now, or when one may.
    pub fn next(&mut self, now: Instant) -> Next {
        // A full bucket is like none: the map is no longer than what was said lately.
        self.subjects.retain(|_, bucket| bucket.full_at > now);
        let all = self.all.next_at();
        let of_subject = |notice: &Notice| self.subjects.get(&owned(notice)).map_or(now, Bucket::next_at).max(all);
        let Some((at, index)) = self.queue.iter().enumerate().map(|(index, one)| (of_subject(one), index)).min() else {
            return Next::Empty;
        };
        if at > now {
            return Next::At(at);
        }
        let Some(notice) = self.queue.remove(index) else { return Next::Empty };
        self.all.take(now);
        let bucket = Bucket::new(SUBJECT_BURST, SUBJECT_EVERY, now);
        self.subjects.entry(owned(&notice)).or_insert(bucket).take(now);
        Next::Say(notice)
    }
}

fn topic(notice: &Notice) -> (&'static str, &str) {
    (notice.reason.topic(), &notice.subject)
}

fn owned(notice: &Notice) -> (&'static str, String) {
    (notice.reason.topic(), notice.subject.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::notices::Reason;

    fn notice(reason: Reason, subject: usize, note: &str) -> Notice {
        Notice { reason, subject: format!("camera-{subject}"), note: note.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_notice_of_a_subject_takes_the_place_of_an_older_one() {
        let mut pace = Pace::new(Instant::now());
        pace.push(notice(Reason::UplinkOffline, 1, "down"));
        pace.push(notice(Reason::CertificateExpiring, 1, "soon"));
        pace.push(notice(Reason::UplinkOnline, 1, "up"));
        assert_eq!(pace.next(Instant::now()), Next::Say(notice(Reason::CertificateExpiring, 1, "soon")));
        assert_eq!(pace.next(Instant::now()), Next::Say(notice(Reason::UplinkOnline, 1, "up")));
        assert_eq!(pace.next(Instant::now()), Next::Empty);
    }

    #[tokio::test(start_paused = true)]
    async fn an_uplink_that_flaps_says_three_at_once_and_then_one_each_five_minutes() {
        let (mut pace, start) = (Pace::new(Instant::now()), Instant::now());
        for round in 0..SUBJECT_BURST {
            pace.push(notice(Reason::UplinkOffline, 1, "down"));
            assert!(matches!(pace.next(start), Next::Say(_)), "{round}");
        }
        pace.push(notice(Reason::UplinkOffline, 1, "down"));
        assert_eq!(pace.next(start), Next::At(start + SUBJECT_EVERY));
        pace.push(notice(Reason::UplinkOffline, 2, "another"));
        assert_eq!(pace.next(start), Next::Say(notice(Reason::UplinkOffline, 2, "another")));
        assert!(matches!(pace.next(start + SUBJECT_EVERY), Next::Say(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn all_subjects_together_say_twenty_at_once_and_then_one_each_ten_seconds() {
        let (mut pace, start) = (Pace::new(Instant::now()), Instant::now());
        (0..30).for_each(|subject| assert_eq!(pace.push(notice(Reason::UplinkOffline, subject, "down")), None));
        for subject in 0..ALL_BURST {
            assert!(matches!(pace.next(start), Next::Say(_)), "{subject}");
        }
        assert_eq!(pace.next(start), Next::At(start + ALL_EVERY));
        assert!(matches!(pace.next(start + ALL_EVERY), Next::Say(_)));
        assert_eq!(pace.next(start + ALL_EVERY), Next::At(start + ALL_EVERY * 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_overflows_loses_the_oldest_and_gives_it_back() {
        let mut pace = Pace::new(Instant::now());
        let lost = (0..QUEUE_MAX + 5).filter_map(|subject| pace.push(notice(Reason::UplinkOffline, subject, "down")));
        assert_eq!(
            lost.map(|lost| lost.subject).collect::<Vec<_>>(),
            (0..5).map(|one| format!("camera-{one}")).collect::<Vec<_>>()
        );
        assert_eq!(pace.queue.len(), QUEUE_MAX);
        assert_eq!(pace.next(Instant::now()), Next::Say(notice(Reason::UplinkOffline, 5, "down")));
        pace.put_back(notice(Reason::UplinkOffline, 6, "older"));
        assert_eq!(pace.next(Instant::now()), Next::Say(notice(Reason::UplinkOffline, 6, "down")), "newer wins");
    }
}
