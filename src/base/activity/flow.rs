//! What the peer's flow control gives (RFC 9113 §5.2, §6.9), and how long streams of each kind have waited for it.
//!
//! Windows are read off the wire as frames pass, because the HTTP/2 library does not tell them. A stall is a stream that has
//! something to send and may not: the clock is read at its begin and its end only, so a stream that flows costs nothing.
//! Which window was used up is told by the connection's own ledger: a stall during which the connection's window was empty is
//! the connection's, any other the stream's.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::base::http::StreamKind;

/// Both windows before anything else was said (RFC 9113 §6.9.2), bytes.
const WINDOW_DEFAULT: u64 = 65_535;

/// Which window a stall waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// That of the stream: its reader does not keep up.
    Stream,
    /// That of the connection: no stream of the session may send.
    Connection,
}

impl Window {
    /// The word for status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Connection => "connection",
        }
    }
}

/// The flow control of one session in the direction to the peer.
#[derive(Debug)]
pub struct Flow {
    started: Instant,
    /// SETTINGS_INITIAL_WINDOW_SIZE of the peer.
    stream_window: AtomicU64,
    /// The largest window of the connection that was seen open.
    connection_window: AtomicU64,
    /// Bytes of DATA that the connection may ever have carried up to now, and has carried.
    granted: AtomicU64,
    sent: AtomicU64,
    /// How often the connection's window came back from nothing.
    refilled: AtomicU64,
    /// 0 while unknown.
    round_trip_micros: AtomicU64,
    stalls: Mutex<Stalls>,
}

#[derive(Debug, Default)]
struct Stalls {
    last: u64,
    now: BTreeMap<u64, Open>,
    ended: [[Duration; 2]; StreamKind::ALL.len()],
}

#[derive(Clone, Copy, Debug)]
struct Open {
    kind: StreamKind,
    since: Instant,
    refilled: u64,
}

/// A stream that waits for the peer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What the stream carries.
    pub kind: StreamKind,
    /// What it waits for.
    pub window: Window,
    /// For how long.
    pub lasted: Duration,
}

/// How long streams of one kind have waited since the start, those that wait now included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// What the streams carry.
    pub kind: StreamKind,
    /// For windows of streams.
    pub stream: Duration,
    /// For the window of the connection.
    pub connection: Duration,
}

impl Waited {
    /// For either window.
    pub fn whole(&self) -> Duration {
        self.stream + self.connection
    }
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// From our SETTINGS to their acknowledgement, or of the last PING; `None` before either.
    pub round_trip: Option<Duration>,
    /// What the peer gives to a stream, bytes.
    pub stream_window: u64,
    /// What the peer gives to the connection, bytes: the largest that was seen open.
    pub connection_window: u64,
    /// The streams that wait, longest first.
    pub waiting: Vec<Waiting>,
    /// Each kind, in the order of [`StreamKind::ALL`].
    pub waited: Vec<Waited>,
}

impl Flow {
    pub(super) fn start() -> Self {
        Self {
            started: Instant::now(),
            stream_window: AtomicU64::new(WINDOW_DEFAULT),
            connection_window: AtomicU64::new(WINDOW_DEFAULT),
            granted: AtomicU64::new(WINDOW_DEFAULT),
            sent: AtomicU64::new(0),
            refilled: AtomicU64::new(0),
            round_trip_micros: AtomicU64::new(0),
            stalls: Mutex::default(),
        }
    }

    /// Notes the peer's SETTINGS_INITIAL_WINDOW_SIZE.
    pub fn stream_window(&self, bytes: u32) {
        self.stream_window.store(u64::from(bytes), Relaxed);
    }

    /// Notes a WINDOW_UPDATE of the connection.
    pub fn connection_update(&self, bytes: u32) {
        let left = self.left();
        if left == 0 {
            self.refilled.fetch_add(1, Relaxed);
        }
        self.granted.fetch_add(u64::from(bytes), Relaxed);
        self.connection_window.fetch_max(left + u64::from(bytes), Relaxed);
    }

    /// Notes DATA that was written, padding included.
    pub fn data_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    /// Notes that the peer has acknowledged our first SETTINGS, which went out at the start.
    pub fn settings_acknowledged(&self) {
        if self.round_trip_micros.load(Relaxed) == 0 {
            self.measured(self.started.elapsed());
        }
    }

    /// Notes a round trip that was measured.
    pub fn measured(&self, round_trip: Duration) {
        // Less than a microsecond is one: 0 means that nothing is known.
        self.round_trip_micros.store((round_trip.as_micros() as u64).max(1), Relaxed);
    }

    /// The last round trip; `None` before the first. An upper bound: the peer's own time is in it.
    pub fn round_trip(&self) -> Option<Duration> {
        let micros = self.round_trip_micros.load(Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    /// A stream begins to wait; dropping the guard ends it.
    pub fn stall(&self, kind: StreamKind) -> Stall<'_> {
        let mut stalls = self.lock();
        stalls.last += 1;
        let number = stalls.last;
        stalls.now.insert(number, Open { kind, since: Instant::now(), refilled: self.refilled.load(Relaxed) });
        Stall { flow: self, number }
    }

    /// Everything now.
    pub fn picture(&self) -> Picture {
        let now = Instant::now();
        let stalls = self.lock();
        let mut waited = stalls.ended;
        let mut waiting: Vec<_> = stalls.now.values().map(|open| self.waiting(open, now)).collect();
        drop(stalls);
        for stall in &waiting {
            waited[stall.kind as usize][stall.window as usize] += stall.lasted;
        }
        waiting.sort_by_key(|stall| std::cmp::Reverse(stall.lasted));
        let waited = StreamKind::ALL
            .iter()
            .map(|kind| {
                let [stream, connection] = waited[*kind as usize];
                Waited { kind: *kind, stream, connection }
            })
            .collect();
        Picture {
            round_trip: self.round_trip(),
            stream_window: self.stream_window.load(Relaxed),
            connection_window: self.connection_window.load(Relaxed),
            waiting,
            waited,
        }
    }

    fn waiting(&self, open: &Open, now: Instant) -> Waiting {
        let empty = self.left() == 0 || self.refilled.load(Relaxed) != open.refilled;
        let window = if empty { Window::Connection } else { Window::Stream };
        Waiting { kind: open.kind, window, lasted: now.saturating_duration_since(open.since) }
    }

    /// What the connection's window has left.
    fn left(&self) -> u64 {
        self.granted.load(Relaxed).saturating_sub(self.sent.load(Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Stalls> {
        // Plain figures: whatever a panicking writer left is still a figure.
        self.stalls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream waits while this lives.
#[derive(Debug)]
pub struct Stall<'a> {
    flow: &'a Flow,
    number: u64,
}

impl Drop for Stall<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut stalls = self.flow.lock();
        if let Some(open) = stalls.now.remove(&self.number) {
            let ended = self.flow.waiting(&open, now);
            stalls.ended[ended.kind as usize][ended.window as usize] += ended.lasted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn waited(flow: &Flow, kind: StreamKind) -> (Duration, Duration) {
        let picture = flow.picture();
        let waited = picture.waited.iter().find(|waited| waited.kind == kind).expect("every kind");
        (waited.stream, waited.connection)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_counts_for_its_kind_while_it_lasts_and_after() {
        let flow = Flow::start();
        let stall = flow.stall(StreamKind::Stream);
        tokio::time::advance(SECOND).await;
        assert_eq!(
            flow.picture().waiting,
            [Waiting { kind: StreamKind::Stream, window: Window::Stream, lasted: SECOND }]
        );
        assert_eq!(waited(&flow, StreamKind::Stream), (SECOND, Duration::ZERO));
        drop(stall);
        tokio::time::advance(SECOND).await;
        assert!(flow.picture().waiting.is_empty());
        assert_eq!(waited(&flow, StreamKind::Stream), (SECOND, Duration::ZERO));
        assert_eq!(waited(&flow, StreamKind::Request), (Duration::ZERO, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_with_an_empty_connection_is_the_connections_even_when_it_ends_by_a_new_window() {
        let flow = Flow::start();
        let stall = flow.stall(StreamKind::Rtsp);
        flow.data_sent(65_535);
        tokio::time::advance(SECOND).await;
        assert_eq!(flow.picture().waiting[0].window, Window::Connection);
        flow.connection_update(1000);
        drop(stall);
        assert_eq!(waited(&flow, StreamKind::Rtsp), (Duration::ZERO, SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_with_room_in_the_connection_is_the_streams() {
        let flow = Flow::start();
        flow.data_sent(65_535);
        flow.connection_update(1 << 20);
        drop(flow.stall(StreamKind::Stream));
        let stall = flow.stall(StreamKind::Stream);
        flow.data_sent(65_535);
        flow.connection_update(65_535);
        tokio::time::advance(SECOND).await;
        drop(stall);
        assert_eq!(waited(&flow, StreamKind::Stream), (SECOND, Duration::ZERO));
        assert_eq!(flow.picture().connection_window, 1 << 20);
    }

    #[tokio::test(start_paused = true)]
    async fn the_round_trip_is_that_of_the_first_settings_until_a_ping_tells_a_newer_one() {
        let flow = Flow::start();
        assert_eq!(flow.round_trip(), None);
        tokio::time::advance(Duration::from_millis(80)).await;
        flow.settings_acknowledged();
        tokio::time::advance(SECOND).await;
        flow.settings_acknowledged();
        assert_eq!(flow.round_trip(), Some(Duration::from_millis(80)));
        flow.measured(Duration::from_millis(40));
        assert_eq!(flow.round_trip(), Some(Duration::from_millis(40)));
    }
}
