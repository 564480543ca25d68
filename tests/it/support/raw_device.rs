//! A device that the test plays byte by byte: its listener, the handler that dials it, and what is needed to talk.

use http_body_util::BodyExt;
use onvif_uplink::{
    base::http::{Body, Request, Response},
    forward::{Limits, Loopback},
    model::device::LoopbackUrl,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

/// A device on a port of its own and the handler that forwards to it.
pub async fn device(limits: Limits) -> (TcpListener, Loopback) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let handler = handler_for(listener.local_addr().expect("bound"), limits);
    (listener, handler)
}

/// A handler that forwards to `address`.
pub fn handler_for(address: std::net::SocketAddr, limits: Limits) -> Loopback {
    let url = LoopbackUrl::parse(&format!("http://{address}")).expect("loopback");
    Loopback::with_limits(url, "camera-1", limits)
}

/// The handler's next connection.
pub async fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().await.expect("the handler dials").0
}

/// Reads up to the end of the head.
pub async fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).expect("ASCII")
}

/// A GET of `path`.
pub fn get(path: &str) -> Request {
    http::Request::get(path).body(Body::empty()).expect("valid")
}

/// The whole body as text.
pub async fn text(response: Response) -> String {
    let bytes = response.into_body().collect().await.expect("whole").to_bytes();
    String::from_utf8(bytes.into()).expect("text")
}
