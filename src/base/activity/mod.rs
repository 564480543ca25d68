//! What happens on one session, counted where it happens and read elsewhere: bytes, streams, requests, the last sign of life.
//!
//! The 30 s rule (ONVIF Uplink §5.2) counts received bytes of any kind, so the byte stream itself keeps the clock. Plain
//! atomics with relaxed order: each figure stands alone, readers need no consistent cut.
//!
//! - [`flow`]: what the peer's flow control gives, and who waits for it.

pub mod flow;

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use self::flow::Flow;

/// Counters of one session. Shared by the byte stream, the HTTP/2 side, liveness and status.
#[derive(Debug)]
pub struct Activity {
    started: Instant,
    last_received_micros: AtomicU64,
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
    streams_open: AtomicU64,
    requests: AtomicU64,
    flow: Flow,
}

impl Activity {
    /// Starts the clock: a session on which nothing was ever received is silent since now.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            last_received_micros: AtomicU64::new(0),
            bytes_received: AtomicU64::new(0),
            bytes_sent: AtomicU64::new(0),
            streams_open: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            flow: Flow::start(),
        }
    }

    /// Notes `bytes` that came from the peer now.
    pub fn received(&self, bytes: usize) {
        self.bytes_received.fetch_add(bytes as u64, Relaxed);
        self.last_received_micros.store(self.started.elapsed().as_micros() as u64, Relaxed);
    }

    /// Notes `bytes` handed over for the peer.
    pub fn sent(&self, bytes: usize) {
        self.bytes_sent.fetch_add(bytes as u64, Relaxed);
    }

    /// Notes the start of a stream; the returned guard notes its end.
    pub fn stream_opened(self: &std::sync::Arc<Self>) -> OpenStream {
        self.streams_open.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        OpenStream(std::sync::Arc::clone(self))
    }

    /// When the last byte came from the peer; the start of the session if none did.
    pub fn last_received(&self) -> Instant {
        self.started + Duration::from_micros(self.last_received_micros.load(Relaxed))
    }

    /// Bytes received since the start.
    pub fn bytes_received(&self) -> u64 {
        self.bytes_received.load(Relaxed)
    }

    /// Bytes sent since the start.
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent.load(Relaxed)
    }

    /// Streams open now.
    pub fn streams_open(&self) -> u64 {
        self.streams_open.load(Relaxed)
    }

    /// What the peer's flow control gives.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Requests since the start.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }
}

/// Counts a stream as open while it lives.
#[derive(Debug)]
pub struct OpenStream(std::sync::Arc<Activity>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams_open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_measured_from_the_last_received_byte() {
        let activity = Activity::start();
        let start = Instant::now();
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(activity.last_received(), start);
        activity.received(1);
        assert_eq!(activity.last_received() - start, Duration::from_secs(7));
        activity.sent(5);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(activity.last_received() - start, Duration::from_secs(7));
    }

    #[test]
    fn a_stream_counts_as_open_until_its_guard_is_dropped() {
        let activity = Arc::new(Activity::start());
        let stream = activity.stream_opened();
        assert_eq!((activity.streams_open(), activity.requests()), (1, 1));
        drop(stream);
        assert_eq!((activity.streams_open(), activity.requests()), (0, 1));
    }
}
