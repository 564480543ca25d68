//! Metrics of the uplinks (design.md §6), collected at the scrape.
//!
//! Labels come from the configuration only, never from a peer. A series lives while a runner of its uplink lives: the
//! collector holds it weakly, so those of removed uplinks disappear. What the board and the sessions' own counters know
//! is read from there, not kept twice; totals of ended sessions are added, so no counter goes backwards.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::Counter, histogram::Histogram},
    registry::Registry,
};
use tokio::time::Instant;

use crate::{
    base::{activity::Activity, http::StreamKind},
    model::{
        failure::Cause,
        status::{StatusBoard, UplinkStatus},
        uplink::UplinkKey,
    },
};

/// Upper bounds in seconds: from a loopback answer to an hour of video.
const REQUEST_SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0];
/// Upper bounds in seconds: from a session that is dropped at once to a month.
const SESSION_SECONDS: [f64; 9] = [1.0, 10.0, 30.0, 60.0, 600.0, 3600.0, 86_400.0, 604_800.0, 2_592_000.0];

/// Device and remote, as they are shown: the remote without its query. Uplinks that differ in the query only share a series.
type Labels = (String, String);
type LabelPairs<'a> = Vec<(&'static str, &'a str)>;

/// What one uplink has counted.
#[derive(Debug)]
pub struct Series {
    connected: Counter,
    failed: Counter,
    failures: Mutex<BTreeMap<Cause, u64>>,
    requests: Mutex<BTreeMap<&'static str, u64>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    connect_refused: Counter,
    request_seconds: Histogram,
    session_seconds: Histogram,
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    live: Vec<Arc<Activity>>,
    received: u64,
    sent: u64,
    blocked: Blocked,
}

/// How long streams of each kind have waited for the remote's windows.
type Blocked = [Duration; StreamKind::ALL.len()];

fn add_blocked(sum: &mut Blocked, activity: &Activity) {
    for waited in activity.flow().picture().waited {
        sum[waited.kind as usize] += waited.whole();
    }
}

impl Series {
    fn new() -> Self {
        Self {
            connected: Counter::default(),
            failed: Counter::default(),
            failures: Mutex::default(),
            requests: Mutex::default(),
            refused: Mutex::default(),
            connect_refused: Counter::default(),
            request_seconds: Histogram::new(REQUEST_SECONDS),
            session_seconds: Histogram::new(SESSION_SECONDS),
            sessions: Mutex::default(),
        }
    }

    /// Counts an attempt that came to a session.
    pub fn attempt_connected(&self) {
        self.connected.inc();
    }

    /// Counts an attempt that failed.
    pub fn attempt_failed(&self, cause: Cause) {
        self.failed.inc();
        self.failure(cause);
    }

    /// Counts a failure of an attempt or of a session.
    pub fn failure(&self, cause: Cause) {
        *lock(&self.failures).entry(cause).or_default() += 1;
    }

    /// Counts an answered request under the class of its status, or under `canceled`.
    pub fn request(&self, code: &'static str) {
        *lock(&self.requests).entry(code).or_default() += 1;
    }

    /// Counts a request that was refused because of the uplink's user level, under the class of what it asked for.
    pub fn refused(&self, class: &'static str) {
        *lock(&self.refused).entry(class).or_default() += 1;
    }

    /// Counts a CONNECT that the configuration does not allow.
    pub fn connect_refused(&self) {
        self.connect_refused.inc();
    }

    /// Notes how long a request took until the end of its response body.
    pub fn request_ended(&self, seconds: f64) {
        self.request_seconds.observe(seconds);
    }

    /// Counts the bytes of a session while the returned guard lives, and its duration at its end.
    pub fn session(self: &Arc<Self>, activity: Arc<Activity>) -> SessionGuard {
        lock(&self.sessions).live.push(Arc::clone(&activity));
        SessionGuard { series: Arc::clone(self), activity, start: Instant::now() }
    }

    /// Received and sent bytes, and open streams.
    fn traffic(&self) -> (u64, u64, u64) {
        let sessions = lock(&self.sessions);
        let sum = |figure: fn(&Activity) -> u64| sessions.live.iter().map(|activity| figure(activity)).sum::<u64>();
        (
            sessions.received + sum(Activity::bytes_received),
            sessions.sent + sum(Activity::bytes_sent),
            sum(Activity::streams_open),
        )
    }

    fn blocked(&self) -> Blocked {
        let sessions = lock(&self.sessions);
        let mut sum = sessions.blocked;
        sessions.live.iter().for_each(|activity| add_blocked(&mut sum, activity));
        sum
    }
}

/// A session that is being counted.
#[derive(Debug)]
pub struct SessionGuard {
    series: Arc<Series>,
    activity: Arc<Activity>,
    start: Instant,
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let mut sessions = lock(&self.series.sessions);
        sessions.live.retain(|activity| !Arc::ptr_eq(activity, &self.activity));
        sessions.received += self.activity.bytes_received();
        sessions.sent += self.activity.bytes_sent();
        add_blocked(&mut sessions.blocked, &self.activity);
        drop(sessions);
        self.series.session_seconds.observe(self.start.elapsed().as_secs_f64());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Plain figures: whatever a panicking writer left is still a figure.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The metrics of all uplinks.
#[derive(Debug)]
pub struct UplinkMetrics {
    board: Arc<StatusBoard>,
    series: Mutex<BTreeMap<Labels, Weak<Series>>>,
}

impl UplinkMetrics {
    /// Registers the families; they read `board` at each scrape. The registry must have no prefix.
    pub fn register(registry: &mut Registry, board: Arc<StatusBoard>) -> Arc<Self> {
        let metrics = Arc::new(Self { board, series: Mutex::default() });
        registry.register_collector(Box::new(Arc::clone(&metrics)));
        metrics
    }

    /// The series of an uplink: the one that lives, or a new one.
    pub fn series(&self, key: &UplinkKey) -> Arc<Series> {
        let mut all = lock(&self.series);
        all.retain(|_, series| series.strong_count() > 0);
        let slot = all.entry(labels(key)).or_default();
        slot.upgrade().unwrap_or_else(|| {
            let series = Arc::new(Series::new());
            *slot = Arc::downgrade(&series);
            series
        })
    }

    fn living(&self) -> Vec<(Labels, Arc<Series>)> {
        lock(&self.series).iter().filter_map(|(labels, series)| Some((labels.clone(), series.upgrade()?))).collect()
    }

    fn encode_board(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        let board: BTreeMap<_, _> =
            self.board.snapshot().uplinks.into_iter().map(|(key, status)| (labels(&key), status)).collect();
        let mut gauge = |name: &str, help: &str, value: fn(&UplinkStatus) -> Option<f64>| {
            let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, status) in &board {
                if let Some(value) = value(status) {
                    family.encode_family(&pairs(labels, &[]))?.encode_gauge(&value)?;
                }
            }
            Ok(())
        };
        gauge("state", "0 Offline, 1 Connecting, 2 Online", |status| Some(status.status.as_metric() as f64))?;
        gauge("session_age_seconds", "Age of the current session", |status| {
            Some(SystemTime::now().duration_since(status.session.as_ref()?.since).ok()?.as_secs_f64())
        })?;
        gauge("certificate_expiry_timestamp_seconds", "End of the client certificate, Unix time", |status| {
            Some(status.certificate_expiry?.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64())
        })?;
        let help = "1 while the device does not accept what is sent for the uplink";
        let mut family = out.encode_descriptor("device_failure", help, None, MetricType::Gauge)?;
        for (labels, status) in &board {
            if let Some(error) = &status.device_error {
                family.encode_family(&pairs(labels, &[("cause", error.cause.as_str())]))?.encode_gauge(&1)?;
            }
        }
        Ok(())
    }

    fn encode_connections(out: &mut DescriptorEncoder, all: &[(Labels, Arc<Series>)]) -> fmt::Result {
        let mut family = counter(out, "connection_attempts", "Attempts to connect, by outcome")?;
        for (labels, series) in all {
            count(&mut family, labels, ("outcome", "connected"), series.connected.get())?;
            count(&mut family, labels, ("outcome", "failed"), series.failed.get())?;
        }
        let mut family = counter(out, "connection_failures", "Failures of attempts and sessions, by cause")?;
        for (labels, series) in all {
            for (cause, value) in lock(&series.failures).iter() {
                count(&mut family, labels, ("cause", cause.as_str()), *value)?;
            }
        }
        histogram(out, "session_duration_seconds", "Duration of ended sessions", all, |s| &s.session_seconds)
    }

    fn encode_traffic(out: &mut DescriptorEncoder, all: &[(Labels, Arc<Series>)]) -> fmt::Result {
        let mut family = counter(out, "requests", "Answered requests, by class of the status code")?;
        for (labels, series) in all {
            for (code, value) in lock(&series.requests).iter() {
                count(&mut family, labels, ("code", code), *value)?;
            }
        }
        let mut family = counter(out, "refused", "Requests that the user level does not allow, by access class")?;
        for (labels, series) in all {
            for (class, value) in lock(&series.refused).iter() {
                count(&mut family, labels, ("class", class), *value)?;
            }
        }
        let mut family = counter(out, "connect_refused", "CONNECT requests that the configuration does not allow")?;
        for (labels, series) in all {
            family
                .encode_family(&pairs(labels, &[]))?
                .encode_counter::<LabelPairs, u64, f64>(&series.connect_refused.get(), None)?;
        }
        let help = "Time from a request to the end of its response body";
        histogram(out, "request_duration_seconds", help, all, |series| &series.request_seconds)?;
        let mut family = counter(out, "bytes", "HTTP/2 bytes, by direction")?;
        for (labels, series) in all {
            let (received, sent, _) = series.traffic();
            count(&mut family, labels, ("direction", "received"), received)?;
            count(&mut family, labels, ("direction", "sent"), sent)?;
        }
        let help = "Time that streams have waited for the remote's flow control, by what they carry";
        let mut family = counter(out, "send_blocked_seconds", help)?;
        for (labels, series) in all {
            for (kind, blocked) in StreamKind::ALL.iter().zip(series.blocked()) {
                let pairs = pairs(labels, &[("kind", kind.as_str())]);
                let seconds = blocked.as_secs_f64();
                family.encode_family(&pairs)?.encode_counter::<LabelPairs, f64, f64>(&seconds, None)?;
            }
        }
        let mut family = out.encode_descriptor("streams_open", "Streams open now", None, MetricType::Gauge)?;
        for (labels, series) in all {
            family.encode_family(&pairs(labels, &[]))?.encode_gauge(&series.traffic().2)?;
        }
        Ok(())
    }
}

impl Collector for UplinkMetrics {
    fn encode(&self, mut out: DescriptorEncoder) -> fmt::Result {
        let all = self.living();
        self.encode_board(&mut out)?;
        Self::encode_connections(&mut out, &all)?;
        Self::encode_traffic(&mut out, &all)
    }
}

fn labels(key: &UplinkKey) -> Labels {
    (key.device.clone(), key.remote.to_string())
}

fn pairs<'a>(labels: &'a Labels, more: &[(&'static str, &'a str)]) -> LabelPairs<'a> {
    let mut pairs = vec![("device", labels.0.as_str()), ("remote", labels.1.as_str())];
    pairs.extend_from_slice(more);
    pairs
}

fn counter<'a>(out: &'a mut DescriptorEncoder, name: &'a str, help: &str) -> Result<MetricEncoder<'a>, fmt::Error> {
    out.encode_descriptor(name, help, None, MetricType::Counter)
}

fn count(family: &mut MetricEncoder, labels: &Labels, label: (&'static str, &str), value: u64) -> fmt::Result {
    let pairs = pairs(labels, &[label]);
    family.encode_family(&pairs)?.encode_counter::<LabelPairs, u64, f64>(&value, None)
}

fn histogram(
    out: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    all: &[(Labels, Arc<Series>)],
    of: fn(&Series) -> &Histogram,
) -> fmt::Result {
    let mut family = out.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (labels, series) in all {
        of(series).encode(family.encode_family(&pairs(labels, &[]))?)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
