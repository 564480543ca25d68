//! How long an exchange waits for the head of its answer, and for whom.

use std::{
    pin::Pin,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use super::{fault::Fault, limits::Limits, upload::Signals};

/// Who is waited for, and since when. While the upload pauses it is the remote, else the device; each has its own bound
/// since the last change. An upload that still moves is no reason to give the device up.
pub struct Patience {
    timer: Pin<Box<Sleep>>,
    since: Instant,
    sent: u64,
    starved: bool,
    device: Duration,
    remote: Duration,
}

impl Patience {
    /// Begins with the device: its head is due within [`Limits::head`].
    pub fn new(limits: &Limits) -> Self {
        let timer = Box::pin(tokio::time::sleep(limits.head));
        let (since, device, remote) = (Instant::now(), limits.head, limits.upload);
        Self { timer, since, sent: 0, starved: false, device, remote }
    }

    /// When the next bound is over, as things stand.
    fn due(&self) -> Instant {
        self.since + if self.starved { self.remote } else { self.device }
    }

    /// Ready with the fault when whoever is waited for had its time.
    pub fn poll_over(&mut self, signals: &Signals, cx: &mut Context<'_>) -> Poll<Fault> {
        let (sent, starved) = (signals.sent.load(Relaxed), signals.starved.load(Relaxed));
        if sent != self.sent || starved != self.starved {
            self.since = Instant::now();
            self.sent = sent;
            if starved != self.starved {
                self.starved = starved;
                let due = self.due();
                self.timer.as_mut().reset(due);
            }
        }
        // The timer is not moved with each chunk; it is asked when it rings.
        while self.timer.as_mut().poll(cx).is_ready() {
            let due = self.due();
            if due <= Instant::now() {
                return Poll::Ready(if self.starved { Fault::UploadTimeout } else { Fault::HeadTimeout });
            }
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}
