//! Streams that the remote opens by CONNECT, plain or extended, and the handler that takes them to a device of the test.

use std::{future::poll_fn, net::SocketAddr, sync::Arc};

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream, client, ext::Protocol};
use onvif_uplink::{
    base::http::Handler,
    forward::{Limits, Routes},
    model::device::{Device, LoopbackUrl},
};
use tokio::time::timeout;

use super::{
    h2_peer::{Session, session},
    http::PATIENCE,
};

/// A device `camera-1` at `scheme://address`, which allows CONNECT to `ports`.
pub fn device(scheme: &str, address: SocketAddr, ports: &[u16]) -> Device {
    Device {
        name: "camera-1".into(),
        http: LoopbackUrl::parse(&format!("{scheme}://{address}")).expect("loopback"),
        rtsp: None,
        rtsp_via: Default::default(),
        connect_ports: ports.iter().copied().collect(),
        pass_through: false,
        addresses: Default::default(),
        credentials: Default::default(),
    }
}

/// A session whose requests go to `device`.
pub async fn session_to(device: &Device, limits: Limits) -> Session {
    let routes: Arc<dyn Handler> = Arc::new(Routes::with_limits(device, limits));
    // A remote that no stalled stream of its own holds up.
    let mut builder = client::Builder::new();
    builder.initial_connection_window_size(1 << 30);
    session(routes, builder).await
}

/// The request that opens a `:protocol`.
pub fn extended(protocol: &str, path: &str, fields: &[(&str, &str)]) -> http::Request<()> {
    let mut request = http::Request::builder().method("CONNECT").uri(format!("https://cloud.example{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.extension(Protocol::from(protocol)).body(()).expect("valid")
}

/// The request for a raw connection.
pub fn plain(authority: &str) -> http::Request<()> {
    let uri = http::Uri::builder().authority(authority).build().expect("an authority");
    http::Request::connect(uri).body(()).expect("valid")
}

/// A stream after the head of its answer.
pub struct Opened {
    /// Status and fields.
    pub head: http::response::Parts,
    /// To the device.
    pub send: SendStream<Bytes>,
    /// From it.
    pub receive: RecvStream,
}

/// Sends `request` and waits for the head of its answer; the stream stays open.
pub async fn open(session: &Session, request: http::Request<()>) -> Opened {
    let mut remote = session.remote.clone().ready().await.expect("the session stands");
    let (response, send) = remote.send_request(request, false).expect("sent");
    let response = timeout(PATIENCE, response).await.expect("in time").expect("answered");
    let (head, receive) = response.into_parts();
    Opened { head, send, receive }
}

impl Opened {
    /// Sends bytes; they must fit the window.
    pub fn say(&mut self, text: &'static str) {
        self.send.send_data(Bytes::from_static(text.as_bytes()), false).expect("open");
    }

    /// Ends the remote's direction.
    pub fn end(&mut self) {
        self.send.send_data(Bytes::new(), true).expect("open");
    }

    /// The next `count` bytes from the device.
    pub async fn hear(&mut self, count: usize) -> Bytes {
        let mut heard = BytesMut::new();
        while heard.len() < count {
            let chunk = self.chunk().await.expect("not the end").expect("sound");
            heard.extend_from_slice(&chunk);
        }
        heard.freeze()
    }

    /// Everything from here to the end of the device's direction.
    pub async fn rest(&mut self) -> Result<Bytes, h2::Error> {
        let mut heard = BytesMut::new();
        while let Some(chunk) = self.chunk().await {
            heard.extend_from_slice(&chunk?);
        }
        Ok(heard.freeze())
    }

    async fn chunk(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let chunk = timeout(PATIENCE, self.receive.data()).await.expect("in time")?;
        if let Ok(chunk) = &chunk {
            self.receive.flow_control().release_capacity(chunk.len()).expect("taken");
        }
        Some(chunk)
    }

    /// The reason with which the device end resets the stream.
    pub async fn reset(&mut self) -> Reason {
        timeout(PATIENCE, poll_fn(|cx| self.send.poll_reset(cx))).await.expect("in time").expect("a reset")
    }
}
