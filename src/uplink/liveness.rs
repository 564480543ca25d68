//! The 30 s rule (ONVIF Uplink §5.2): "A local service shall close and reconnect the uplink whenever no packets have been
//! received from the remote client for more than 30 seconds."
//!
//! Any received byte counts. After 10 s of silence we send one PING; a remote that lives answers it (RFC 9113 §6.7), so a
//! remote that never speaks by itself stays connected (quirk Q15) and a half-open connection is found out. [`decide`] is
//! the pure rule, [`watch`] its driver on one session.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{base::activity::Activity, reverse::Pinger};

/// A PING is sent after this much silence: two thirds of the rule's time are left for a slow path to carry its answer.
pub const PING_AFTER: Duration = Duration::from_secs(10);
/// The specification's time: a session is dead after this much silence.
pub const DEAD_AFTER: Duration = Duration::from_secs(30);

/// What the rule asks for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing before this instant.
    Wait(Instant),
    /// Send a PING.
    Ping,
    /// The session is dead.
    Dead,
}

/// The rule. `pinged` says whether a PING waits for its ACK: one is enough, TCP repeats it.
pub fn decide(last_received: Instant, now: Instant, pinged: bool) -> Decision {
    let silence = now.saturating_duration_since(last_received);
    if silence >= DEAD_AFTER {
        Decision::Dead
    } else if pinged {
        Decision::Wait(last_received + DEAD_AFTER)
    } else if silence >= PING_AFTER {
        Decision::Ping
    } else {
        Decision::Wait(last_received + PING_AFTER)
    }
}

/// Watches a session and resolves when it is dead. The session must be polled meanwhile, or no PING goes out. Without a
/// pinger only the 30 s count. Cancel safe.
pub async fn watch(activity: &Activity, mut pinger: Option<Pinger>) {
    loop {
        match decide(activity.last_received(), Instant::now(), pinger.is_none()) {
            Decision::Dead => return,
            Decision::Wait(until) => sleep_until(until).await,
            Decision::Ping => {
                let answered = match &mut pinger {
                    Some(pinger) => ping(activity, pinger).await,
                    None => None,
                };
                match answered {
                    None => return,
                    Some(true) => {}
                    // The connection is ending and its own end will be seen; the 30 s still count.
                    Some(false) => pinger = None,
                }
            }
        }
    }
}

/// One PING: whether its ACK came; `None` when the session died before.
async fn ping(activity: &Activity, pinger: &mut Pinger) -> Option<bool> {
    let mut answered = pin!(pinger.ping());
    loop {
        match decide(activity.last_received(), Instant::now(), true) {
            Decision::Wait(until) => tokio::select! {
                biased;
                result = &mut answered => return Some(result.is_ok()),
                () = sleep_until(until) => {}
            },
            Decision::Dead | Decision::Ping => return None,
        }
    }
}

/// Resolves when nothing was received for 30 s, from the start of `activity` on; for the time before there is HTTP/2.
/// Cancel safe.
pub async fn silent(activity: &Activity) {
    watch(activity, None).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(silence: u64, pinged: bool) -> Decision {
        let start = Instant::now();
        match decide(start, start + Duration::from_secs(silence), pinged) {
            Decision::Wait(until) => {
                assert!(until > start + Duration::from_secs(silence), "a wait ends in the future");
                Decision::Wait(until)
            }
            other => other,
        }
    }

    #[test]
    fn a_remote_that_speaks_is_left_alone() {
        assert!(matches!(after(0, false), Decision::Wait(_)));
        assert!(matches!(after(9, false), Decision::Wait(_)));
    }

    #[test]
    fn ten_seconds_of_silence_ask_for_one_ping() {
        assert_eq!(after(10, false), Decision::Ping);
        assert!(matches!(after(29, true), Decision::Wait(_)));
    }

    #[test]
    fn thirty_seconds_of_silence_are_the_end_with_or_without_a_ping() {
        assert_eq!(after(30, false), Decision::Dead);
        assert_eq!(after(30, true), Decision::Dead);
    }

    #[tokio::test(start_paused = true)]
    async fn a_received_byte_moves_the_end() {
        let activity = Activity::start();
        let start = Instant::now();
        let bytes = async {
            sleep_until(start + Duration::from_secs(20)).await;
            activity.received(1);
        };
        tokio::join!(bytes, silent(&activity));
        assert_eq!(start.elapsed().as_secs(), 50);
    }
}
