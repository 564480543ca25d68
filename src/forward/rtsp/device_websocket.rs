//! The device's own RTSP over WebSocket as a plain byte stream: what a mediator needs, which must see the messages within the
//! frames (RFC 6455; ONVIF Streaming). Without a mediator nothing here is used: the frames pass as they are.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, future::ready};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{Role, WebSocketConfig},
    },
};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use super::limits::WEBSOCKET_MESSAGE_MAX;
use crate::forward::tunnel::Cut;

/// What may wait for a device that does not read, bytes.
const UNSENT_MAX: usize = 256 * 1024;

/// What the device says, out of its frames.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// What goes to the device, in masked frames.
pub struct Writer(Box<dyn AsyncWrite + Send + Unpin>);

/// The two directions of an upgraded connection; `early` came with the head of the answer.
pub async fn open(socket: TcpStream, early: Bytes) -> (Reader, Writer) {
    let config = WebSocketConfig::default()
        .write_buffer_size(0)
        .max_write_buffer_size(UNSENT_MAX)
        .max_frame_size(Some(WEBSOCKET_MESSAGE_MAX))
        .max_message_size(Some(WEBSOCKET_MESSAGE_MAX));
    let socket = WebSocketStream::from_partially_read(socket, early.to_vec(), Role::Client, Some(config)).await;
    let (frames, messages) = socket.split();
    let messages = messages
        .take_while(|message| ready(!matches!(message, Ok(Message::Close(_)) | Err(Error::ConnectionClosed))))
        .filter_map(|message| ready(payload(message)));
    let frames = frames.sink_map_err(io::Error::other).with(|bytes| ready(Ok::<_, io::Error>(Message::Binary(bytes))));
    (Box::new(StreamReader::new(messages)), Writer(Box::new(SinkWriter::new(CopyToBytes::new(frames)))))
}

fn payload(message: Result<Message, Error>) -> Option<io::Result<Bytes>> {
    match message {
        Ok(Message::Binary(payload)) => Some(Ok(payload)),
        Ok(Message::Text(text)) => Some(Ok(text.into())),
        // The library answers pings with the next write or read.
        Ok(_) => None,
        Err(error) => Some(Err(io::Error::other(error))),
    }
}

impl AsyncWrite for Writer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Cut for Writer {
    /// The socket closes with the other direction.
    fn cut(self) {}
}
