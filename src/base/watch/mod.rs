//! Watched files: tells its subscribers when the content of a file has changed.
//!
//! Mounted ConfigMaps and Secrets are replaced by renaming a symlink (`..data`) beside the file, editors rename a new file
//! over the old one: a watch on the file itself goes deaf after the first update. So the *directories* are watched, any
//! event there restarts one short timer, and then the files are read and compared by content. What the operating system
//! does not report is found by a slow re-read; when it has no watches left, a faster one takes over.

mod bell;
mod content;
mod directories;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

pub use self::content::MAX_FILE_BYTES;
use self::{
    bell::Bell,
    content::{Content, Stamp},
    directories::Directories,
};
use super::tasks::Tasks;

/// How long and how often; the defaults are the product's, tests may be quicker.
#[derive(Clone, Copy, Debug)]
pub struct WatchOptions {
    /// A burst of events is over when this long nothing happened.
    pub debounce: Duration,
    /// A burst that does not end is looked at after this long, so endless writes cannot hide a change.
    pub debounce_cap: Duration,
    /// Re-read that finds what no event reported.
    pub backstop: Duration,
    /// Re-read while a directory cannot be watched.
    pub poll: Duration,
    /// Whether the operating system is asked at all; `false` polls.
    pub os_events: bool,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            debounce: Duration::from_millis(250),
            debounce_cap: Duration::from_secs(1),
            backstop: Duration::from_secs(30),
            poll: Duration::from_secs(2),
            os_events: true,
        }
    }
}

/// Watches files for the whole process. Dropping it ends the watching; the receivers then report that it is gone.
pub struct FileWatcher {
    shared: Arc<Shared>,
    _tasks: Tasks,
}

/// What the subscribers, the task and the thread of the operating system's events share.
struct Shared {
    /// Rung by events and by new subscriptions.
    bell: Arc<Bell>,
    /// Subscriptions that the task has not taken over yet.
    arrivals: Mutex<Vec<Subscription>>,
    /// What is watched. Only the blocking look holds the lock, and never two at once.
    watched: Mutex<Watched>,
}

struct Subscription {
    files: Vec<(PathBuf, Baseline)>,
    changed: watch::Sender<u64>,
}

/// What a subscriber knows of a file.
enum Baseline {
    /// Not read yet; what the file looked like when it was subscribed to.
    Stamp(Stamp),
    /// Read.
    Content(Content),
}

struct Watched {
    subscriptions: Vec<Subscription>,
    directories: Directories,
}

impl FileWatcher {
    /// Starts to watch. Must be called within a tokio runtime with time enabled.
    pub fn start() -> Arc<Self> {
        Self::start_with(WatchOptions::default())
    }

    /// The same with other times.
    pub fn start_with(options: WatchOptions) -> Arc<Self> {
        let bell = Arc::new(Bell::default());
        let watched =
            Watched { subscriptions: Vec::new(), directories: Directories::new(options.os_events, Arc::clone(&bell)) };
        let shared = Arc::new(Shared { bell, arrivals: Mutex::default(), watched: Mutex::new(watched) });
        let mut tasks = Tasks::new();
        tasks.spawn("file-watcher", watch(Arc::clone(&shared), options));
        Arc::new(Self { shared, _tasks: tasks })
    }

    /// A value that changes whenever the content of one of `files` has changed: it was replaced, appeared or vanished. A
    /// change from this call on is reported, at times one more (a touched file shortly after the call). Files need not
    /// exist, nor their directories. Dropping the receiver ends the subscription at the next look.
    pub fn subscribe(&self, files: &[PathBuf]) -> watch::Receiver<u64> {
        let (changed, receiver) = watch::channel(0);
        let files = files.iter().map(|file| (file.clone(), Baseline::Stamp(Stamp::of(file)))).collect();
        lock(&self.shared.arrivals).push(Subscription { files, changed });
        self.shared.bell.arrival.notify_one();
        receiver
    }

    /// Looks now, without waiting for an event or a timer.
    pub fn look(&self) {
        self.shared.bell.arrival.notify_one();
    }
}

impl std::fmt::Debug for FileWatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileWatcher").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held leaves at worst one subscriber without its baseline; watching goes on.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn watch(shared: Arc<Shared>, options: WatchOptions) {
    let mut pause = options.backstop;
    loop {
        tokio::select! {
            () = shared.bell.event.notified() => settled(&shared.bell.event, &options).await,
            () = shared.bell.arrival.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        let looking = Arc::clone(&shared);
        // Files may lie on a slow disk: never on the thread of an uplink.
        pause = match tokio::task::spawn_blocking(move || look(&looking)).await {
            Ok(true) => options.backstop,
            Ok(false) => options.poll,
            Err(error) if error.is_panic() => {
                tracing::error!(%error, "looking at watched files panicked; this is a defect of onvif-uplink");
                options.poll
            }
            Err(_) => return,
        };
    }
}

/// Waits until nothing happened for the debounce time, or for the cap.
async fn settled(event: &Notify, options: &WatchOptions) {
    let cap = Instant::now() + options.debounce_cap;
    loop {
        let quiet = (Instant::now() + options.debounce).min(cap);
        tokio::select! {
            () = tokio::time::sleep_until(quiet) => return,
            () = event.notified() => {}
        }
    }
}

/// Takes over new subscriptions, drops those that nobody reads, reads all files once and reports what changed. Returns
/// whether the operating system reports the changes of all of them.
fn look(shared: &Shared) -> bool {
    let mut watched = lock(&shared.watched);
    let Watched { subscriptions, directories } = &mut *watched;
    subscriptions.append(&mut lock(&shared.arrivals));
    subscriptions.retain(|subscription| !subscription.changed.is_closed());
    // First watch, then read: what changes in between rings again.
    let complete = directories.watch(subscriptions.iter().flat_map(|one| &one.files).map(|(file, _)| file.as_path()));
    let mut read = HashMap::new();
    for subscription in subscriptions {
        let mut changed = false;
        for (file, baseline) in &mut subscription.files {
            let content = read.entry(file.clone()).or_insert_with(|| Content::of(file)).clone();
            changed |= match baseline {
                Baseline::Stamp(stamp) => *stamp != Stamp::of(file),
                Baseline::Content(before) => *before != content,
            };
            *baseline = Baseline::Content(content);
        }
        if changed {
            subscription.changed.send_modify(|count| *count += 1);
        }
    }
    complete
}

#[cfg(test)]
mod tests;
