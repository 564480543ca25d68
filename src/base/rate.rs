//! A cap on what a byte stream sends: a token bucket below TLS, so that what has to wait waits in HTTP/2, fair between streams.

use std::{
    io,
    num::NonZeroU64,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// What may leave at once after a pause: short, so that a link of that rate is not overrun.
const BURST: Duration = Duration::from_millis(50);
/// The least that the bucket holds in bytes: one TLS record with its header.
const BURST_MIN: u64 = 16 * 1024 + 256;
/// The least that is waited for in bytes; smaller pieces would cost more than they carry.
const PIECE: u64 = 1460;

/// A stream that sends no more than its rate.
pub struct Capped<S> {
    io: S,
    bytes_per_second: u64,
    burst: u64,
    tokens: u64,
    refilled: Instant,
    wake: Option<Pin<Box<Sleep>>>,
}

impl<S> Capped<S> {
    /// Caps `io` at `bits_per_second`.
    pub fn new(io: S, bits_per_second: NonZeroU64) -> Self {
        let bytes_per_second = (bits_per_second.get() / 8).max(1);
        let burst = (bytes_per_second / (1000 / BURST.as_millis() as u64)).max(BURST_MIN);
        Self { io, bytes_per_second, burst, tokens: burst, refilled: Instant::now(), wake: None }
    }

    fn refill(&mut self) {
        let now = Instant::now();
        let gained = now.duration_since(self.refilled).as_nanos() * u128::from(self.bytes_per_second) / 1_000_000_000;
        // Time that gave less than a byte is kept for the next look.
        if gained > 0 {
            self.tokens = self.burst.min(self.tokens.saturating_add(u64::try_from(gained).unwrap_or(u64::MAX)));
            self.refilled = now;
        }
    }

    /// How many of `wanted` bytes may leave now; `Pending` until a piece of them may.
    fn poll_allowed(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<usize> {
        let wanted = wanted as u64;
        loop {
            self.refill();
            let needed = wanted.min(PIECE);
            if self.tokens >= needed {
                self.wake = None;
                return Poll::Ready(usize::try_from(wanted.min(self.tokens)).unwrap_or(usize::MAX));
            }
            let missing = needed - self.tokens;
            let until = self.refilled + Duration::from_nanos(missing * 1_000_000_000 / self.bytes_per_second + 1);
            let wake = self.wake.get_or_insert_with(|| Box::pin(sleep_until(until)));
            wake.as_mut().reset(until);
            ready!(wake.as_mut().poll(cx));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Capped<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Capped<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Pin::new(&mut self.io).poll_write(cx, buf);
        }
        let allowed = ready!(self.poll_allowed(cx, buf.len()));
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, &buf[..allowed]))?;
        self.tokens = self.tokens.saturating_sub(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn rate(bits: u64) -> NonZeroU64 {
        NonZeroU64::new(bits).expect("not zero")
    }

    #[tokio::test(start_paused = true)]
    async fn the_average_holds_and_nothing_starves() {
        let (near, mut far) = duplex(1 << 20);
        let mut capped = Capped::new(near, rate(8_000_000));
        let sink = tokio::spawn(async move { tokio::io::copy(&mut far, &mut tokio::io::sink()).await });
        let began = Instant::now();
        capped.write_all(&vec![0; 5_000_000]).await.expect("open");
        let took = began.elapsed();
        assert!(took > Duration::from_millis(4_900) && took < Duration::from_millis(5_100), "{took:?}");
        drop(capped);
        assert_eq!(sink.await.expect("no panic").expect("read"), 5_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_saves_no_more_than_the_burst() {
        let (near, mut far) = duplex(1 << 20);
        let mut capped = Capped::new(near, rate(800_000));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let began = Instant::now();
        capped.write_all(&vec![0; BURST_MIN as usize + 100_000]).await.expect("room");
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(990) && took < Duration::from_millis(1_100), "{took:?}");
        let mut received = vec![0; BURST_MIN as usize + 100_000];
        far.read_exact(&mut received).await.expect("open");
    }

    #[tokio::test(start_paused = true)]
    async fn reads_are_not_slowed() {
        let (near, mut far) = duplex(1 << 20);
        let mut capped = Capped::new(near, rate(64_000));
        far.write_all(&vec![0; 500_000]).await.expect("room");
        let began = Instant::now();
        capped.read_exact(&mut vec![0; 500_000]).await.expect("open");
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
