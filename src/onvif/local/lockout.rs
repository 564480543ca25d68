//! Guessing made slow: an account that was tried wrongly too often in a row is locked for a while, and longer each time.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Wrong passwords in a row that are nobody's attack.
pub const TRIES_MAX: u32 = 5;
/// How long an account is locked the first time; doubles with each wrong password after it.
pub const LOCK_FIRST: Duration = Duration::from_secs(30);
/// How long at most: whoever owns it gets in again the same hour.
const LOCK_MAX: Duration = Duration::from_secs(15 * 60);
/// Accounts that are remembered; far more than a document has. Only names that are accounts get here.
const ACCOUNTS_MAX: usize = 256;

#[derive(Debug, Default)]
struct Tries {
    wrong: u32,
    locked_until: Option<Instant>,
}

/// The tries of each account since its last right one.
#[derive(Debug, Default)]
pub struct Lockout(Mutex<HashMap<String, Tries>>);

impl Lockout {
    /// Whether `account` may be tried now. The try counts as wrong until [`Self::right`], so that many at once are counted.
    pub fn may_try(&self, account: &str) -> bool {
        let now = Instant::now();
        let mut all = self.lock();
        if !all.contains_key(account) && all.len() >= ACCOUNTS_MAX {
            all.retain(|_, tries| tries.locked_until.is_some_and(|until| until > now));
        }
        let tries = all.entry(account.to_owned()).or_default();
        if tries.locked_until.is_some_and(|until| until > now) {
            return false;
        }
        tries.wrong = tries.wrong.saturating_add(1);
        if tries.wrong >= TRIES_MAX {
            let times = (tries.wrong - TRIES_MAX).min(16);
            tries.locked_until = Some(now + (LOCK_FIRST * 2u32.pow(times)).min(LOCK_MAX));
        }
        true
    }

    /// The try was right.
    pub fn right(&self, account: &str) {
        self.lock().remove(account);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Tries>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(lockout: &Lockout, times: u32) -> u32 {
        (0..times).filter(|_| lockout.may_try("admin")).count().try_into().expect("few")
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_is_locked_after_wrong_tries_and_longer_each_time() {
        let lockout = Lockout::default();
        assert_eq!(wrong(&lockout, 9), TRIES_MAX);
        assert!(lockout.may_try("other"), "others are not");
        tokio::time::advance(LOCK_FIRST + Duration::from_secs(1)).await;
        assert_eq!(wrong(&lockout, 9), 1);
        tokio::time::advance(LOCK_FIRST + Duration::from_secs(1)).await;
        assert!(!lockout.may_try("admin"), "twice as long");
        tokio::time::advance(LOCK_MAX).await;
        assert!(lockout.may_try("admin"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_password_begins_anew() {
        let lockout = Lockout::default();
        assert_eq!(wrong(&lockout, TRIES_MAX - 1), TRIES_MAX - 1);
        lockout.right("admin");
        assert_eq!(wrong(&lockout, TRIES_MAX), TRIES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn no_lock_is_longer_than_the_longest_and_the_memory_is_bounded() {
        let lockout = Lockout::default();
        for _ in 0..40 {
            assert!(lockout.may_try("admin"));
            tokio::time::advance(LOCK_MAX + Duration::from_secs(1)).await;
        }
        (0..2 * ACCOUNTS_MAX).for_each(|n| assert!(lockout.may_try(&n.to_string())));
        assert!(lockout.lock().len() <= ACCOUNTS_MAX);
    }
}
