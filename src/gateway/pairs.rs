//! RTSP over HTTP: both halves of a pair go by the same session of the device, also when a newer one has come up meanwhile,
//! because the device matches them within one session (ONVIF Uplink, RTSP over HTTP).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    deliver::{self, NoAnswer},
    directory::Directory,
    session::Session,
};

/// The halves that are open. There is an entry for each connection at most, so their bound is that of the connections.
#[derive(Debug, Default)]
pub struct Pairs(Mutex<HashMap<Key, Entry>>);

/// The name of the device as the client wrote it, and the cookie.
type Key = (String, String);

#[derive(Debug)]
struct Entry {
    session: Arc<Session>,
    halves: usize,
}

/// One half that is open; the pair is forgotten with its last half.
#[derive(Debug)]
pub struct Held {
    pairs: Arc<Pairs>,
    key: Key,
    /// The session of the pair.
    pub session: Arc<Session>,
}

impl Pairs {
    /// The session for a half: that of the other half, else the one that takes the device's requests now.
    ///
    /// # Errors
    /// As [`deliver::session`].
    pub fn hold(
        self: &Arc<Self>,
        directory: &Directory,
        device: &str,
        any_case: bool,
        cookie: &str,
    ) -> Result<Held, NoAnswer> {
        let key = (device.to_owned(), cookie.to_owned());
        let mut pairs = self.lock();
        let session = match pairs.get_mut(&key) {
            Some(entry) => {
                entry.halves += 1;
                Arc::clone(&entry.session)
            }
            None => {
                let session = deliver::session(directory, device, any_case)?;
                pairs.insert(key.clone(), Entry { session: Arc::clone(&session), halves: 1 });
                session
            }
        };
        drop(pairs);
        Ok(Held { pairs: Arc::clone(self), key, session })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut pairs = self.pairs.lock();
        if let Some(entry) = pairs.get_mut(&self.key) {
            entry.halves -= 1;
            if entry.halves == 0 {
                pairs.remove(&self.key);
            }
        }
    }
}
