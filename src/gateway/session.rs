//! One session as the gateway holds it: an HTTP/2 client on a connection that the device opened (ONVIF Uplink §5.4).
//!
//! [`start`] gives a [`Session`], through which requests go, and a [`Driver`], which moves the bytes: it polls the library,
//! ends each turn, keeps the link alive and closes it. When the last holder of a session's sender is gone and its last stream has
//! ended, the library closes the connection by itself: that is the drain.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use h2::{Ping, PingPong, client};
use tokio::{
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};

use crate::{
    base::{
        activity::Activity,
        http2::{
            heads::{End, flood_of},
            share::Share,
            turn::Turn,
        },
        io::{SessionIo, TurnStream, split},
        owned::Owned,
    },
    model::failure::{Cause, Failure},
};

/// Receive window of a stream, and what one that nobody reads holds at most. At 25 ms round trip it carries 320 Mbit/s of
/// video; over longer ones windows grow with the round trip, see [`window_for`].
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Never more than this: 320 Mbit/s at 100 ms.
const STREAM_WINDOW_MAX: u32 = 4 * 1024 * 1024;
/// Bytes per second that one stream shall be able to carry.
const STREAM_RATE: u64 = 320_000_000 / 8;
/// Receive window of a session: that of 256 streams, which is what a sidecar allows, so that however many streams nobody
/// reads, they never stop another one. Nothing is held for it in advance; the bound of memory is the streams'.
const SESSION_WINDOW: u32 = 256 * STREAM_WINDOW_MAX;
/// The frame size that fills one TLS record; larger ones do not help.
const FRAME_MAX: u32 = 16_384;
/// Header list of a response.
const HEADER_LIST_MAX: u32 = 64 * 1024;
/// Small DATA frames are legal (RTSP, events); this many bytes of bookkeeping may wait before it counts as an attack.
const DATA_FRAME_BUDGET: usize = 64 * 1024 * 1024;
/// How long frames of a stream that a client gave up may still be under way; as long as a full window takes on a slow link.
/// What comes later makes the library reset the stream again.
const RESET_REMEMBERED: Duration = Duration::from_secs(30);
/// Streams that are remembered so. Each takes some hundred bytes.
const RESETS_REMEMBERED: usize = 1024;
/// A PING after this silence, well within the 30 s of ONVIF Uplink §5.2 that the other side counts.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Nothing received for this long: the connection is dead.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A session that was replaced has this long for its last streams.
pub const OLD_SESSION_MAX: Duration = Duration::from_secs(600);
/// Time for the last bytes and the close of TLS.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether a session shall end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// It works.
    No,
    /// It finishes its streams, for [`OLD_SESSION_MAX`] at most.
    Drain,
    /// It ends at once.
    Now,
}

/// What is known of a session, and what belongs to it. Holds no sender: it does not keep the connection open.
#[derive(Debug)]
pub struct Core {
    /// Identity from the verified certificate.
    pub device: String,
    /// The device's transport address.
    pub peer: SocketAddr,
    /// Since when it stands.
    pub since: SystemTime,
    /// Live counters.
    pub activity: Arc<Activity>,
    /// The bound that the uploads share.
    pub share: Arc<Share>,
    /// Uploads whose response ended before them.
    pub uploads: Owned,
    stop: watch::Sender<Stop>,
    ended: AtomicBool,
}

impl Core {
    /// Asks the session to end; a later call can only make it more urgent.
    pub fn stop(&self, stop: Stop) {
        self.stop.send_if_modified(|state| {
            let more = stop > *state;
            *state = stop.max(*state);
            more
        });
    }

    /// Whether its connection is gone.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }
}

/// The way to send requests. Dropping the last one lets the session drain.
#[derive(Debug)]
pub struct Session {
    core: Arc<Core>,
    sender: client::SendRequest<Bytes>,
}

impl Session {
    /// What is known of it.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// A sender for one request.
    pub fn sender(&self) -> client::SendRequest<Bytes> {
        self.sender.clone()
    }
}

/// Moves the bytes of one session.
pub struct Driver {
    core: Arc<Core>,
    connection: client::Connection<SessionIo, Bytes>,
    turn: Turn,
    liveness: Liveness,
    /// The round trip is not known yet, and windows are as they were announced.
    windows_to_fit: bool,
}

/// Begins HTTP/2 as its client on an upgraded stream. `early` are bytes that came with the upgrade request.
///
/// # Errors
/// A [`Failure`] when the connection broke already.
pub async fn start(
    stream: Box<dyn TurnStream>,
    early: Bytes,
    device: String,
    peer: SocketAddr,
) -> Result<(Session, Driver), Failure> {
    let activity = Arc::new(Activity::start());
    let (io, handle) = split(stream, early, Arc::clone(&activity), End::Client);
    let (sender, mut connection) = client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(SESSION_WINDOW)
        .max_frame_size(FRAME_MAX)
        .max_header_list_size(HEADER_LIST_MAX)
        .data_frame_budget(DATA_FRAME_BUDGET)
        // Counted over the life of a session by the library; the bound is the rate of base::http2::heads.
        .max_local_error_reset_streams(None)
        .max_concurrent_reset_streams(RESETS_REMEMBERED)
        .reset_stream_duration(RESET_REMEMBERED)
        .enable_push(false)
        .handshake::<_, Bytes>(io)
        .await
        .map_err(|error| failure(&error))?;
    let share = Arc::new(Share::default());
    let core = Arc::new(Core {
        device,
        peer,
        since: SystemTime::now(),
        activity,
        share: Arc::clone(&share),
        uploads: Owned::default(),
        stop: watch::Sender::new(Stop::No),
        ended: AtomicBool::new(false),
    });
    let liveness = Liveness::new(connection.ping_pong());
    let turn = Turn::new(handle, share);
    let driver = Driver { core: Arc::clone(&core), connection, turn, liveness, windows_to_fit: true };
    Ok((Session { core, sender }, driver))
}

impl Driver {
    /// Waits until the device has sent its first byte: a session that never speaks is not entered in the directory.
    ///
    /// # Errors
    /// Why the session ended before that.
    pub async fn first_bytes(&mut self) -> Result<(), Failure> {
        poll_fn(|cx| match self.poll_turn(cx) {
            Poll::Ready(ended) => Poll::Ready(Err(ended)),
            Poll::Pending if self.core.activity.bytes_received() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Drives the session to its end and says why it ended.
    pub async fn run(mut self) -> Failure {
        let mut stop = self.core.stop.subscribe();
        let mut deadline = std::pin::pin!(async move {
            if let Ok(state) = stop.wait_for(|state| *state > Stop::No).await.map(|state| *state)
                && state == Stop::Drain
            {
                let now = stop.wait_for(|state| *state == Stop::Now);
                let _ = tokio::time::timeout(OLD_SESSION_MAX, now).await;
            }
        });
        let ended = poll_fn(|cx| {
            if deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Failure::new(
                    Cause::Drained,
                    "the gateway ended the session: its grace period is over",
                ));
            }
            self.poll_turn(cx)
        })
        .await;
        self.core.ended.store(true, Relaxed);
        // The peer may be gone; what it takes within the time is enough.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, poll_fn(|cx| self.turn.poll_close(cx))).await;
        ended
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let silent = self.liveness.poll(&self.core.activity, cx);
        let polled = std::pin::Pin::new(&mut self.connection).poll(cx);
        self.fit_windows();
        let written = self.turn.end(cx);
        match (polled, written) {
            (Poll::Ready(Ok(())), _) => {
                Poll::Ready(Failure::new(Cause::ClosedByRemote, "the session ended in good order"))
            }
            (Poll::Ready(Err(error)), _) => Poll::Ready(failure(&error)),
            (Poll::Pending, Err(error)) => Poll::Ready(io_failure(&error)),
            (Poll::Pending, Ok(())) => silent,
        }
    }
}

impl Driver {
    /// Once, when the first round trip is known.
    fn fit_windows(&mut self) {
        if !self.windows_to_fit {
            return;
        }
        let Some(round_trip) = self.core.activity.flow().round_trip() else { return };
        self.windows_to_fit = false;
        let window = window_for(round_trip);
        if window > STREAM_WINDOW
            && let Err(error) = self.connection.set_initial_window_size(window)
        {
            tracing::debug!(%error, "the windows stay as they are");
        }
    }
}

/// The receive window of a stream over this round trip: large enough for [`STREAM_RATE`], within its bounds.
fn window_for(round_trip: Duration) -> u32 {
    let bytes = u128::from(STREAM_RATE) * round_trip.as_micros() / 1_000_000;
    u32::try_from(bytes).unwrap_or(STREAM_WINDOW_MAX).clamp(STREAM_WINDOW, STREAM_WINDOW_MAX)
}

/// Keeps the link alive and notices when it is not.
struct Liveness {
    ping: Option<PingPong>,
    outstanding: bool,
    timer: std::pin::Pin<Box<Sleep>>,
}

impl Liveness {
    fn new(ping: Option<PingPong>) -> Self {
        Self { ping, outstanding: false, timer: Box::pin(sleep_until(Instant::now() + KEEP_ALIVE)) }
    }

    /// `Ready` when nothing was received for [`SILENCE_MAX`].
    fn poll(&mut self, activity: &Activity, cx: &mut Context<'_>) -> Poll<Failure> {
        if let Some(ping) = self.ping.as_mut().filter(|_| self.outstanding)
            && ping.poll_pong(cx).is_ready()
        {
            self.outstanding = false;
            self.timer.as_mut().reset(activity.last_received() + KEEP_ALIVE);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let (now, last) = (Instant::now(), activity.last_received());
            if now >= last + SILENCE_MAX {
                return Poll::Ready(Failure::new(
                    Cause::Silent,
                    "nothing was received from the device for 30 s, not even an answer to a PING",
                ));
            }
            if now >= last + KEEP_ALIVE
                && !self.outstanding
                && let Some(ping) = &mut self.ping
            {
                self.outstanding = ping.send_ping(Ping::opaque()).is_ok();
            }
            let next = if now >= last + KEEP_ALIVE { last + SILENCE_MAX } else { last + KEEP_ALIVE };
            self.timer.as_mut().reset(next.max(now + Duration::from_millis(1)));
        }
        Poll::Pending
    }
}

fn failure(error: &h2::Error) -> Failure {
    if let Some(error) = error.get_io() {
        return io_failure(error);
    }
    match error.reason() {
        Some(h2::Reason::NO_ERROR) => Failure::new(Cause::ClosedByRemote, "the device said GOAWAY"),
        _ => Failure::new(Cause::ProtocolViolation, format!("HTTP/2 with the device failed: {error}")),
    }
}

fn io_failure(error: &io::Error) -> Failure {
    if let Some(sentence) = flood_of(error) {
        return Failure::new(Cause::ProtocolViolation, sentence);
    }
    Failure::new(Cause::ConnectionReset, format!("the connection of the device broke: {error}"))
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
