//! Neighbours of the sidecar: the camera emulator, or a byte-level fake that does what a test tells it.

use std::{net::SocketAddr, time::Duration};

use onvif_uplink::{
    base::drain::{DrainSwitch, drain},
    demo::camera::Camera,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use super::http::PATIENCE;

/// A running camera emulator; ends with the test.
pub struct RunningCamera {
    /// Its web server.
    pub address: SocketAddr,
    switch: DrainSwitch,
    _run: JoinHandle<()>,
}

/// Starts a camera emulator.
pub async fn camera(name: &str) -> RunningCamera {
    run(Camera::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port").named(name))
}

/// Runs a camera emulator that the test has set up.
pub fn run(camera: Camera) -> RunningCamera {
    let (address, (switch, part)) = (camera.http_addr(), drain());
    RunningCamera { address, switch, _run: tokio::spawn(camera.run(part)) }
}

impl Drop for RunningCamera {
    fn drop(&mut self) {
        self.switch.start(Duration::ZERO);
    }
}

/// A device that answers as the test says, byte by byte.
pub struct FakeDevice {
    /// Where it listens.
    pub address: SocketAddr,
    listener: TcpListener,
}

impl FakeDevice {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self { address: listener.local_addr().expect("bound"), listener }
    }

    /// The next connection with the head of its first request. A device that carries no RTSP has no answer to the sidecar's
    /// probe, which comes when it will.
    pub async fn asked(&self) -> (TcpStream, String) {
        loop {
            let (stream, head) = self.any().await;
            if !head.contains("application/x-rtsp-tunnelled") {
                return (stream, head);
            }
        }
    }

    async fn any(&self) -> (TcpStream, String) {
        let (mut stream, _) = timeout(PATIENCE, self.listener.accept()).await.expect("in time").expect("accepted");
        let mut head = Vec::new();
        let read = async {
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a whole head"));
            }
        };
        timeout(PATIENCE, read).await.expect("in time");
        (stream, String::from_utf8(head).expect("text"))
    }

    /// Answers the next request with these bytes and closes. Returns the request's head.
    pub async fn answer(&self, bytes: &str) -> String {
        let (mut stream, head) = self.asked().await;
        stream.write_all(bytes.as_bytes()).await.expect("sent");
        head
    }
}

/// An address where nothing listens: it was taken and given back.
pub async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.and_then(|listener| listener.local_addr()).expect("a free port")
}
