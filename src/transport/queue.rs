//! TCP whose kernel queue fits the link: on a thin one less may wait unsent, so that a control answer is not behind video.
//!
//! 128 KiB of unsent bytes (TCP_NOTSENT_LOWAT) are nothing on a LAN and 105 ms at 10 Mbit/s. So whenever the link is what holds
//! the stream up, the bound becomes what the link carried in [`HORIZON`]. A link that takes everything keeps the full bound.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use crate::base::io::KERNEL_QUEUE;

/// What may wait in the kernel, as time on the link.
const HORIZON: Duration = Duration::from_millis(10);
/// How long the link is watched for one estimate: some round trips of most links.
const WINDOW: Duration = Duration::from_millis(250);
/// Never less than one TLS record, or the link would run dry between two wake-ups.
const BOUND_MIN: u32 = 16 * 1024;

/// A TCP connection with a queue that follows the link.
pub struct Queued {
    stream: TcpStream,
    /// `None`: the settings say how long the queue is.
    bound: Option<Bound>,
}

impl Queued {
    /// `adapts`: whether the queue follows the link, or stays as it was set.
    pub fn new(stream: TcpStream, adapts: bool) -> Self {
        Self { stream, bound: adapts.then(|| Bound::new(Instant::now())) }
    }

    fn note(&mut self, written: &Poll<io::Result<usize>>) {
        let Some(bound) = &mut self.bound else { return };
        let changed = match written {
            Poll::Ready(Ok(bytes)) => bound.wrote(*bytes, Instant::now()),
            Poll::Pending => bound.blocked(Instant::now()),
            Poll::Ready(Err(_)) => None,
        };
        // A refusal leaves the bound before it, which is only longer.
        #[cfg(target_os = "linux")]
        if let Some(bytes) = changed {
            let _ = socket2::SockRef::from(&self.stream).set_tcp_notsent_lowat(bytes);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = changed;
    }
}

impl AsyncRead for Queued {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Queued {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The estimate: bytes that the link took in a window in which it was the bottleneck.
#[derive(Debug)]
struct Bound {
    since: Instant,
    written: u64,
    was_blocked: bool,
    /// What the kernel has been told.
    bytes: u32,
}

impl Bound {
    fn new(now: Instant) -> Self {
        Self { since: now, written: 0, was_blocked: false, bytes: KERNEL_QUEUE }
    }

    /// Notes bytes that the kernel took; gives the new bound when it changes.
    fn wrote(&mut self, bytes: usize, now: Instant) -> Option<u32> {
        self.written += bytes as u64;
        self.look(now)
    }

    /// Notes that the kernel took nothing.
    fn blocked(&mut self, now: Instant) -> Option<u32> {
        self.was_blocked = true;
        self.look(now)
    }

    fn look(&mut self, now: Instant) -> Option<u32> {
        let elapsed = now.duration_since(self.since);
        if elapsed < WINDOW {
            return None;
        }
        let (written, blocked) = (std::mem::take(&mut self.written), std::mem::take(&mut self.was_blocked));
        self.since = now;
        // A window with a pause in it says how much there was to send and nothing about the link.
        if elapsed > 2 * WINDOW || written == 0 {
            return None;
        }
        let carried = (written as f64 * HORIZON.as_secs_f64() / elapsed.as_secs_f64()) as u32;
        let wanted = if blocked { carried.clamp(BOUND_MIN, KERNEL_QUEUE) } else { KERNEL_QUEUE };
        let differs = wanted.abs_diff(self.bytes) > self.bytes / 4;
        differs.then(|| {
            self.bytes = wanted;
            wanted
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link of so many bytes per second for so many windows; what the bound is then.
    fn after(rate: u64, windows: u32, blocked: bool) -> u32 {
        let start = Instant::now();
        let mut bound = Bound::new(start);
        let step = Duration::from_millis(10);
        for index in 1..=windows * 25 {
            let now = start + step * index;
            bound.wrote((rate / 100) as usize, now);
            if blocked {
                bound.blocked(now);
            }
        }
        bound.bytes
    }

    #[tokio::test(start_paused = true)]
    async fn a_thin_link_gets_a_queue_of_ten_milliseconds() {
        assert_eq!(after(1_250_000, 4, true), BOUND_MIN);
        let bound = after(5_000_000, 4, true);
        assert!((45_000..55_000).contains(&bound), "{bound}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_link_and_one_that_never_blocks_keep_the_full_queue() {
        assert_eq!(after(100_000_000, 4, true), KERNEL_QUEUE);
        assert_eq!(after(100_000, 4, false), KERNEL_QUEUE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_gets_better_gets_its_queue_back() {
        let start = Instant::now();
        let mut bound = Bound::new(start);
        bound.blocked(start);
        assert_eq!(bound.wrote(100_000, start + WINDOW), Some(BOUND_MIN));
        assert_eq!(bound.wrote(100_000, start + 2 * WINDOW), Some(KERNEL_QUEUE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_no_estimate() {
        let start = Instant::now();
        let mut bound = Bound::new(start);
        bound.blocked(start);
        assert_eq!(bound.wrote(1000, start + 10 * WINDOW), None);
    }
}
