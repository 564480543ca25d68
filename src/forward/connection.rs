//! One HTTP/1.1 connection to the device, driven by whoever uses it: no task of its own.
//!
//! The exchange that owns a [`Link`] polls it together with its own future or body, so everything stays in one task, and
//! dropping that future or body closes the socket at once: the device sees the cancellation of the remote.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http1::{Builder, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    dial::dial,
    fault::Fault,
    limits::{BUFFER, HEAD_MAX, HEADERS_MAX, INFORMATIONAL_MAX, Limits},
    patience::Patience,
    upload::{Signals, Upload},
};

/// What the owner of a connection needs to know of its socket.
#[derive(Debug, Default)]
struct Line {
    received: AtomicU64,
    verify: AtomicBool,
}

/// The socket under hyper.
struct DeviceIo {
    stream: TcpStream,
    line: Arc<Line>,
    write_broken: bool,
}

impl DeviceIo {
    /// Whether the socket has anything to say. Asked of the kernel itself: the runtime's own readiness may be a turn old, and
    /// an answer that nobody asked for must never be read as that to the next request.
    fn is_silent(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        matches!(SockRef::from(&self.stream).peek(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// A device that refuses an upload early and closes makes our writes fail while its answer waits in the socket. So a
    /// broken write is not an error: the reading side brings the answer first and then the end.
    fn forgive<T>(&mut self, result: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        match result {
            Poll::Ready(Err(error)) if matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset) => {
                if !self.write_broken {
                    self.write_broken = true;
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            result => result,
        }
    }
}

impl AsyncRead for DeviceIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.line.verify.swap(false, Relaxed) && !self.is_silent() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.line.received.fetch_add((buf.filled().len() - before) as u64, Relaxed);
        result
    }
}

impl AsyncWrite for DeviceIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.forgive(result, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.forgive(result, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// hyper's side of the socket; it works only while it is polled.
type Driver = Pin<Box<Connection<TokioIo<DeviceIo>, Upload>>>;

/// A connection to the device and the means to use it.
pub struct Link {
    sender: SendRequest<Upload>,
    /// `None` once the connection has ended.
    connection: Option<Driver>,
    line: Arc<Line>,
    received_before: u64,
    reused: bool,
}

impl Link {
    /// Dials the device.
    ///
    /// Cancel safety: dropping the future closes the socket.
    ///
    /// # Errors
    /// [`Fault::Down`], [`Fault::ConnectTimeout`].
    pub async fn dial(address: SocketAddr, limits: &Limits) -> Result<Self, Fault> {
        let stream = dial(address, limits).await?;
        let line = Arc::new(Line::default());
        let io = DeviceIo { stream, line: Arc::clone(&line), write_broken: false };
        let (sender, connection) = Builder::new()
            .title_case_headers(true)
            .max_headers(HEADERS_MAX)
            .max_header_size(HEAD_MAX)
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| Fault::from_hyper(&error))?;
        let connection = Some(Box::pin(connection));
        Ok(Self { sender, connection, line, received_before: 0, reused: false })
    }

    /// Lets the connection work. Harmless after its end.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(cx).is_ready()
        {
            self.connection = None;
        }
    }

    /// Whether the connection has ended.
    pub fn has_ended(&self) -> bool {
        self.connection.is_none()
    }

    /// Whether a further request may use it: both messages are complete and nothing more has come.
    pub fn is_reusable(&mut self, cx: &mut Context<'_>) -> bool {
        self.line.verify.store(true, Relaxed);
        self.drive(cx);
        self.reused = true;
        // Set still means that the connection was not read: it is in the midst of something.
        !self.has_ended() && !self.line.verify.swap(false, Relaxed) && self.sender.is_ready()
    }

    /// Whether a failure now means only that the device had closed the connection before our request came: it was used
    /// before, and not one byte has come since.
    pub fn was_stale(&self) -> bool {
        self.reused && self.line.received.load(Relaxed) == self.received_before
    }

    /// Sends a request and waits for the head of the final answer.
    ///
    /// Cancel safety: after dropping the future the link must be dropped too; that closes the connection.
    ///
    /// # Errors
    /// [`Fault`]; the link is then of no use.
    pub async fn send(
        &mut self,
        request: Request<Upload>,
        signals: &Signals,
        limits: &Limits,
    ) -> Result<Response<Incoming>, Fault> {
        self.received_before = self.line.received.load(Relaxed);
        let mut answer = pin!(self.sender.send_request(request));
        let connection = &mut self.connection;
        let mut patience = Patience::new(limits);
        poll_fn(|cx| {
            if let Some(running) = connection
                && running.as_mut().poll(cx).is_ready()
            {
                *connection = None;
            }
            if signals.informational.load(Relaxed) > INFORMATIONAL_MAX {
                return Poll::Ready(Err(Fault::Malformed("too many 1xx answers".to_owned())));
            }
            if let Poll::Ready(result) = answer.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(|error| Fault::from_hyper(&error)));
            }
            patience.poll_over(signals, cx).map(Err)
        })
        .await
    }
}
