//! Byte streams that are flushed by turn, and what wraps them.
//!
//! The `h2` library asks for a flush after each DATA frame; a TLS stream that obeys makes one system call per 16 KiB, with a
//! wake-up of the peer each time. A [`TurnStream`] instead keeps what was written until the driver of the connection has
//! finished its turn and calls [`TurnHandle::poll_turn`]: one vectored write for the whole turn. [`split`] gives the
//! library its half, whose flush does nothing, and the driver the other.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    activity::Activity,
    http2::heads::{End, HEAD, Received, Sent},
};

/// A byte stream that collects what is written during a turn.
///
/// `poll_write` takes bytes into a bounded queue and may write some of it through; it is `Pending` while the bound is
/// reached and the peer takes nothing. `poll_flush` and `poll_shutdown` write everything.
pub trait TurnStream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Writes out what was queued. `Ready(Ok)` when nothing is left in the queue; `Pending` while the peer takes no more.
    ///
    /// # Errors
    /// Those of the connection below; the stream is of no use afterwards.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// An error that says: what carries the session was violated by the peer, by bytes that are not of its protocol. The kind is the
/// mark, because the HTTP/2 library passes on kind and text of an error and nothing else.
pub fn violation(sentence: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, sentence.into())
}

/// The sentence of a [`violation`]; `None` for every other error.
pub fn violation_of(error: &io::Error) -> Option<String> {
    (error.kind() == io::ErrorKind::InvalidInput).then(|| error.to_string())
}

/// Makes any stream without a queue of its own a [`TurnStream`]: what is written goes through at once.
#[derive(Debug)]
pub struct Direct<S>(pub S);

impl<S: AsyncRead + AsyncWrite + Send + Unpin> TurnStream for Direct<S> {
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Direct<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Direct<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// What is thrown away at once: acknowledgements and window updates are small.
const DISCARD: usize = 1024;

/// Bytes that the kernel may hold unsent for a session. What waits there waits in order, a small answer behind megabytes of
/// video; what waits in HTTP/2 is shared fairly. What is sent and not acknowledged does not count, so long fat links stay full.
pub const KERNEL_QUEUE: u32 = 128 * 1024;

/// Keeps the kernel's queue of unsent bytes short (TCP_NOTSENT_LOWAT), where the system can.
///
/// # Errors
/// Those of the socket.
pub fn keep_kernel_queue_short(socket: &impl std::os::fd::AsFd) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(socket).set_tcp_notsent_lowat(KERNEL_QUEUE)?;
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, KERNEL_QUEUE);
    Ok(())
}

type Shared = Arc<Mutex<Halves>>;

struct Halves {
    stream: Box<dyn TurnStream>,
    /// The library's last write was not taken: it has more to write, and its waker, that of the driver's task, waits below.
    blocked: bool,
}

/// The HTTP/2 library's half of a stream: counts what passes, looks at the heads of its frames, and leaves flushing to the
/// driver.
pub struct SessionIo {
    stream: Shared,
    /// Bytes that were read before the stream became HTTP/2, for example together with a 101.
    early: Bytes,
    activity: Arc<Activity>,
    received: Received,
    /// A head that is complete and for which the reader had no room.
    passed: Bytes,
    sent: Sent,
}

/// The driver's half of a stream.
pub struct TurnHandle {
    stream: Shared,
    activity: Arc<Activity>,
}

/// Gives the HTTP/2 library and the driver of its connection their halves of `stream`. `early` are bytes of the peer that
/// were read already and come first; `end` is ours. Both halves belong to one task; the lock between them is never contended.
pub fn split(stream: Box<dyn TurnStream>, early: Bytes, activity: Arc<Activity>, end: End) -> (SessionIo, TurnHandle) {
    let stream = Arc::new(Mutex::new(Halves { stream, blocked: false }));
    let handle = TurnHandle { stream: Arc::clone(&stream), activity: Arc::clone(&activity) };
    let (received, sent) = (Received::new(end), Sent::new(end));
    (SessionIo { stream, early, activity, received, passed: Bytes::new(), sent }, handle)
}

fn lock(stream: &Shared) -> MutexGuard<'_, Halves> {
    // A panic while the lock was held ended the session's task, and both halves with it.
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TurnHandle {
    /// Bytes that the session has sent since its start.
    pub fn bytes_sent(&self) -> u64 {
        self.activity.bytes_sent()
    }

    /// Writes out what this turn has queued; see [`TurnStream::poll_turn`]. `Pending` too while the library could not even
    /// queue all that it has.
    ///
    /// # Errors
    /// Those of the connection below.
    pub fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut halves = lock(&self.stream);
        ready!(halves.stream.poll_turn(cx))?;
        if halves.blocked { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// Writes out everything and closes the stream in good order. Give it a deadline: a peer that takes nothing holds it up.
    ///
    /// # Errors
    /// Those of the connection below.
    pub fn poll_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(&self.stream).stream).poll_shutdown(cx)
    }

    /// Reads and throws away what the peer still sends after [`Self::poll_close`]; `Ready` with whether something came, `false`
    /// being the end. A socket that is closed while its peer still sends is reset, and the reset takes bytes with it that
    /// were written but have not arrived.
    ///
    /// # Errors
    /// Those of the connection below.
    pub fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut scratch = [0; DISCARD];
        let mut buf = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut *lock(&self.stream).stream).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(!buf.filled().is_empty()))
    }
}

impl SessionIo {
    /// What came before the stream was ours, then the stream.
    fn poll_bytes(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.early.is_empty() {
            ready!(Pin::new(&mut *lock(&self.stream).stream).poll_read(cx, buf))?;
        } else {
            put(&mut self.early, buf);
        }
        let received = buf.filled().len() - before;
        if received > 0 {
            self.activity.received(received);
        }
        Poll::Ready(Ok(()))
    }

    /// One read, its void frames left out: the bytes that stay, `None` at the end.
    fn poll_frames(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<Option<usize>>> {
        let before = buf.filled().len();
        buf.put_slice(self.received.held());
        let held = buf.filled().len();
        let read = self.poll_bytes(cx, buf);
        if !matches!(read, Poll::Ready(Ok(()))) {
            buf.set_filled(before);
            return read.map_ok(|()| None);
        }
        if buf.filled().len() == held {
            // The end. What was held is the reader's to judge.
            self.received.end();
            return Poll::Ready(Ok(None));
        }
        let kept = self.received.pass(&mut buf.filled_mut()[before..], self.activity.flow())?;
        buf.set_filled(before + kept);
        Poll::Ready(Ok(Some(kept)))
    }
}

/// Moves as much as there is room for.
fn put(bytes: &mut Bytes, buf: &mut ReadBuf<'_>) {
    let taken = bytes.len().min(buf.remaining());
    buf.put_slice(&bytes[..taken]);
    bytes.advance(taken);
    if bytes.is_empty() {
        // Gives the buffer back that they were a part of.
        *bytes = Bytes::new();
    }
}

impl AsyncRead for SessionIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.passed.is_empty() && buf.remaining() > 0 {
            if buf.remaining() > this.received.held().len() {
                match ready!(this.poll_frames(cx, buf))? {
                    // A read of void frames only must not look like the end.
                    Some(0) => {}
                    _ => return Poll::Ready(Ok(())),
                }
            } else {
                // Rare: the reader's buffer has less room than the head that is held.
                let mut head = [0; HEAD];
                let mut whole = ReadBuf::new(&mut head);
                let ended = ready!(this.poll_frames(cx, &mut whole))?.is_none();
                this.passed = Bytes::copy_from_slice(whole.filled());
                if ended && this.passed.is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
        }
        put(&mut this.passed, buf);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SessionIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut halves = lock(&this.stream);
        let written = Pin::new(&mut *halves.stream).poll_write_vectored(cx, bufs);
        halves.blocked = written.is_pending();
        drop(halves);
        let written = ready!(written)?;
        this.activity.sent(written);
        let mut left = written;
        for buf in bufs {
            let taken = left.min(buf.len());
            this.sent.pass(&buf[..taken], this.activity.flow())?;
            left -= taken;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        lock(&self.stream).stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(&self.stream).stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn early_bytes_come_first_and_count_as_received() {
        let (near, mut far) = tokio::io::duplex(64);
        let activity = Arc::new(Activity::start());
        let (mut io, _turn) =
            split(Box::new(Direct(near)), Bytes::from_static(b"PRI"), Arc::clone(&activity), End::Server);
        far.write_all(b" * HTTP").await.expect("room");
        let mut read = [0; 10];
        io.read_exact(&mut read).await.expect("ten bytes");
        assert_eq!(&read, b"PRI * HTTP");
        assert_eq!(activity.bytes_received(), 10);
    }

    #[tokio::test]
    async fn what_is_written_counts_as_sent() {
        let (near, mut far) = tokio::io::duplex(64);
        let activity = Arc::new(Activity::start());
        let (mut io, turn) = split(Box::new(Direct(near)), Bytes::new(), Arc::clone(&activity), End::Server);
        io.write_all(b"SETTINGS").await.expect("room");
        std::future::poll_fn(|cx| turn.poll_turn(cx)).await.expect("open");
        let mut read = [0; 8];
        far.read_exact(&mut read).await.expect("eight bytes");
        assert_eq!(activity.bytes_sent(), 8);
    }

    #[tokio::test]
    async fn a_reader_with_little_room_gets_every_byte_but_void_frames() {
        let (near, mut far) = tokio::io::duplex(256);
        let activity = Arc::new(Activity::start());
        let (mut io, _turn) = split(Box::new(Direct(near)), Bytes::new(), activity, End::Client);
        let (data, void) = (b"\0\0\x02\0\0\0\0\0\x01hi", b"\0\0\0\0\0\0\0\0\x01");
        let stream = [&void[..], data, void, data, void, &data[..4]].concat();
        far.write_all(&stream[..7]).await.expect("room");
        assert!(futures_util::FutureExt::now_or_never(io.read_u8()).is_none(), "a head in part is no reason to read");
        far.write_all(&stream[7..]).await.expect("room");
        drop(far);
        let mut read = Vec::new();
        while let Ok(byte) = io.read_u8().await {
            read.push(byte);
        }
        assert_eq!(read, [&data[..], data, &data[..4]].concat(), "the head that was cut off too");
    }
}
