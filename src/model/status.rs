//! What became of the desired set: the board on which runners write and from which status, metrics and Events read.
//!
//! Times are wall-clock, for people. A version counter wakes whoever watches; readers take snapshots.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tokio::sync::watch;

use super::{failure::Failure, streaming::Streaming, uplink::UplinkKey};
use crate::base::activity::Activity;

/// The specification's Status (ONVIF Uplink §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// No session and no attempt under way.
    Offline,
    /// An attempt is under way.
    Connecting,
    /// A session stands: the remote has sent its HTTP/2 preface.
    Online,
}

impl Status {
    /// The word of the specification's text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "Offline",
            Self::Connecting => "Connecting",
            Self::Online => "Online",
        }
    }

    /// The value of the metric `onvif_uplink_state`.
    pub fn as_metric(self) -> i64 {
        match self {
            Self::Offline => 0,
            Self::Connecting => 1,
            Self::Online => 2,
        }
    }
}

/// What TLS came to; for status and troubleshooting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// For example `TLSv1.3`.
    pub version: String,
    /// For example `TLS13_AES_128_GCM_SHA256`.
    pub cipher: String,
    /// For example `X25519MLKEM768`.
    pub group: String,
    /// Whether it goes on from an earlier session's ticket.
    pub resumed: bool,
}

/// The session that an uplink has.
#[derive(Clone, Debug)]
pub struct SessionStatus {
    /// Since when it stands.
    pub since: SystemTime,
    /// Its live counters.
    pub activity: Arc<Activity>,
    /// What TLS came to.
    pub tls: TlsFacts,
}

/// The state of one uplink.
#[derive(Clone, Debug)]
pub struct UplinkStatus {
    /// Offline, Connecting or Online.
    pub status: Status,
    /// Since when it has this status.
    pub since: SystemTime,
    /// Attempts since the last session that lasted; 0 before the first.
    pub attempt: u32,
    /// When the next attempt is due, if one is waited for.
    pub next_attempt: Option<SystemTime>,
    /// Why it is not, or was last not, online. Cleared when a session stands.
    pub error: Option<Failure>,
    /// Why the device does not serve what comes through the uplink, although the uplink may be Online.
    pub device_error: Option<Failure>,
    /// End of the client certificate that was used last.
    pub certificate_expiry: Option<SystemTime>,
    /// The session, when Online.
    pub session: Option<SessionStatus>,
}

impl UplinkStatus {
    /// The state before the first attempt.
    pub fn new() -> Self {
        Self {
            status: Status::Offline,
            since: SystemTime::now(),
            attempt: 0,
            next_attempt: None,
            error: None,
            device_error: None,
            certificate_expiry: None,
            session: None,
        }
    }

    /// Sets the status and, when it is another one, the time.
    pub fn set(&mut self, status: Status) {
        if self.status != status {
            self.status = status;
            self.since = SystemTime::now();
        }
    }
}

impl Default for UplinkStatus {
    fn default() -> Self {
        Self::new()
    }
}

/// What became of the configuration document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigStatus {
    /// Counts accepted documents; 0 while there was none.
    pub generation: u64,
    /// What is wrong with the newest document; it is not in force.
    pub errors: Vec<String>,
    /// What is wrong with Secrets that the document in force names and that are followed over the API, by name; what was read of
    /// them before stays in use.
    pub secrets: BTreeMap<String, String>,
}

/// The state of one device.
#[derive(Clone, Debug, Default)]
pub struct DeviceStatus {
    /// How RTSP reaches it, once it was looked at.
    pub streaming: Option<Streaming>,
}

/// The whole picture at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The configuration.
    pub config: ConfigStatus,
    /// Every uplink of the desired set, and those that still drain.
    pub uplinks: BTreeMap<UplinkKey, UplinkStatus>,
    /// Every device of the desired set, by name.
    pub devices: BTreeMap<String, DeviceStatus>,
}

/// The board. Writers change single entries; readers clone a [`Snapshot`].
#[derive(Debug)]
pub struct StatusBoard {
    state: Mutex<Snapshot>,
    version: watch::Sender<u64>,
}

impl StatusBoard {
    /// An empty board.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), version: watch::Sender::new(0) })
    }

    /// The whole picture now.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().clone()
    }

    /// Whether some uplink is Online.
    pub fn is_any_online(&self) -> bool {
        self.lock().uplinks.values().any(|uplink| uplink.status == Status::Online)
    }

    /// Changes the entry of one uplink; makes it if there is none.
    pub fn update(&self, key: &UplinkKey, change: impl FnOnce(&mut UplinkStatus)) {
        change(self.lock().uplinks.entry(key.clone()).or_default());
        self.changed();
    }

    /// Notes what is wrong, or no longer wrong, at the device of an uplink; nothing if the uplink has no entry.
    pub fn note_device(&self, key: &UplinkKey, error: Option<&Failure>) {
        let mut state = self.lock();
        let Some(entry) = state.uplinks.get_mut(key).filter(|entry| entry.device_error.as_ref() != error) else {
            return;
        };
        entry.device_error = error.cloned();
        drop(state);
        self.changed();
    }

    /// Forgets an uplink.
    pub fn remove(&self, key: &UplinkKey) {
        self.lock().uplinks.remove(key);
        self.changed();
    }

    /// Makes these the devices: new ones have an empty entry, others are forgotten.
    pub fn set_devices<'n>(&self, names: impl Iterator<Item = &'n str>) {
        let mut state = self.lock();
        let mut before = std::mem::take(&mut state.devices);
        state.devices = names.map(|name| (name.to_owned(), before.remove(name).unwrap_or_default())).collect();
        drop(state);
        self.changed();
    }

    /// Changes the entry of one device, if there is one.
    pub fn update_device(&self, name: &str, change: impl FnOnce(&mut DeviceStatus)) {
        if let Some(device) = self.lock().devices.get_mut(name) {
            change(device);
        }
        self.changed();
    }

    /// Changes what is known of the configuration.
    pub fn update_config(&self, change: impl FnOnce(&mut ConfigStatus)) {
        change(&mut self.lock().config);
        self.changed();
    }

    /// Wakes at every change. Changes may be joined: read a snapshot after each wake.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        // A writer that panicked left one entry half written at worst; the board is for reading, so it goes on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{address::RemoteAddress, failure::Cause};

    fn key() -> UplinkKey {
        UplinkKey { device: "camera-1".into(), remote: RemoteAddress::parse("https://cloud/").expect("valid") }
    }

    #[tokio::test]
    async fn a_change_wakes_the_watcher_and_shows_in_the_snapshot() {
        let board = StatusBoard::new();
        let mut watch = board.watch();
        board.update(&key(), |uplink| uplink.error = Some(Failure::new(Cause::Silent, "silent")));
        watch.changed().await.expect("board lives");
        assert_eq!(board.snapshot().uplinks[&key()].error.as_ref().map(|error| error.cause), Some(Cause::Silent));
    }

    #[test]
    fn trouble_at_the_device_is_noted_only_at_uplinks_that_there_are() {
        let (board, failure) = (StatusBoard::new(), Failure::new(Cause::DeviceCredentialsRefused, "refused"));
        board.note_device(&key(), Some(&failure));
        assert!(board.snapshot().uplinks.is_empty());
        board.update(&key(), |_| {});
        board.note_device(&key(), Some(&failure));
        assert_eq!(board.snapshot().uplinks[&key()].device_error, Some(failure));
        board.note_device(&key(), None);
        assert_eq!(board.snapshot().uplinks[&key()].device_error, None);
    }

    #[test]
    fn devices_that_stay_keep_their_entry_and_those_that_went_get_none() {
        let board = StatusBoard::new();
        board.set_devices(["a", "b"].into_iter());
        let none = Streaming::None("not yet");
        board.update_device("a", |device| device.streaming = Some(none.clone()));
        board.set_devices(["a", "c"].into_iter());
        board.update_device("b", |device| device.streaming = Some(none.clone()));
        let devices = board.snapshot().devices;
        assert_eq!(devices.keys().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!((&devices["a"].streaming, &devices["c"].streaming), (&Some(none), &None));
    }

    #[test]
    fn since_moves_only_when_the_status_changes() {
        let mut uplink = UplinkStatus::new();
        uplink.since = SystemTime::UNIX_EPOCH;
        uplink.set(Status::Offline);
        assert_eq!(uplink.since, SystemTime::UNIX_EPOCH);
        uplink.set(Status::Online);
        assert!(uplink.since > SystemTime::UNIX_EPOCH);
    }
}
