//! A raw byte stream to the device, joined with a request body (what the remote sends) and a response body (what it gets):
//! what WebSocket, CONNECT and RTSP become behind their heads (RFC 9113 §8.5, RFC 8441 §5).
//!
//! The directions are independent. What the remote sends is a task of its own on the same thread, so it reaches the device
//! while the other direction waits for the remote's window; the response body holds that task. Each direction ends for
//! itself: END_STREAM becomes FIN, FIN becomes END_STREAM. What breaks breaks both: RST_STREAM cuts the socket ([`Cut`]),
//! a broken socket resets the stream. A tunnel has no total and no idle timeout: a silent viewer may stay for weeks.
//!
//! Memory of one tunnel: towards the device one DATA frame under way and what the remote's window of the stream lets it
//! send ahead (`reverse::Limits::stream_window`); towards the remote one read of at most [`READ_MAX`] and the stream's part
//! of the session's share. Nothing is read from the device before the read before has gone out.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use h2::Reason;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf},
    net::tcp::OwnedWriteHalf,
    sync::oneshot,
    time::timeout,
};

use super::{limits::BUFFER, pool::Permit};
use crate::base::{
    http::{Body, BodyError},
    owned::{AbortOnDrop, Owned},
};

/// Largest read from the device, bytes: eight full HTTP/2 frames, the most that one stream may have unsent.
pub const READ_MAX: usize = BUFFER;
/// Smallest read: what an idle tunnel keeps. Reads grow while the device fills them and shrink again.
const READ_MIN: usize = 8 * 1024;
/// After the device has ended its direction the remote may be silent in its own for this long. Most peers close both at
/// once, and a remote that never says END_STREAM would keep a connection for ever.
const HALF_CLOSED: Duration = Duration::from_secs(600);

/// The writing half of a byte stream that can end without good order, so that the other side sees a reset and not an end.
pub trait Cut: AsyncWrite + Unpin + Send + 'static {
    /// Gives the half up. The socket closes with the reading half.
    fn cut(self);
}

impl Cut for OwnedWriteHalf {
    fn cut(self) {
        // RST instead of FIN; a socket that refuses is closed all the same.
        let _ = SockRef::from(self.as_ref()).set_linger(Some(Duration::ZERO));
        self.forget();
    }
}

impl<S: AsyncWrite + Unpin + Send + 'static> Cut for WriteHalf<S> {
    /// A stream that knows no reset: it ends when both halves are gone.
    fn cut(self) {}
}

/// The device's end of a tunnel.
pub struct DeviceEnd<R, W> {
    /// What comes from the device.
    pub reader: R,
    /// What goes to it.
    pub writer: W,
    /// Bytes of the device that were read already, with the head of its answer; they come first.
    pub early: Bytes,
    /// What the remote's stream is reset with when the device's connection breaks (RFC 9113 §8.5: CONNECT_ERROR; RFC 8441
    /// §5: CANCEL).
    pub broken: Reason,
    /// Rights that the tunnel keeps until both directions have ended.
    pub permits: Vec<Permit>,
}

/// Joins `device` with the request body; the result is the response body. Must be called within a tokio runtime.
///
/// Dropping the result before its end gives the tunnel up: the device sees a reset at once. After its end the other
/// direction goes on, owned by `owner`, until the remote ends it.
pub fn join<R, W>(device: DeviceEnd<R, W>, request: Body, owner: &Owned) -> Body
where
    R: AsyncRead + Unpin + Send + 'static,
    W: Cut,
{
    let DeviceEnd { reader, writer, early, broken, permits } = device;
    let permits = Arc::new(permits);
    let fate = Arc::new(Fate::default());
    let (ended, device_ended) = oneshot::channel();
    let sending = Sending { writer: Some(writer), fate: Arc::clone(&fate), _permits: Arc::clone(&permits) };
    let sending = AbortOnDrop::new(owner.spawn(sending.run(request, device_ended)));
    Body::new(FromDevice {
        reader: Some(reader),
        early,
        reads: Reads::default(),
        fate,
        broken,
        ended: Some(ended),
        sending,
        _permits: permits,
    })
}

/// What became of the direction to the device, for the other one.
#[derive(Default)]
struct Fate {
    /// The device takes nothing any more. What it still sends goes on; its end is then none in good order.
    failed: AtomicBool,
    /// The request's body broke though the stream stands: a part in front of us stopped it. Nothing goes on.
    stopped: AtomicBool,
    reader: AtomicWaker,
}

/// The direction to the device.
struct Sending<W: Cut> {
    /// Taken when the direction ended in good order; else the socket is cut.
    writer: Option<W>,
    fate: Arc<Fate>,
    _permits: Arc<Vec<Permit>>,
}

impl<W: Cut> Sending<W> {
    async fn run(mut self, mut request: Body, mut device_ended: oneshot::Receiver<()>) {
        let Some(writer) = &mut self.writer else { return };
        let mut half_closed = false;
        loop {
            let frame = if half_closed {
                let Ok(frame) = timeout(HALF_CLOSED, request.frame()).await else {
                    tracing::debug!("the device had ended its direction, and the remote was silent in its own: cut");
                    return;
                };
                frame
            } else {
                tokio::select! {
                    biased;
                    frame = request.frame() => frame,
                    _ = &mut device_ended => {
                        half_closed = true;
                        continue;
                    }
                }
            };
            match frame {
                // Trailers have no place in a byte stream.
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if writer.write_all(&data).await.is_err() || writer.flush().await.is_err() {
                        self.fate.failed.store(true, Relaxed);
                        return;
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "the remote's direction of a tunnel broke: cut");
                    self.fate.stopped.store(true, Relaxed);
                    self.fate.reader.wake();
                    return;
                }
                None => break,
            }
        }
        if writer.shutdown().await.is_err() {
            self.fate.failed.store(true, Relaxed);
            return;
        }
        self.writer = None;
    }
}

impl<W: Cut> Drop for Sending<W> {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.cut();
        }
    }
}

/// The direction from the device: a body that reads when it is asked.
struct FromDevice<R> {
    /// `None` at the end.
    reader: Option<R>,
    early: Bytes,
    reads: Reads,
    fate: Arc<Fate>,
    broken: Reason,
    /// Tells the other direction that this one has ended.
    ended: Option<oneshot::Sender<()>>,
    sending: AbortOnDrop,
    _permits: Arc<Vec<Permit>>,
}

impl<R> FromDevice<R> {
    fn end(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        self.reader = None;
        if self.fate.failed.load(Relaxed) {
            return Some(Err(BodyError::Reset(self.broken)));
        }
        self.sending.release();
        if let Some(ended) = self.ended.take() {
            // The other direction may be over.
            let _ = ended.send(());
        }
        None
    }
}

impl<R: AsyncRead + Unpin> HttpBody for FromDevice<R> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        this.fate.reader.register(cx.waker());
        if this.fate.stopped.load(Relaxed) && this.reader.take().is_some() {
            return Poll::Ready(Some(Err(BodyError::Reset(this.broken))));
        }
        if !this.early.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.early)))));
        }
        let Some(reader) = &mut this.reader else { return Poll::Ready(None) };
        match ready!(this.reads.poll(reader, cx)) {
            Ok(data) if data.is_empty() => Poll::Ready(this.end()),
            Ok(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Err(error) => {
                tracing::debug!(%error, "the device's connection of a tunnel broke");
                this.reader = None;
                Poll::Ready(Some(Err(BodyError::Reset(this.broken))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Reads whose size follows what comes: large for video, small for what is idle.
pub(super) struct Reads {
    buffer: BytesMut,
    size: usize,
}

impl Default for Reads {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), size: READ_MIN }
    }
}

impl Reads {
    /// The next bytes; none at the end.
    pub(super) fn poll<R: AsyncRead + Unpin>(
        &mut self,
        reader: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<Bytes>> {
        if self.buffer.capacity() < READ_MIN / 2 {
            self.buffer.reserve(self.size);
        }
        // The buffer may have more room than was asked for.
        let mut room = (&mut self.buffer).limit(self.size);
        // Holds no state between polls: what it read is in the buffer.
        let count = ready!(pin!(reader.read_buf(&mut room)).poll(cx))?;
        if count == self.size {
            self.size = (self.size * 2).min(READ_MAX);
        } else if count < self.size / 4 {
            self.size = (self.size / 2).max(READ_MIN);
        }
        Poll::Ready(Ok(self.buffer.split().freeze()))
    }
}

#[cfg(test)]
#[path = "tunnel_tests.rs"]
mod tests;
