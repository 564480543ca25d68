//! A TLS connection as a byte stream that is flushed by turn.
//!
//! What is written is sealed at once into rustls' own queue; the socket sees it when the turn ends, as one vectored write
//! of many records instead of one call a record. While the socket takes everything the queue holds at most [`BATCH`]
//! bytes; once it blocks nothing more is accepted, so that what waits stays in HTTP/2, frame by frame and fair between
//! streams, and a small answer is not behind a queue of video. Reads take as much as the socket has into a buffer that
//! the connections of a thread share: an idle connection holds none.

use std::{
    cell::Cell,
    future::poll_fn,
    io::{self, BufRead, IoSlice, Write},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection, pki_types::ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::base::{http2::share, io::TurnStream};

/// Plaintext bytes that may wait sealed while the socket takes everything: what one stream alone may fill.
const BATCH: usize = share::STREAM_FRAMES_MAX * (share::FRAME_PAYLOAD + 9);
/// On a link that takes little at a time as little waits sealed; two records keep it busy.
const BATCH_MIN: usize = 2 * (share::FRAME_PAYLOAD + 9);
/// One read from the socket.
const READ: usize = 128 * 1024;

thread_local! {
    /// The read buffer of whichever connection of this thread reads now.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A TLS connection over `S`, after its handshake.
pub struct TlsStream<S> {
    io: S,
    tls: Connection,
    received: Ciphertext,
    /// Plaintext bytes sealed since the queue was last empty.
    queued: usize,
    /// The socket did not take everything the last time.
    blocked: bool,
    /// What may be queued in a turn, between [`BATCH_MIN`] and [`BATCH`]: twice what the socket took before it blocked. It
    /// doubles with each turn that the socket takes whole.
    batch: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// The client's side of the handshake. Cancel safe: dropping the future drops `io`.
    ///
    /// # Errors
    /// An I/O error of `io`, or `InvalidData` around a [`rustls::Error`].
    pub async fn connect(io: S, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        let tls = ClientConnection::new(config, name).map_err(invalid)?;
        Self::handshake(io, tls.into()).await
    }

    /// The server's side of the handshake. Cancel safe: dropping the future drops `io`.
    ///
    /// # Errors
    /// An I/O error of `io`, or `InvalidData` around a [`rustls::Error`].
    pub async fn accept(io: S, config: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = ServerConnection::new(config).map_err(invalid)?;
        Self::handshake(io, tls.into()).await
    }

    async fn handshake(io: S, mut tls: Connection) -> io::Result<Self> {
        // The queue is bounded by poll_write below; rustls' own limit would refuse part of a frame.
        tls.set_buffer_limit(None);
        let mut stream = Self { io, tls, received: Ciphertext::default(), queued: 0, blocked: false, batch: BATCH };
        poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    /// What the handshake came to: version, suite, group, the peer's certificates.
    pub fn tls(&self) -> &rustls::CommonState {
        &self.tls
    }

    /// The connection below.
    pub fn get_ref(&self) -> &S {
        &self.io
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_drain(cx))?;
            if !self.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if let Err(error) = ready!(self.poll_receive(cx)) {
                // The alert says to the peer why; it is sent as far as the socket takes it now.
                let _ = self.poll_drain(cx);
                return Poll::Ready(Err(error));
            }
            if self.tls.is_handshaking() && self.received.ended {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the peer closed the connection within the TLS handshake",
                )));
            }
        }
    }

    /// Opens some ciphertext; from the buffer if there is any, else from the socket.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.received.is_empty() && !self.received.ended {
            ready!(self.received.poll_fill(&mut self.io, cx))?;
        }
        self.tls.read_tls(&mut self.received)?;
        self.received.release();
        self.tls.process_new_packets().map_err(invalid)?;
        Poll::Ready(Ok(()))
    }

    /// Writes sealed records until none is left or the socket takes no more, and has them flushed: below may be another
    /// TLS connection, to an https proxy, that flushes by turn as this one does.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut taken = 0;
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Socket { io: &mut self.io, cx }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(bytes) => taken += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // A further poll that takes nothing says nothing new about the link.
                    if taken > 0 || !self.blocked {
                        self.batch = (2 * taken).clamp(BATCH_MIN, BATCH);
                    }
                    self.blocked = true;
                    return Poll::Pending;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if !self.blocked && self.queued >= self.batch {
            self.batch = (2 * self.batch).min(BATCH);
        }
        self.queued = 0;
        self.blocked = false;
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> TurnStream for TlsStream<S> {
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_drain(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        loop {
            let mut reader = this.tls.reader();
            match reader.fill_buf() {
                Ok(plain) if !plain.is_empty() => {
                    let taken = plain.len().min(buf.remaining());
                    buf.put_slice(&plain[..taken]);
                    reader.consume(taken);
                }
                // close_notify: the end of the stream.
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let socket_next = this.received.is_empty();
                    if socket_next && buf.filled().len() > before {
                        return Poll::Ready(Ok(()));
                    }
                    ready!(this.poll_receive(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
            if buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.blocked || self.queued >= self.batch {
            ready!(self.poll_drain(cx))?;
        }
        let written = self.tls.writer().write_vectored(bufs)?;
        self.queued += written;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_drain(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // rustls sends close_notify once, however often it is asked.
        self.tls.send_close_notify();
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Ciphertext that was read from the socket and not opened yet.
#[derive(Default)]
struct Ciphertext {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
}

impl Ciphertext {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn poll_fill(&mut self, io: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            self.buffer = SCRATCH.take();
            self.buffer.resize(READ, 0);
        }
        let mut buf = ReadBuf::new(&mut self.buffer);
        let read = Pin::new(io).poll_read(cx, &mut buf);
        (self.start, self.end) = (0, buf.filled().len());
        match read {
            Poll::Ready(Ok(())) => {
                self.ended = self.is_empty();
                Poll::Ready(Ok(()))
            }
            other => {
                self.release();
                other
            }
        }
    }

    /// Gives the buffer back when it is used up.
    fn release(&mut self) {
        if self.is_empty() && !self.buffer.is_empty() {
            SCRATCH.set(std::mem::take(&mut self.buffer));
        }
    }
}

impl io::Read for Ciphertext {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let taken = buf.len().min(self.end - self.start);
        buf[..taken].copy_from_slice(&self.buffer[self.start..self.start + taken]);
        self.start += taken;
        Ok(taken)
    }
}

/// The socket as rustls wants it: blocking calls that say `WouldBlock`.
struct Socket<'a, 'b, S> {
    io: &'a mut S,
    cx: &'a mut Context<'b>,
}

impl<S: AsyncWrite + Unpin> Write for Socket<'_, '_, S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.io).poll_write_vectored(self.cx, bufs) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
