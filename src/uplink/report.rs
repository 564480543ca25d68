//! What a runner tells people: its entry on the status board and its log lines.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::model::{
    failure::Failure,
    status::{StatusBoard, UplinkStatus},
    uplink::UplinkKey,
};

/// The same failure again is a warning at most this often; between, it is a line for debugging.
const REPEAT: Duration = Duration::from_secs(60);

/// Gives out the entries of the board, so that of two runners with one key (the old one drains) only the newer writes.
#[derive(Debug)]
pub struct Entries {
    board: Arc<StatusBoard>,
    owners: Mutex<Owners>,
}

#[derive(Debug, Default)]
struct Owners {
    given: u64,
    by_key: BTreeMap<UplinkKey, u64>,
}

impl Entries {
    /// The entries of `board`.
    pub fn new(board: Arc<StatusBoard>) -> Arc<Self> {
        Arc::new(Self { board, owners: Mutex::default() })
    }

    /// Takes the entry of `key` from whoever had it, and starts it afresh.
    pub fn claim(self: &Arc<Self>, key: &UplinkKey) -> Entry {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.given += 1;
        let number = owners.given;
        owners.by_key.insert(key.clone(), number);
        self.board.update(key, |status| *status = UplinkStatus::new());
        Entry { entries: Arc::clone(self), key: key.clone(), number }
    }
}

/// The entry of one runner. Dropping it removes it from the board, unless a newer runner has taken it.
#[derive(Debug)]
pub struct Entry {
    entries: Arc<Entries>,
    key: UplinkKey,
    number: u64,
}

impl Entry {
    /// Changes the entry, if it is still this runner's.
    pub fn update(&self, change: impl FnOnce(&mut UplinkStatus)) {
        let owners = self.entries.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.by_key.get(&self.key) == Some(&self.number) {
            self.entries.board.update(&self.key, change);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut owners = self.entries.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.by_key.get(&self.key) == Some(&self.number) {
            owners.by_key.remove(&self.key);
            self.entries.board.remove(&self.key);
        }
    }
}

/// Logs failures; repeats of the same one are rare.
#[derive(Debug, Default)]
pub struct FailureLog {
    last: Option<(Failure, Instant)>,
}

impl FailureLog {
    /// Logs one failure with what comes next, in the span of its uplink.
    pub fn log(&mut self, failure: &Failure, attempt: u32, delay: Option<Duration>, now: Instant) {
        let delay = delay.map(|delay| delay.as_secs_f64());
        let (cause, phase, message) = (failure.cause.as_str(), failure.phase().as_str(), &failure.message);
        if self.is_news(failure, now) {
            tracing::warn!(cause, phase, attempt, delay, "uplink failure: {message}");
        } else {
            tracing::debug!(cause, phase, attempt, delay, "uplink failure again: {message}");
        }
    }

    /// After a session stood, the next failure is news again.
    pub fn clear(&mut self) {
        self.last = None;
    }

    fn is_news(&mut self, failure: &Failure, now: Instant) -> bool {
        let repeated = self.last.as_ref().is_some_and(|(last, at)| {
            last.cause == failure.cause && last.message == failure.message && now.duration_since(*at) < REPEAT
        });
        if !repeated {
            self.last = Some((failure.clone(), now));
        }
        !repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{address::RemoteAddress, failure::Cause, status::Status};

    fn key() -> UplinkKey {
        UplinkKey { device: "camera-1".into(), remote: RemoteAddress::parse("https://cloud/").expect("valid") }
    }

    #[test]
    fn an_old_runner_neither_writes_nor_removes_the_entry_of_the_new_one() {
        let board = StatusBoard::new();
        let entries = Entries::new(Arc::clone(&board));
        let old = entries.claim(&key());
        let new = entries.claim(&key());
        old.update(|status| status.set(Status::Online));
        drop(old);
        assert_eq!(board.snapshot().uplinks[&key()].status, Status::Offline);
        drop(new);
        assert!(board.snapshot().uplinks.is_empty());
    }

    #[test]
    fn the_same_failure_is_news_once_a_minute() {
        let mut log = FailureLog::default();
        let now = Instant::now();
        let failure = Failure::new(Cause::DialTimeout, "no answer");
        assert!(log.is_news(&failure, now));
        assert!(!log.is_news(&failure, now + REPEAT / 2));
        assert!(log.is_news(&failure, now + REPEAT));
        assert!(log.is_news(&Failure::new(Cause::ConnectionRefused, "refused"), now + REPEAT));
    }
}
