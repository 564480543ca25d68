//! The remote's side of a WebSocket uplink: the handshake by hand, the frames by the library.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use super::remote::{Remote, Tls, Upgraded, read_head};

/// The next connection after its WebSocket handshake, and the request's head; nothing has been said within it.
pub async fn accept(remote: &Remote) -> (Tls, String) {
    let mut stream = remote.handshake().await.expect("a good handshake");
    let head = read_head(&mut stream).await;
    let key = head.split("Sec-WebSocket-Key: ").nth(1).and_then(|rest| rest.split("\r\n").next()).expect("a key");
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: h2c-reverse\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.expect("sent");
    stream.flush().await.expect("sent");
    (stream, head)
}

/// The next connection after its WebSocket handshake, as the byte stream within it, and the request's head.
pub async fn begin(remote: &Remote) -> (Within, String) {
    let (stream, head) = accept(remote).await;
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    (Within { socket, rest: Bytes::new(), piece: 1000 }, head)
}

/// The next connection with HTTP/2 within its WebSocket.
pub async fn upgrade(remote: &Remote) -> Upgraded {
    let (stream, _) = begin(remote).await;
    let (requests, connection) = h2::client::handshake(stream).await.expect("the stream stands");
    let connection = tokio::spawn(connection);
    Upgraded { requests, connection }
}

/// The bytes within; each write is cut into frames of odd sizes, as a peer may do that knows nothing of HTTP/2's frames.
pub struct Within {
    socket: WebSocketStream<Tls>,
    rest: Bytes,
    piece: usize,
}

impl AsyncRead for Within {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.rest = bytes,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..length]);
        self.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Within {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(io::Error::other)?;
        self.piece = self.piece % 5000 + 777;
        let length = buf.len().min(self.piece);
        let frame = Message::Binary(Bytes::copy_from_slice(&buf[..length]));
        Pin::new(&mut self.socket).start_send(frame).map_err(io::Error::other)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(io::Error::other)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_close(cx)).map_err(io::Error::other)?;
        // A socket that is closed with unread bytes is reset: the device's close is waited for (RFC 6455 §7.1.1).
        while let Some(Ok(_)) = ready!(Pin::new(&mut self.socket).poll_next(cx)) {}
        Poll::Ready(Ok(()))
    }
}
