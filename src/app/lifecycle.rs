//! The ends of a sidecar's life: when it is ready, how it drains when the admin listener asks for it, how it shuts down.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{sleep, sleep_until},
};

use super::follower::CONFIGURATION;
use crate::{
    admin::{Readiness, lifecycle::Asked},
    base::drain::{Drain, Draining},
    model::status::StatusBoard,
    uplink::supervisor::Supervisor,
};

/// The readiness latch that a drain closes.
pub(super) const DRAIN: &str = "drain";
/// The readiness latch that is closed while no uplink is Online, if that was asked for.
const UPLINK: &str = "uplink";

/// How long a drain by `/drain` lasts when nobody stops the process afterwards. Then it ends by itself: whoever runs it starts it
/// again, so that a drain that was a mistake, or a stranger's, does not keep the device out of reach for ever.
const DRAINED_MAX: Duration = Duration::from_secs(3600);

/// When the deadline of the grace period is over, the supervisor cuts by itself; this much later nobody waits for it.
const CUT_MARGIN: Duration = Duration::from_secs(6);

/// The latches at the start: waiting for a configuration.
pub(super) fn latches() -> Readiness {
    let readiness = Readiness::new();
    readiness.set(CONFIGURATION, "no configuration has been read yet");
    readiness.clear(DRAIN);
    readiness
}

/// Resolves when at least this is asked for; never when nobody can ask any more. Cancel safe.
pub(super) async fn asked_for(asked: &mut watch::Receiver<Asked>, wish: Asked) {
    if asked.wait_for(|asked| *asked >= wish).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Keeps the latch that is open while at least one uplink is Online. Never resolves.
pub(super) async fn follow_uplinks(board: &StatusBoard, readiness: &Readiness) {
    let mut changes = board.watch();
    loop {
        if board.is_any_online() {
            readiness.clear(UPLINK);
        } else {
            readiness.set(UPLINK, "no uplink is Online, and --ready-requires-uplink wants one; see /status");
        }
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// If a drain is what was asked for: drains all uplinks and waits for the stop, while open streams go on.
pub(super) async fn drained(supervisor: &mut Supervisor, stop: &mut Drain, asked: &mut watch::Receiver<Asked>) {
    if *asked.borrow() != Asked::Drain || stop.now().is_some() {
        return;
    }
    tracing::info!("told to drain; open streams go on until the stop");
    supervisor.drain(DRAINED_MAX);
    stopped(stop, asked).await;
}

/// Waits for the stop after a drain, at most [`DRAINED_MAX`]. Cancel safe.
async fn stopped(stop: &mut Drain, asked: &mut watch::Receiver<Asked>) {
    tokio::select! {
        _ = stop.started() => {}
        () = asked_for(asked, Asked::Stop) => {}
        () = sleep(DRAINED_MAX) => {
            tracing::warn!(seconds = DRAINED_MAX.as_secs(), "drained, but nobody stopped the process; it ends by itself");
        }
    }
}

/// Drains until the supervisor is done. When the deadline is drawn nearer (a second signal) nobody waits beyond it: what
/// is left is dropped, and so cut.
pub(super) async fn shut_down(supervisor: Supervisor, mut stop: Drain) {
    let mut done = std::pin::pin!(supervisor.shutdown());
    let mut deadline = tokio::select! {
        biased;
        Draining { deadline } = stop.started() => deadline,
        () = &mut done => return,
    };
    let mut cut = deadline + CUT_MARGIN;
    loop {
        tokio::select! {
            () = &mut done => return,
            nearer = stop.nearer_than(deadline) => (deadline, cut) = (nearer.deadline, nearer.deadline),
            () = sleep_until(cut) => {
                return tracing::warn!("stopped without the rest of the grace period");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::base::drain::drain;

    #[tokio::test(start_paused = true)]
    async fn a_drain_that_nobody_follows_with_a_stop_ends_by_itself_after_an_hour() {
        let (start, (_switch, mut stop)) = (Instant::now(), drain());
        let (_wishes, mut asked) = watch::channel(Asked::Drain);
        stopped(&mut stop, &mut asked).await;
        assert_eq!(start.elapsed(), DRAINED_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_by_signal_or_by_the_listener_ends_a_drain_at_once_and_another_drain_does_not() {
        let (start, (switch, mut stop)) = (Instant::now(), drain());
        let (wishes, mut asked) = watch::channel(Asked::Drain);
        wishes.send_replace(Asked::Drain);
        assert!(timeout(DRAINED_MAX / 2, stopped(&mut stop, &mut asked)).await.is_err(), "it is drained already");
        wishes.send_replace(Asked::Stop);
        stopped(&mut stop, &mut asked).await;
        let (_wishes, mut asked) = watch::channel(Asked::Drain);
        switch.start(Duration::ZERO);
        stopped(&mut stop, &mut asked).await;
        assert_eq!(start.elapsed(), DRAINED_MAX / 2);
    }
}
