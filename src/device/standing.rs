//! How an account stands with its device: proven, doubtful, or refused and left alone for a while.
//!
//! Cameras lock an account after a few wrong passwords, for everybody. So what was refused is not tried again for a time that
//! doubles, and as long as nothing has proven the password there is one try at a time. A password that has worked may be
//! refused once without consequence: the operation may be above the account's rights, which some devices also answer
//! with 401. Pure: times come in as arguments.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause. With its doubling an account is tried five times in the first eight minutes, and seven times in the
/// first half hour; the strictest cameras known lock after five within five minutes or seven within half an hour.
pub const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 60);

/// The standing of one account with one password.
#[derive(Debug, Default)]
pub struct Standing {
    proven: bool,
    /// Refusals that were followed by a pause, since the last acceptance.
    pauses: u32,
    until: Option<Instant>,
}

impl Standing {
    /// Whether the password has been accepted and not refused since.
    pub fn proven(&self) -> bool {
        self.proven
    }

    /// The end of the pause, while it lasts.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }

    /// The device accepted the password. Returns whether there was trouble before.
    pub fn accepted(&mut self) -> bool {
        let trouble = self.until.is_some();
        *self = Self { proven: true, ..Self::default() };
        trouble
    }

    /// The device refused it. Returns the pause that begins now; `None` for the one refusal that has no consequence.
    pub fn refused(&mut self, now: Instant) -> Option<Duration> {
        if std::mem::take(&mut self.proven) {
            return None;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.pauses.min(16)).min(LONGEST_PAUSE);
        self.pauses += 1;
        self.until = Some(now + pause);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_password_that_never_worked_is_left_alone_at_once_and_longer_each_time() {
        let (mut standing, mut now, mut pauses) = (Standing::default(), Instant::now(), Vec::new());
        for _ in 0..9 {
            let pause = standing.refused(now).expect("a pause");
            assert_eq!(standing.paused_until(now), Some(now + pause));
            now += pause;
            assert_eq!(standing.paused_until(now), None);
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 1800, 1800, 1800]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_password_that_worked_may_be_refused_once() {
        let (mut standing, now) = (Standing::default(), Instant::now());
        assert!(!standing.accepted());
        assert_eq!(standing.refused(now), None);
        assert!(!standing.proven() && standing.paused_until(now).is_none());
        assert_eq!(standing.refused(now), Some(FIRST_PAUSE));
        assert!(standing.accepted(), "there was trouble");
        assert!(standing.proven() && standing.paused_until(now).is_none());
        assert_eq!((standing.refused(now), standing.refused(now)), (None, Some(FIRST_PAUSE)), "counted afresh");
    }
}
