//! RTSP over WebSocket on its way to a plain RTSP port (ONVIF Streaming, RTSP over WebSocket; RFC 6455): frames taken off what
//! the remote sends, and put around what the device sends.
//!
//! Both ends are byte streams for [`super::super::tunnel::join`], so its directions, half-close and reset hold here too. What the
//! remote sends is read by the library: masks, fragments, ping, close, bounds. What the device sends gets its frame
//! head in place; the payload is neither copied nor looked at. Pongs and closes cross from one direction to the other.

use std::{
    io::{self, Read, Write},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::{
    Error, Message, Utf8Bytes,
    protocol::{
        CloseFrame, Role, WebSocketConfig, WebSocketContext,
        frame::{
            Frame, FrameHeader,
            coding::{CloseCode, Data, OpCode},
        },
    },
};

use super::{
    control::{Control, Violation, begins_rtsp},
    limits::WEBSOCKET_MESSAGE_MAX,
};
use crate::forward::tunnel::Cut;

/// What the library reads at once, and keeps per conversation.
const READ_BUFFER: usize = 4 * 1024;
/// Pongs that may wait while the remote does not read. More are left out (RFC 6455 §5.5.3 asks for the latest only).
const OUTBOX_MAX: usize = 16 * 1024;
/// Longest reason of a close frame (RFC 6455 §5.5).
const REASON_MAX: usize = 123;
/// Head of a frame of up to 65 535 bytes, and of a longer one (RFC 6455 §5.2), unmasked.
const SHORT_HEAD: usize = 4;
const LONG_HEAD: usize = 10;
/// A read with less room than this goes through the outbox.
const ROOM_MIN: usize = 64;

/// What one direction has for the other.
#[derive(Default)]
struct Outbox {
    frames: BytesMut,
    /// The last frame is a close: nothing comes after it.
    closed: bool,
    reader: Option<Waker>,
}

impl Outbox {
    /// Adds a close frame and ends the direction to the remote.
    fn close(&mut self, code: CloseCode, reason: &str) {
        if self.closed {
            return;
        }
        let end = (0..=reason.len().min(REASON_MAX)).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
        let frame = Frame::close(Some(CloseFrame { code, reason: Utf8Bytes::from(&reason[..end]) }));
        let mut bytes = Vec::with_capacity(REASON_MAX + SHORT_HEAD);
        frame.format(&mut bytes).expect("a vector takes everything");
        self.frames.extend_from_slice(&bytes);
        self.closed = true;
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Outbox>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Outbox> {
        // Held for a few instructions that cannot panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts a WebSocket of the remote around the two halves of a connection to an RTSP port.
pub fn around<R, W>(reader: R, writer: W) -> (Framing<R>, Unframing<W>) {
    let shared = Shared::default();
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(OUTBOX_MAX)
        .max_frame_size(Some(WEBSOCKET_MESSAGE_MAX))
        .max_message_size(Some(WEBSOCKET_MESSAGE_MAX));
    let unframing = Unframing {
        writer: Some(writer),
        context: WebSocketContext::new(Role::Server, Some(config)),
        pipe: Pipe::default(),
        control: Control::default(),
        waiting: Bytes::new(),
        ended: false,
        shared: shared.clone(),
    };
    (Framing { reader, begun: false, shared }, unframing)
}

/// What the device sends, in frames.
pub struct Framing<R> {
    reader: R,
    /// The first bytes have been looked at.
    begun: bool,
    shared: Shared,
}

impl<R: AsyncRead + Unpin> Framing<R> {
    /// Reads what the device has as one frame into `buf`; whether there was any.
    fn poll_frame(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        let gap = if buf.remaining() > usize::from(u16::MAX) + LONG_HEAD { LONG_HEAD } else { SHORT_HEAD };
        buf.put_slice(&[0; LONG_HEAD][..gap]);
        let polled = Pin::new(&mut self.reader).poll_read(cx, buf);
        let payload = buf.filled().len() - before - gap;
        if payload == 0 {
            buf.set_filled(before);
            return polled.map_ok(|()| false);
        }
        if !std::mem::replace(&mut self.begun, true) && !begins_rtsp(&buf.filled()[before + gap..]) {
            buf.set_filled(before);
            let sentence = "what listens at the RTSP port of the device does not speak RTSP";
            tracing::warn!("{sentence}");
            self.shared.lock().close(CloseCode::Error, sentence);
            return Poll::Ready(Ok(true));
        }
        let header = FrameHeader { opcode: OpCode::Data(Data::Binary), ..FrameHeader::default() };
        let head = header.len(payload as u64);
        let filled = &mut buf.filled_mut()[before..];
        filled.copy_within(gap..gap + payload, head);
        header.format(payload as u64, &mut &mut filled[..head]).expect("the head has its length");
        buf.set_filled(before + head + payload);
        Poll::Ready(Ok(true))
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Framing<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            {
                let mut outbox = this.shared.lock();
                if !outbox.frames.is_empty() {
                    let length = outbox.frames.len().min(buf.remaining());
                    buf.put_slice(&outbox.frames[..length]);
                    outbox.frames.advance(length);
                    return Poll::Ready(Ok(()));
                }
                if outbox.closed {
                    return Poll::Ready(Ok(()));
                }
                outbox.reader = Some(cx.waker().clone());
            }
            let before = buf.filled().len();
            let came = if buf.remaining() >= ROOM_MIN {
                ready!(this.poll_frame(cx, buf))?
            } else {
                let mut room = [0; ROOM_MIN];
                let mut small = ReadBuf::new(&mut room);
                let came = ready!(this.poll_frame(cx, &mut small))?;
                this.shared.lock().frames.extend_from_slice(small.filled());
                came
            };
            if !came {
                this.shared.lock().close(CloseCode::Normal, "the device ended the connection");
            }
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// What the library reads from and writes to: bytes that are here already.
#[derive(Default)]
struct Pipe {
    input: BytesMut,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = self.input.len().min(buf.len());
        self.input.copy_to_slice(&mut buf[..length]);
        Ok(length)
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the remote sends, out of its frames.
pub struct Unframing<W> {
    /// `None` once a close or a violation has come: the device's connection is over whatever the remote still sends.
    writer: Option<W>,
    context: WebSocketContext,
    pipe: Pipe,
    control: Control,
    /// For the device; nothing more is taken while it does not read.
    waiting: Bytes,
    /// A close or a violation has come: what follows is thrown away.
    ended: bool,
    shared: Shared,
}

impl<W: AsyncWrite + Unpin> Unframing<W> {
    fn take(&mut self, bytes: &[u8]) {
        self.pipe.input.extend_from_slice(bytes);
        let mut out = BytesMut::new();
        let result = self.read_messages(&mut out);
        self.waiting = out.freeze();
        match result {
            Ok(()) => self.tell(),
            Err((code, violation)) => {
                tracing::info!("a conversation ended: {violation}");
                self.ended = true;
                self.shared.lock().close(code, &violation.to_string());
            }
        }
    }

    fn read_messages(&mut self, out: &mut BytesMut) -> Result<(), (CloseCode, Violation)> {
        while !self.ended {
            let payload = match self.context.read(&mut self.pipe) {
                Ok(Message::Binary(payload)) => payload,
                // Players in browsers send requests as text.
                Ok(Message::Text(text)) => text.into(),
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => {
                    self.ended = true;
                    break;
                }
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(misuse(&error)),
            };
            let whole = self.control.take(&payload).map_err(|error| (CloseCode::Policy, Violation::Rtsp(error)))?;
            out.extend_from_slice(&whole);
        }
        // Puts what is to be answered into the pipe; after a close that is an error for the library.
        let _ = self.context.flush(&mut self.pipe);
        Ok(())
    }

    /// Hands pongs and the answer to a close to the other direction.
    fn tell(&mut self) {
        let mut outbox = self.shared.lock();
        if !outbox.closed && (self.ended || outbox.frames.len() + self.pipe.output.len() <= OUTBOX_MAX) {
            outbox.frames.extend_from_slice(&self.pipe.output);
        }
        self.pipe.output.clear();
        if self.ended {
            outbox.closed = true;
        }
        if self.ended || !outbox.frames.is_empty() {
            outbox.wake();
        }
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(writer) = &mut self.writer else { return Poll::Ready(Ok(())) };
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut *writer).poll_write(cx, &self.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

/// How the close frame names what the library refused (RFC 6455 §7.4.1).
fn misuse(error: &Error) -> (CloseCode, Violation) {
    let code = match error {
        Error::Capacity(_) => CloseCode::Size,
        Error::Utf8(_) => CloseCode::Invalid,
        _ => CloseCode::Protocol,
    };
    (code, Violation::WebSocket(error.to_string()))
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Unframing<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_waiting(cx))?;
        if !self.ended {
            self.take(buf);
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_waiting(cx))?;
        if self.ended {
            return self.poll_shutdown(cx);
        }
        self.writer.as_mut().map_or(Poll::Ready(Ok(())), |writer| Pin::new(writer).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_waiting(cx))?;
        if let Some(writer) = &mut self.writer {
            ready!(Pin::new(writer).poll_shutdown(cx))?;
            self.writer = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<W: Cut> Cut for Unframing<W> {
    fn cut(self) {
        if let Some(writer) = self.writer {
            writer.cut();
        }
    }
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
