//! Which device is reached by which session.
//!
//! The newest session of a device takes new requests. The one before it loses its place here; it ends by itself when its last
//! stream has ended (nobody holds its sender any more), at its deadline at the latest.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use super::session::{Core, Session, Stop};

/// Names that the directory remembers after their session has ended, so that they are answered 503 and not 404.
const KNOWN_MAX: usize = 10_000;
/// Older sessions of one device that may still drain; a device that reconnects in a loop cannot pile them up.
const OLD_MAX: usize = 4;

/// What the directory knows of a name.
#[derive(Debug)]
pub enum Lookup {
    /// A session takes requests.
    Online(Arc<Session>),
    /// The device was connected before.
    Offline,
    /// No such device since the gateway started.
    Unknown,
}

/// All devices; cheap to share.
#[derive(Debug, Default)]
pub struct Directory {
    devices: Mutex<BTreeMap<String, Entry>>,
    /// Bytes of sessions that have ended.
    ended_received: AtomicU64,
    ended_sent: AtomicU64,
}

#[derive(Debug, Default)]
struct Entry {
    current: Option<Arc<Session>>,
    /// Every session of the device that has not ended, the current one included.
    alive: Vec<Arc<Core>>,
    /// When it lost the session that took requests.
    left: Option<SystemTime>,
}

impl Entry {
    /// Takes the place of the current session away if it is `core`.
    fn give_up(&mut self, core: &Arc<Core>) {
        if self.current.take_if(|current| Arc::ptr_eq(current.core(), core)).is_some() {
            self.left = Some(SystemTime::now());
        }
    }
}

impl Directory {
    /// Makes `session` the one that takes new requests of its device. The session before it drains.
    pub fn enter(&self, session: Session) {
        let session = Arc::new(session);
        let core = Arc::clone(session.core());
        let mut devices = self.lock();
        if devices.len() >= KNOWN_MAX
            && !devices.contains_key(&core.device)
            && let Some(name) = devices.iter().find(|(_, entry)| entry.alive.is_empty()).map(|(name, _)| name.clone())
        {
            devices.remove(&name);
        }
        let entry = devices.entry(core.device.clone()).or_default();
        if let Some(older) = entry.current.replace(session) {
            older.core().stop(Stop::Drain);
        }
        entry.alive.push(core);
        if entry.alive.len() > OLD_MAX + 1 {
            entry.alive.remove(0).stop(Stop::Now);
        }
    }

    /// Forgets a session that has ended.
    pub fn leave(&self, core: &Arc<Core>) {
        self.ended_received.fetch_add(core.activity.bytes_received(), Relaxed);
        self.ended_sent.fetch_add(core.activity.bytes_sent(), Relaxed);
        let mut devices = self.lock();
        if let Some(entry) = devices.get_mut(&core.device) {
            entry.alive.retain(|other| !Arc::ptr_eq(other, core));
            entry.give_up(core);
        }
    }

    /// Stops giving requests to a session that takes no more of them.
    pub fn retire(&self, core: &Arc<Core>) {
        if let Some(entry) = self.lock().get_mut(&core.device) {
            entry.give_up(core);
        }
    }

    /// The session of a device. With `any_case`, ASCII case does not count: host names have none.
    pub fn find(&self, device: &str, any_case: bool) -> Lookup {
        let devices = self.lock();
        let entry = devices.get(device).or_else(|| {
            let mut others = devices.iter().filter(|(name, _)| any_case && name.eq_ignore_ascii_case(device));
            // Two names that differ in case only have no common host name.
            others.next().filter(|_| others.next().is_none()).map(|(_, entry)| entry)
        });
        match entry {
            None => Lookup::Unknown,
            Some(Entry { current: Some(session), .. }) => Lookup::Online(Arc::clone(session)),
            Some(_) => Lookup::Offline,
        }
    }

    /// The devices that are online, by name.
    pub fn online(&self) -> Vec<Arc<Core>> {
        self.lock()
            .values()
            .filter_map(|entry| entry.current.as_ref())
            .map(|session| Arc::clone(session.core()))
            .collect()
    }

    /// Devices that were connected and are not, with the time they left, the latest first; `most` of them.
    pub fn offline(&self, most: usize) -> Vec<(String, SystemTime)> {
        let devices = self.lock();
        let mut offline: Vec<_> = devices
            .iter()
            .filter(|(_, entry)| entry.current.is_none())
            .filter_map(|(name, entry)| Some((name.clone(), entry.left?)))
            .collect();
        drop(devices);
        offline.sort_by_key(|(_, left)| std::cmp::Reverse(*left));
        offline.truncate(most);
        offline
    }

    /// Sessions that stand, those that drain included; streams open on them; bytes received and sent since the start.
    pub fn totals(&self) -> Totals {
        let devices = self.lock();
        let mut totals = Totals {
            received: self.ended_received.load(Relaxed),
            sent: self.ended_sent.load(Relaxed),
            ..Totals::default()
        };
        for core in devices.values().flat_map(|entry| &entry.alive) {
            totals.sessions += 1;
            totals.streams += core.activity.streams_open();
            totals.received += core.activity.bytes_received();
            totals.sent += core.activity.bytes_sent();
        }
        totals
    }

    /// Lets every session drain: it ends with its last stream.
    pub fn close(&self) {
        self.lock().values_mut().for_each(|entry| {
            if let Some(session) = entry.current.take() {
                entry.left = Some(SystemTime::now());
                session.core().stop(Stop::Drain);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // Nothing panics while the lock is held.
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sums over all sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions that stand.
    pub sessions: u64,
    /// Streams open.
    pub streams: u64,
    /// Bytes received from devices.
    pub received: u64,
    /// Bytes sent to devices.
    pub sent: u64,
}
