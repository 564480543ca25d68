//! The remote's end of a reversed connection, in the same runtime over an in-memory pipe, so that virtual time holds.

use std::{future::poll_fn, sync::Arc};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, client};
use http::HeaderMap;
use onvif_uplink::{
    base::{
        activity::Activity,
        drain::{DrainSwitch, drain},
        http::{Handler, SessionInfo},
        io::Direct,
    },
    reverse::{Limits, Reverse, ReverseError},
};
use tokio::{io::DuplexStream, task::JoinHandle};

/// A session under test: the remote's request sender, and what the device end came to.
pub struct Session {
    /// The remote: sends requests.
    pub remote: client::SendRequest<Bytes>,
    /// The remote's connection; ends when the session does.
    pub remote_connection: JoinHandle<Result<(), h2::Error>>,
    /// How `Reverse::run` ended.
    pub served: JoinHandle<Result<(), ReverseError>>,
    /// Drains the device end.
    pub switch: DrainSwitch,
    /// The counters of the device end.
    pub activity: Arc<Activity>,
}

/// Connects a remote made by `builder` with a device end that serves `handler`.
pub async fn session(handler: Arc<dyn Handler>, builder: client::Builder) -> Session {
    let (device, remote) = tokio::io::duplex(1 << 20);
    let activity = Arc::new(Activity::start());
    let (switch, drained) = drain();
    let served = tokio::spawn(serve(device, Arc::clone(&activity), handler, drained));
    let (remote, connection) = builder.handshake(remote).await.expect("the device end answers with SETTINGS");
    Session { remote, remote_connection: tokio::spawn(connection), served, switch, activity }
}

/// The device end on `stream`, from the 101 on.
pub async fn serve(
    stream: DuplexStream,
    activity: Arc<Activity>,
    handler: Arc<dyn Handler>,
    drained: onvif_uplink::base::drain::Drain,
) -> Result<(), ReverseError> {
    let info = SessionInfo { remote: ([192, 0, 2, 1], 443).into() };
    let reverse = Reverse::accept(Box::new(Direct(stream)), Bytes::new(), activity, &Limits::default()).await?;
    reverse.run(handler, info, drained).await
}

/// Everything that a stream brings: bytes and trailers.
pub async fn collect(mut stream: RecvStream) -> Result<(Bytes, Option<HeaderMap>), h2::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        stream.flow_control().release_capacity(chunk.len())?;
        body.extend_from_slice(&chunk);
    }
    let trailers = poll_fn(|cx| stream.poll_trailers(cx)).await?;
    Ok((body.freeze(), trailers))
}
