//! HTTP/2 within a WebSocket, as a byte stream that is flushed by turn (ONVIF Uplink 26.06, WebSocket h2c-reverse; RFC 6455).
//!
//! Framing, masking, ping and close are the library's. What is written in a turn becomes binary frames that fill a TLS record
//! each; what is read may come in frames and fragments of any size. A frame that is not binary, too large, or masked the
//! wrong way ends the stream with [`violation`]; a close of the peer is its end in good order.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        error::ProtocolError,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use crate::base::io::{TurnStream, violation};

/// The subprotocol of an uplink.
pub const SUBPROTOCOL: &str = "h2c-reverse";
/// Payload of the frames that are sent: with its header of 14 bytes at most, a frame fills a TLS record.
const FRAME: usize = 16 * 1024 - 14;
/// Largest frame that is taken: HTTP/2 frames are 16 KiB, and a peer may join some of them.
const FRAME_MAX: usize = 1024 * 1024;
/// Largest message that is taken: its fragments wait until the last has come.
const MESSAGE_MAX: usize = 4 * 1024 * 1024;
/// One read from below; every connection has a buffer of this size.
const READ_BUFFER: usize = 16 * 1024;
/// What may wait to be written: the frame under way, a pong and a close.
const WRITE_MAX: usize = 4 * FRAME;

/// Which end of the WebSocket we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The device: it asked for the WebSocket and masks what it sends.
    Device,
    /// The remote.
    Remote,
}

/// The value of `Sec-WebSocket-Accept` that answers `key` (RFC 6455 §4.2.2).
pub fn accept_key(key: &str) -> String {
    derive_accept_key(key.as_bytes())
}

/// A new value of `Sec-WebSocket-Key` (RFC 6455 §4.1).
pub fn new_key() -> String {
    tokio_tungstenite::tungstenite::handshake::client::generate_key()
}

/// The bytes within a WebSocket.
pub struct WebSocketIo<S> {
    socket: WebSocketStream<S>,
    /// The rest of the message that is being read.
    reading: Bytes,
    /// What this turn wrote and has no frame yet; at most [`FRAME`] bytes.
    writing: BytesMut,
    /// Our close has been sent.
    closed: bool,
    /// The peer's close has come: whatever breaks later broke after the end.
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> WebSocketIo<S> {
    /// A WebSocket on `stream` after its handshake; `early` are bytes that came behind it.
    pub async fn new(stream: S, early: Bytes, end: End) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_MAX)
            .max_frame_size(Some(FRAME_MAX))
            .max_message_size(Some(MESSAGE_MAX));
        let role = match end {
            End::Device => Role::Client,
            End::Remote => Role::Server,
        };
        let socket = WebSocketStream::from_partially_read(stream, early.into(), role, Some(config)).await;
        Self { socket, reading: Bytes::new(), writing: BytesMut::new(), closed: false, ended: false }
    }

    /// Hands what was written to the library as a frame; `Pending` while the one before waits for the socket.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writing.is_empty() {
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(from_library)?;
        let frame = Message::Binary(self.writing.split().freeze());
        Poll::Ready(Pin::new(&mut self.socket).start_send(frame).map_err(from_library))
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> TurnStream for WebSocketIo<S> {
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = match ready!(self.poll_frame(cx)) {
            Ok(()) => ready!(Pin::new(&mut self.socket).poll_flush(cx)).map_err(from_library),
            Err(error) => Err(error),
        };
        Poll::Ready(written.map_err(|error| if self.ended { io::ErrorKind::BrokenPipe.into() } else { error }))
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> AsyncRead for WebSocketIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.reading.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.reading = bytes,
                // The library has queued the pong; it goes out with the next flush.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => {
                    self.ended = true;
                    return Poll::Ready(Ok(()));
                }
                Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                    return Poll::Ready(Err(violation("the peer sent a text frame; HTTP/2 comes in binary ones")));
                }
                Some(Err(error)) => return Poll::Ready(when_closed(error)),
            }
        }
        let length = self.reading.len().min(buf.remaining());
        buf.put_slice(&self.reading[..length]);
        self.reading.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> AsyncWrite for WebSocketIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.writing.len() >= FRAME {
            ready!(self.poll_frame(cx))?;
        }
        let length = buf.len().min(FRAME - self.writing.len());
        self.writing.extend_from_slice(&buf[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_turn(cx)
    }

    /// Says close, writes everything out and closes what is below. What the peer still sends can be read until its own close.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed {
            ready!(self.poll_frame(cx))?;
            ready!(Pin::new(&mut self.socket).poll_ready(cx)).or_else(when_closed)?;
            let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            Pin::new(&mut self.socket).start_send(Message::Close(Some(close))).or_else(when_closed)?;
            self.closed = true;
        }
        ready!(Pin::new(&mut self.socket).poll_flush(cx)).or_else(when_closed)?;
        Pin::new(self.socket.get_mut()).poll_shutdown(cx)
    }
}

/// A peer that has closed in good order is no error of a read or a close.
fn when_closed(error: Error) -> io::Result<()> {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(ProtocolError::SendAfterClosing) => Ok(()),
        other => Err(from_library(other)),
    }
}

fn from_library(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(ProtocolError::SendAfterClosing) => {
            io::ErrorKind::BrokenPipe.into()
        }
        // TCP that ends without a close handshake is an abrupt end and no violation (quirk Q12).
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => io::ErrorKind::UnexpectedEof.into(),
        other => violation(format!("the peer violated the WebSocket protocol: {other}")),
    }
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
