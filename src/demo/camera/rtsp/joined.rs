//! Which POST speaks in which wrapped conversation: the two halves find each other by the player's `x-sessioncookie`.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

/// Pieces that wait to be read by the conversation, each of what one read of a POST brings.
const PIECES: usize = 4;

type Sender = mpsc::Sender<io::Result<Bytes>>;

/// The wrapped conversations by cookie; as many as there are connections at most.
#[derive(Default)]
pub struct Tunnels {
    /// `None` while a POST has the sender.
    inputs: Mutex<HashMap<String, Option<Sender>>>,
    changed: Notify,
}

impl fmt::Debug for Tunnels {
    /// Without the cookies: who knows one may speak in another's conversation.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnels").field("open", &self.inputs().len()).finish_non_exhaustive()
    }
}

impl Tunnels {
    fn inputs(&self) -> MutexGuard<'_, HashMap<String, Option<Sender>>> {
        // Whoever panicked while holding it left the map whole: each change is one call.
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the conversation of a GET; `None` when there is one with this cookie.
    pub(super) fn open(self: &Arc<Self>, cookie: &str) -> Option<(Open, mpsc::Receiver<io::Result<Bytes>>)> {
        let (sender, receiver) = mpsc::channel(PIECES);
        let mut inputs = self.inputs();
        if inputs.contains_key(cookie) {
            return None;
        }
        inputs.insert(cookie.to_owned(), Some(sender));
        self.changed.notify_waiters();
        Some((Open { tunnels: Arc::clone(self), cookie: cookie.to_owned() }, receiver))
    }

    /// Takes the input of a conversation as soon as it is there and free. Cancel safe.
    pub(super) async fn take(self: &Arc<Self>, cookie: &str) -> Lease {
        loop {
            let changed = self.changed.notified();
            if let Some(sender) = self.inputs().get_mut(cookie).and_then(Option::take) {
                return Lease { tunnels: Arc::clone(self), cookie: cookie.to_owned(), sender };
            }
            changed.await;
        }
    }
}

/// A GET's place among the conversations; given back when dropped.
pub(super) struct Open {
    tunnels: Arc<Tunnels>,
    cookie: String,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.tunnels.inputs().remove(&self.cookie);
    }
}

/// A POST's right to speak; given back when dropped, unless the conversation has ended.
pub(super) struct Lease {
    tunnels: Arc<Tunnels>,
    cookie: String,
    /// To the conversation.
    pub(super) sender: Sender,
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A closed one belongs to a conversation before; the cookie may be that of another by now.
        if !self.sender.is_closed()
            && let Some(place) = self.tunnels.inputs().get_mut(&self.cookie)
        {
            *place = Some(self.sender.clone());
            self.tunnels.changed.notify_waiters();
        }
    }
}
