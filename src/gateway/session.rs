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
        http2::{share::Share, turn::Turn},
        io::{SessionIo, TurnStream, split},
        owned::Owned,
    },
    model::failure::{Cause, Failure},
};

/// Receive window of a stream: at 100 ms round trip it carries 320 Mbit/s of video.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// Receive window of a session: four streams at full speed, so that one that nobody reads does not stop the others.
const SESSION_WINDOW: u32 = 16 * 1024 * 1024;
/// The frame size that fills one TLS record; larger ones do not help.
const FRAME_MAX: u32 = 16_384;
/// Header list of a response.
const HEADER_LIST_MAX: u32 = 64 * 1024;
/// Small DATA frames are legal (RTSP, events); this many bytes of bookkeeping may wait before it counts as an attack.
const DATA_FRAME_BUDGET: usize = 16 * 1024 * 1024;
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
    let (io, handle) = split(stream, early, Arc::clone(&activity));
    let (sender, mut connection) = client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(SESSION_WINDOW)
        .max_frame_size(FRAME_MAX)
        .max_header_list_size(HEADER_LIST_MAX)
        .data_frame_budget(DATA_FRAME_BUDGET)
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
    let driver = Driver { core: Arc::clone(&core), connection, turn: Turn::new(handle, share), liveness };
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
    Failure::new(Cause::ConnectionReset, format!("the connection of the device broke: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::io::Direct;

    async fn session() -> (Session, Driver, tokio::io::DuplexStream) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let peer = "192.0.2.1:4000".parse().expect("address");
        let started = start(Box::new(Direct(near)), Bytes::new(), "camera-1".to_owned(), peer).await;
        let (session, driver) = started.expect("open");
        (session, driver, far)
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_says_nothing_for_30_s_is_dead() {
        let (_session, driver, _far) = session().await;
        let begin = Instant::now();
        assert_eq!(driver.run().await.cause, Cause::Silent);
        assert!((SILENCE_MAX..SILENCE_MAX + Duration::from_secs(1)).contains(&begin.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_device_that_answers_pings_stays_and_goes_with_its_last_sender() {
        let (session, driver, far) = session().await;
        let device = async {
            let mut connection = h2::server::handshake(far).await.expect("preface");
            assert!(connection.accept().await.is_none());
        };
        let owner = async {
            tokio::time::sleep(Duration::from_secs(120)).await;
            assert!(!session.core().has_ended());
            drop(session);
            Instant::now()
        };
        let (ended, (), dropped) = tokio::join!(driver.run(), device, owner);
        assert_eq!(ended.cause, Cause::ClosedByRemote);
        assert!(dropped.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_replaced_session_with_an_open_stream_ends_at_its_deadline() {
        let (session, driver, far) = session().await;
        let device = async {
            let mut connection = h2::server::handshake(far).await.expect("preface");
            let mut open = Vec::new();
            while let Some(Ok(asked)) = connection.accept().await {
                open.push(asked);
            }
        };
        let owner = async {
            let mut sender = session.sender().ready().await.expect("ready");
            let request = http::Request::builder().uri("http://device/").body(()).expect("request");
            let (response, _) = sender.send_request(request, true).expect("sent");
            let begin = Instant::now();
            session.core().stop(Stop::Drain);
            assert!(response.await.is_err());
            begin.elapsed()
        };
        let (ended, (), lasted) = tokio::join!(driver.run(), device, owner);
        assert_eq!(ended.cause, Cause::Drained);
        assert!((OLD_SESSION_MAX..OLD_SESSION_MAX + CLOSE_TIMEOUT * 2).contains(&lasted), "{lasted:?}");
    }
}
