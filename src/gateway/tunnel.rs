//! A client's byte stream joined with a stream of its device: what a WebSocket, a CONNECT and the RTSP of a player become
//! behind their heads (RFC 8441 §5, RFC 9113 §8.5).
//!
//! The directions are independent. What the client sends is the body of the request, pumped by a task of the session; what
//! the device sends is written here. Each ends for itself: FIN becomes END_STREAM and END_STREAM becomes FIN. What breaks
//! breaks both: RST_STREAM resets the client's connection, a client that is gone resets the stream with CANCEL.
//!
//! There is no total and no idle timeout. A client that vanished without a word is noticed by TCP keep-alive.
//!
//! Memory of one tunnel here: one read of [`READ_MAX`] from the client and one DATA frame under way to it, beside the windows
//! of the stream (`gateway::session`).

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, Stream},
};
use h2::Reason;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, WriteHalf},
    net::{TcpStream, tcp::OwnedWriteHalf},
    sync::oneshot,
    time::timeout,
};
use tokio_util::io::ReaderStream;

use crate::base::{
    http::{Body, BodyError},
    http2::share::FRAME_PAYLOAD,
};

/// Largest read from a client, bytes: what one DATA frame carries.
pub const READ_MAX: usize = FRAME_PAYLOAD;
/// After the device has ended its direction the client may be silent in its own for this long. Most close both at once, and
/// a client that never closes would keep its place for ever.
const HALF_CLOSED: Duration = Duration::from_secs(600);
/// A silent client is asked after this, then every [`PROBE_INTERVAL`], and given up after [`PROBES`] without an answer.
const SILENCE: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both directions ended in good order.
    Closed,
    /// The device reset the stream, or its session is gone.
    Device,
    /// The client is gone.
    Client,
    /// The client kept its direction open for [`HALF_CLOSED`] after the device had ended.
    HalfClosed,
}

/// The reading half of a client.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// The client's direction, whose byte stream comes after the request has been sent.
pub struct Upward {
    reader: oneshot::Sender<Reader>,
    ended: oneshot::Receiver<()>,
}

/// A body that carries what a byte stream brings, and the place to put the stream. Dropped without one, the body ends.
pub fn upward() -> (Upward, Body) {
    let (reader, given) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let chunks = stream::once(given).flat_map(|given: Result<Reader, _>| match given {
        Ok(reader) => ReaderStream::with_capacity(reader, READ_MAX).left_stream(),
        Err(_) => stream::empty().right_stream(),
    });
    (Upward { reader, ended }, body_of(chunks, end))
}

/// A body of what `chunks` brings; `end` is dropped with it. A client that broke resets the stream.
pub fn body_of(chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static, end: oneshot::Sender<()>) -> Body {
    let frames = chunks.map(move |chunk| {
        let _held = &end;
        chunk.map(Frame::data).map_err(|_| BodyError::Reset(Reason::CANCEL))
    });
    Body::new(StreamBody::new(frames))
}

/// The writing half of a client that can end without good order.
pub trait Cut: AsyncWrite + Unpin {
    /// Gives the half up, so that the client sees a reset and not an end where its transport can say that.
    fn cut(self);
}

impl Cut for OwnedWriteHalf {
    fn cut(self) {
        // RST instead of FIN; a socket that refuses is closed all the same.
        let _ = SockRef::from(self.as_ref()).set_linger(Some(Duration::ZERO));
        self.forget();
    }
}

/// A stream of an HTTP/2 client, which hyper ends when it is dropped: it has no way to reset it.
impl<S: AsyncRead + AsyncWrite + Unpin> Cut for WriteHalf<S> {
    fn cut(self) {}
}

/// Lets the kernel notice a client that is gone without a word.
pub fn watch(client: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(SILENCE).with_interval(PROBE_INTERVAL).with_retries(PROBES);
    // Where the system refuses only such a client stays longer.
    let _ = SockRef::from(client).set_tcp_keepalive(&keepalive);
}

/// Carries both directions to their ends. `answer` is the body of the device's answer to the request whose body came from
/// [`upward`]. Cancel safe: dropping the future resets the stream and closes the client's connection.
pub async fn carry<W: Cut>(up: Upward, reader: Reader, mut writer: W, mut answer: Body) -> End {
    // A request body that is gone already shows in the answer.
    let _ = up.reader.send(reader);
    loop {
        match answer.frame().await {
            None => break,
            Some(Err(_)) => {
                writer.cut();
                return End::Device;
            }
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data()
                    && writer.write_all(&data).await.is_err()
                {
                    return End::Client;
                }
            }
        }
    }
    if writer.shutdown().await.is_err() {
        return End::Client;
    }
    match timeout(HALF_CLOSED, up.ended).await {
        Ok(_) => End::Closed,
        Err(_) => End::HalfClosed,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, split};

    use super::*;

    async fn next(body: &mut Body) -> Option<Bytes> {
        body.frame().await.map(|frame| frame.expect("good").into_data().expect("data"))
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_and_each_end_is_passed_on() {
        let (near, mut far) = tokio::io::duplex(1024);
        let (up, mut request) = upward();
        let (reader, writer) = split(near);
        let carried = tokio::spawn(carry(up, Box::new(reader), writer, Body::full("from the device")));
        let mut text = String::new();
        far.read_to_string(&mut text).await.expect("the device's end is an end");
        assert_eq!(text, "from the device");
        far.write_all(b"and back").await.expect("this way is still open");
        assert_eq!(next(&mut request).await.as_deref(), Some(&b"and back"[..]));
        far.shutdown().await.expect("open");
        assert_eq!(next(&mut request).await, None);
        drop(request);
        assert_eq!(carried.await.expect("no panic"), End::Closed);
    }

    #[tokio::test]
    async fn a_device_that_resets_ends_both_ways() {
        let (near, _far) = tokio::io::duplex(1024);
        let (up, _request) = upward();
        let (reader, writer) = split(near);
        let reset = stream::once(async { Err(io::Error::other("reset")) });
        assert_eq!(carry(up, Box::new(reader), writer, body_of(reset, oneshot::channel().0)).await, End::Device);
    }

    #[tokio::test]
    async fn a_client_that_is_gone_ends_the_tunnel_while_the_device_still_sends() {
        let (near, far) = tokio::io::duplex(16);
        let (up, _request) = upward();
        let (reader, writer) = split(near);
        drop(far);
        assert_eq!(carry(up, Box::new(reader), writer, Body::full(vec![0; 64])).await, End::Client);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_keeps_half_a_tunnel_open_has_its_time() {
        let (near, _far) = tokio::io::duplex(16);
        let (up, _request) = upward();
        let (reader, writer) = split(near);
        let begin = tokio::time::Instant::now();
        assert_eq!(carry(up, Box::new(reader), writer, Body::empty()).await, End::HalfClosed);
        assert_eq!(begin.elapsed(), HALF_CLOSED);
    }

    #[tokio::test]
    async fn a_request_without_a_byte_stream_ends_its_body() {
        let (up, mut request) = upward();
        drop(up);
        assert!(request.frame().await.is_none());
    }
}
