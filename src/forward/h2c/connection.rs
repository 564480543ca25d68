//! The one HTTP/2 connection to a device that all its requests share: dialed at the first, dialed anew when it has ended or
//! its device said GOAWAY.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use tokio::{
    sync::{Mutex, Semaphore},
    time::timeout,
};

use crate::{
    base::{
        activity::Activity,
        http2::{
            heads::End,
            share::{self, Share},
            turn::Turn,
        },
        io::{Direct, SessionIo, split},
    },
    forward::{dial::dial, fault::Fault, limits::HEAD_MAX, neighbour::Neighbour},
};

/// Receive window of a stream, bytes: two large reads of the remote's side. On loopback a round trip takes nothing.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Streams at once on a connection, whatever the device allows: as many as a device has connections over HTTP/1.1.
const STREAMS_MAX: u32 = 128;
/// Receive window of the connection: that of as many streams as there may be requests, so that viewers who do not read
/// never stop another stream. Only what they leave unread is really held.
const CONNECTION_WINDOW: u32 = STREAMS_MAX * STREAM_WINDOW;
/// Small DATA frames are legal (events, gRPC); this many bytes of bookkeeping may wait before it counts as an attack.
const DATA_FRAME_BUDGET: usize = 32 * 1024 * 1024;
/// Streams that viewers gave up and that are remembered, so that what was still under way does no harm.
const RESETS_REMEMBERED: usize = 1024;
/// Time for the last bytes of a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The connection of the moment.
#[derive(Default)]
pub struct Connections {
    current: Mutex<Option<Shared>>,
}

/// A connection, as one request uses it.
#[derive(Clone)]
pub struct Shared {
    /// Ready for one request.
    pub sender: SendRequest<Bytes>,
    /// The bound that its uploads share.
    pub share: Arc<Share>,
    /// As many streams as the device announced. What waits here has not been sent: a request that gets no stream is given up
    /// without the device ever seeing it.
    pub slots: Arc<Semaphore>,
    /// Whether requests went through it before: it may have been closed meanwhile.
    pub reused: bool,
}

impl Connections {
    /// The connection that takes requests; if there is none, a new one.
    ///
    /// Cancel safe: a dial that is given up is closed.
    ///
    /// # Errors
    /// Those of the dial; [`Fault::NotHttp2`]; [`Fault::Busy`] when others dial for too long.
    pub async fn ready(&self, neighbour: &Neighbour) -> Result<Shared, Fault> {
        let lock = timeout(neighbour.limits.wait, self.current.lock());
        let mut current = lock.await.map_err(|_| Fault::Busy)?;
        if let Some(shared) = current.as_ref() {
            // Fails after a GOAWAY and after the end.
            if let Ok(sender) = shared.sender.clone().ready().await {
                return Ok(Shared { sender, reused: true, ..shared.clone() });
            }
            *current = None;
        }
        let shared = begin(neighbour).await?;
        *current = Some(shared.clone());
        Ok(shared)
    }
}

/// Dials, and waits for the device's SETTINGS: they say whether it speaks HTTP/2 and takes extended CONNECT.
async fn begin(neighbour: &Neighbour) -> Result<Shared, Fault> {
    let stream = dial(neighbour.address, &neighbour.limits).await?;
    let activity = Arc::new(Activity::start());
    let (io, handle) = split(Box::new(Direct(stream)), Bytes::new(), Arc::clone(&activity), End::Client);
    let (sender, connection) = client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(HEAD_MAX).unwrap_or(u32::MAX))
        .data_frame_budget(DATA_FRAME_BUDGET)
        // Counted over the life of a connection by the library; the bound is the rate of base::http2::heads.
        .max_local_error_reset_streams(None)
        .max_concurrent_reset_streams(RESETS_REMEMBERED)
        .max_send_buffer_size(share::STREAM_FRAMES_MAX * share::FRAME_PAYLOAD)
        .enable_push(false)
        .handshake::<_, Bytes>(io)
        .await
        .map_err(|error| Fault::NotHttp2(error.to_string()))?;
    let share = Arc::new(Share::default());
    let mut driver = Driver { connection, turn: Turn::new(handle, Arc::clone(&share)) };
    let spoken = poll_fn(|cx| match driver.poll(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(Err(Fault::NotHttp2(error))),
        Poll::Ready(Ok(())) => Poll::Ready(Err(Fault::NotHttp2("it closed the connection".to_owned()))),
        Poll::Pending if activity.bytes_received() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    });
    let silent = |_| Fault::NotHttp2("it sent no SETTINGS in time".to_owned());
    timeout(neighbour.limits.connect, spoken).await.map_err(silent)??;
    let streams = sender.current_max_send_streams().clamp(1, STREAMS_MAX as usize);
    // It ends by itself: with the device's close, or when no sender and no stream is left.
    neighbour.tasks.spawn(driver.run());
    Ok(Shared { sender, share, slots: Arc::new(Semaphore::new(streams)), reused: false })
}

/// Moves the bytes of one connection.
struct Driver {
    connection: client::Connection<SessionIo, Bytes>,
    turn: Turn,
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        let polled = Pin::new(&mut self.connection).poll(cx);
        let written = self.turn.end(cx);
        match (polled, written) {
            (Poll::Ready(ended), _) => Poll::Ready(ended.map_err(|error| error.to_string())),
            (Poll::Pending, Err(error)) => Poll::Ready(Err(error.to_string())),
            (Poll::Pending, Ok(())) => Poll::Pending,
        }
    }

    async fn run(mut self) {
        if let Err(error) = poll_fn(|cx| self.poll(cx)).await {
            tracing::debug!(error, "the HTTP/2 connection to the device ended");
        }
        let _ = timeout(CLOSE_TIMEOUT, poll_fn(|cx| self.turn.poll_close(cx))).await;
    }
}
