//! The signals that end a process: the first SIGTERM or SIGINT starts a drain, the second ends it at once.

use std::{future::Future, io, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::drain::{Drain, DrainSwitch, drain};

/// The signals that end a process. Listened to before anything says that it has started, because until then they kill.
pub struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    /// What is sent from now on is not lost.
    ///
    /// # Errors
    /// The operating system's, when it has no room for handlers.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Runs `work` until it ends by itself or by a signal: the first starts the drain with `grace`, the second ends it.
    pub async fn end<F: Future>(self, grace: Duration, work: impl FnOnce(Drain) -> F) -> F::Output {
        let (switch, drain) = drain();
        let signals = self.drain(switch, grace);
        let mut work = std::pin::pin!(work(drain));
        let switch = tokio::select! {
            output = &mut work => return output,
            switch = signals => switch,
        };
        let output = work.await;
        drop(switch);
        output
    }

    /// Turns signals into a drain; resolves, with the switch, when the second one has shortened it.
    async fn drain(mut self, switch: DrainSwitch, grace: Duration) -> DrainSwitch {
        for grace in [grace, Duration::ZERO] {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            tracing::info!(grace_seconds = grace.as_secs_f64(), "told to stop");
            switch.start(grace);
        }
        switch
    }
}
