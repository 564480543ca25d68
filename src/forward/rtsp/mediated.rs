//! A conversation that a mediator stands in (credentials): its messages are handed over, its frames pass untouched (RFC 2326
//! §10.12).
//!
//! Both directions stay byte streams, so whatever carries RTSP can be put around them. A message of the device that is answered
//! here goes back at once, whether or not the remote has a request open. What is written here stands between two
//! units, never within a frame. Memory: one incomplete message per direction, what the mediator keeps, and what waits for
//! the device or the remote; nothing more of the remote is taken while something waits.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker, ready},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    base::{
        mediator::{Mediator, Passed},
        rtsp::{Message, RtspError, Splitter, Unit},
    },
    forward::tunnel::Cut,
};

/// Our own answers that may wait while the remote does not read; more of its requests are taken when they are gone.
const TO_REMOTE_MAX: usize = 16 * 1024;

/// One conversation with its mediator; `W` writes to the device.
pub struct Mediated<W> {
    shared: Arc<Shared<W>>,
}

struct Shared<W> {
    talk: Mutex<Talk<W>>,
    wakers: Arc<Wakers>,
}

/// Who waits for the device to take something: both directions may write to it.
#[derive(Default)]
struct Wakers {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.reader.wake();
        self.writer.wake();
    }
}

struct Talk<W> {
    mediator: Box<dyn Mediator>,
    /// What goes to the device is base64: its own RTSP over HTTP.
    tunnelled: bool,
    /// `None` until a way to the device is there.
    writer: Option<W>,
    to_device: BytesMut,
    /// Something was written that has not been flushed.
    unflushed: bool,
    to_remote: BytesMut,
}

impl<W> Talk<W> {
    fn pass(&mut self, passed: Passed) {
        if let Some(message) = passed.to_device {
            self.say(&message.to_bytes());
        }
        if let Some(message) = passed.to_remote {
            self.to_remote.extend_from_slice(&message.to_bytes());
        }
    }

    fn say(&mut self, unit: &[u8]) {
        if self.tunnelled {
            // Each unit for itself, as players do.
            self.to_device.extend_from_slice(BASE64_STANDARD.encode(unit).as_bytes());
        } else {
            self.to_device.extend_from_slice(unit);
        }
    }
}

impl<W: AsyncWrite + Unpin> Talk<W> {
    /// Writes what waits for the device.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.to_device.is_empty() && !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        let Some(writer) = &mut self.writer else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        while !self.to_device.is_empty() {
            let written = ready!(Pin::new(&mut *writer).poll_write(cx, &self.to_device))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.to_device.advance(written);
            self.unflushed = true;
        }
        ready!(Pin::new(writer).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }
}

impl<W> Shared<W> {
    fn lock(&self) -> MutexGuard<'_, Talk<W>> {
        // Both directions run on one thread; whoever panicked ended the conversation with it.
        self.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes both directions.
    fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.wakers))
    }
}

impl<W> Mediated<W> {
    /// A conversation that has not begun. `tunnelled`: what goes to the device is base64.
    pub fn new(mediator: Box<dyn Mediator>, tunnelled: bool) -> Self {
        let talk = Talk {
            mediator,
            tunnelled,
            writer: None,
            to_device: BytesMut::new(),
            unflushed: false,
            to_remote: BytesMut::new(),
        };
        Self { shared: Arc::new(Shared { talk: Mutex::new(talk), wakers: Arc::default() }) }
    }

    /// The direction to the device; one per conversation. It needs [`ToDevice::attach`] before the first byte.
    pub fn to_device(&self) -> ToDevice<W> {
        ToDevice { shared: Arc::clone(&self.shared), splitter: Splitter::new() }
    }

    /// The direction to the remote: what `reader` says after `early`; one per conversation.
    pub fn to_remote<R>(&self, reader: R, early: Bytes) -> FromDevice<R, W> {
        let shared = Arc::clone(&self.shared);
        FromDevice { reader, rest: early, frames: Frames::default(), splitter: Splitter::new(), within: false, shared }
    }
}

/// What the remote says. A write takes everything; what is no unit yet waits for its rest.
pub struct ToDevice<W> {
    shared: Arc<Shared<W>>,
    splitter: Splitter,
}

impl<W> ToDevice<W> {
    /// From now on `writer` takes what goes to the device.
    pub fn attach(&self, writer: W) {
        self.shared.lock().writer = Some(writer);
    }

    /// The opposite.
    pub fn detach(&self) {
        self.shared.lock().writer = None;
    }

    /// Whether there is a way to the device.
    pub fn is_attached(&self) -> bool {
        self.shared.lock().writer.is_some()
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), RtspError> {
        self.splitter.push(bytes);
        let mut talk = self.shared.lock();
        while let Some(unit) = self.splitter.next_unit()? {
            match unit {
                Unit::Message(message) => {
                    let passed = talk.mediator.remote_says(message);
                    talk.pass(passed);
                }
                Unit::Frame(frame) => talk.say(frame.bytes()),
            }
        }
        if !talk.to_remote.is_empty() {
            self.shared.wakers.reader.wake();
        }
        Ok(())
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for ToDevice<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.shared.wakers.writer.register(cx.waker());
        let waker = self.shared.waker();
        let mut both = Context::from_waker(&waker);
        {
            let mut talk = self.shared.lock();
            ready!(talk.poll_drain(&mut both))?;
            if talk.to_remote.len() > TO_REMOTE_MAX {
                return Poll::Pending;
            }
        }
        self.take(buf).map_err(invalid)?;
        // What it cannot take now goes out with the flush.
        match self.shared.lock().poll_drain(&mut both) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.wakers.writer.register(cx.waker());
        let waker = self.shared.waker();
        self.shared.lock().poll_drain(&mut Context::from_waker(&waker))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        self.shared.lock().writer.as_mut().map_or(Poll::Ready(Ok(())), |writer| Pin::new(writer).poll_shutdown(cx))
    }
}

impl<W: Cut> Cut for ToDevice<W> {
    fn cut(self) {
        if let Some(writer) = self.shared.lock().writer.take() {
            writer.cut();
        }
    }
}

/// Where in a stream of frames we are.
#[derive(Debug, Default)]
struct Frames {
    /// Bytes of the head of a frame that have come, and its length as far as it is known.
    head: u8,
    length: u16,
    /// Bytes of the payload that have not come.
    left: u16,
}

impl Frames {
    /// How many of `bytes` are frames, parts of them or empty lines; what follows is the beginning of a message.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.left > 0 {
                let here = usize::from(self.left).min(bytes.len() - at);
                // No more than what is left, so it fits.
                self.left -= u16::try_from(here).unwrap_or(self.left);
                at += here;
                continue;
            }
            match (self.head, byte) {
                (0, b'$') => self.head = 1,
                (0, b'\r' | b'\n') => {}
                (0, _) => return at,
                (1, _) => self.head = 2,
                (2, _) => (self.head, self.length) = (3, u16::from(byte) << 8),
                (_, _) => (self.head, self.left) = (0, self.length | u16::from(byte)),
            }
            at += 1;
        }
        at
    }

    /// Whether something else may stand here.
    fn is_between(&self) -> bool {
        self.head == 0 && self.left == 0
    }
}

/// What the device says.
pub struct FromDevice<R, W> {
    reader: R,
    /// Read already, and not looked at.
    rest: Bytes,
    frames: Frames,
    /// Holds a message that has begun.
    splitter: Splitter,
    /// A message has begun.
    within: bool,
    shared: Arc<Shared<W>>,
}

impl<R, W: AsyncWrite + Unpin> FromDevice<R, W> {
    /// Gives what waits for the remote, and writes what waits for the device; whether the remote gets something.
    fn turn(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let waker = self.shared.waker();
        let mut talk = self.shared.lock();
        if let Poll::Ready(Err(error)) = talk.poll_drain(&mut Context::from_waker(&waker)) {
            // What the device still says goes on; its own end tells of the rest.
            tracing::debug!(%error, "the device takes nothing more of a conversation");
            talk.to_device.clear();
            talk.unflushed = false;
        }
        if talk.to_remote.is_empty() || !self.frames.is_between() {
            return false;
        }
        let length = talk.to_remote.len().min(buf.remaining());
        buf.put_slice(&talk.to_remote[..length]);
        talk.to_remote.advance(length);
        self.shared.wakers.writer.wake();
        true
    }

    /// Looks at what was read already; whether the remote gets something of it.
    fn look(&mut self, buf: &mut ReadBuf<'_>) -> Result<bool, RtspError> {
        if !self.within {
            let length = self.rest.len().min(buf.remaining());
            let passed = self.frames.pass(&self.rest[..length]);
            buf.put_slice(&self.rest.split_to(passed));
            if passed > 0 {
                return Ok(true);
            }
            self.within = true;
        }
        self.splitter.push(&std::mem::take(&mut self.rest));
        if let Some(message) = next_message(&mut self.splitter)? {
            self.rest = self.splitter.take_rest();
            self.within = false;
            let mut talk = self.shared.lock();
            let passed = talk.mediator.device_says(message);
            talk.pass(passed);
        }
        Ok(false)
    }
}

/// The message at the beginning of what the splitter holds.
fn next_message(splitter: &mut Splitter) -> Result<Option<Message>, RtspError> {
    match splitter.next_unit()? {
        Some(Unit::Message(message)) => Ok(Some(message)),
        // It was pushed from where a message begins.
        Some(Unit::Frame(_)) => Err(RtspError::NotRtsp("a frame began within a message")),
        None => Ok(None),
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> AsyncRead for FromDevice<R, W> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.shared.wakers.reader.register(cx.waker());
        loop {
            if this.turn(buf) {
                return Poll::Ready(Ok(()));
            }
            if !this.rest.is_empty() {
                if this.look(buf).map_err(invalid)? {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.reader).poll_read(cx, buf))?;
            let came = &buf.filled()[before..];
            if came.is_empty() {
                return Poll::Ready(Ok(()));
            }
            // Most often all of it: then it is neither copied nor kept.
            let passed = if this.within { 0 } else { this.frames.pass(came) };
            this.rest = Bytes::copy_from_slice(&came[passed..]);
            buf.set_filled(before + passed);
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

fn invalid(error: RtspError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
#[path = "mediated_tests.rs"]
mod tests;
