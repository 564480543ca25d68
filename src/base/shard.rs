//! Shards: operating-system threads with a current-thread runtime each.
//!
//! An uplink, its streams and its loopback connections live on one shard, so that a byte never wakes another thread: with
//! a work-stealing runtime the same path cost 18 000 eventfd writes and 37 000 futex calls per GiB. One shard is the
//! default, more by a flag; what belongs together is spawned on the same shard by a hash of its key.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    num::NonZeroUsize,
    thread,
};

use tokio::{runtime, sync::oneshot, task::JoinHandle};

/// Threads of a shard for file reads and name resolution. A thousand uplinks that start at once queue there; more threads
/// would only cost memory, each with an allocator arena of its own.
const BLOCKING_THREADS: usize = 8;

/// The shards of a process. Dropping it stops every shard: what still runs there is aborted, then the threads are joined.
#[derive(Debug)]
pub struct Shards {
    shards: Vec<Shard>,
}

impl Shards {
    /// Starts `count` shards; `name` begins the name of each thread (at most 15 characters are kept by the kernel).
    ///
    /// # Errors
    /// When the operating system refuses a thread or the runtime its event queue.
    pub fn start(name: &str, count: NonZeroUsize) -> io::Result<Self> {
        let shards =
            (0..count.get()).map(|index| Shard::start(format!("{name}-{index}"))).collect::<io::Result<_>>()?;
        Ok(Self { shards })
    }

    /// The shard on which everything that belongs to `key` lives.
    pub fn pick(&self, key: &impl Hash) -> ShardHandle {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        self.nth(hasher.finish() as usize)
    }

    /// The shard number `index` modulo the count of shards.
    pub fn nth(&self, index: usize) -> ShardHandle {
        ShardHandle(self.shards[index % self.shards.len()].handle.clone())
    }
}

/// Spawns on one shard; cheap to clone.
#[derive(Clone, Debug)]
pub struct ShardHandle(runtime::Handle);

impl ShardHandle {
    /// Runs `future` on the shard. Whoever spawns keeps the handle: it is how the end is seen.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.spawn(future)
    }

    /// The shard that the caller runs on.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn current() -> Self {
        Self(runtime::Handle::current())
    }
}

#[derive(Debug)]
struct Shard {
    handle: runtime::Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Shard {
    fn start(name: String) -> io::Result<Self> {
        let runtime =
            runtime::Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name(name).spawn(move || {
            // Either the owner says stop or it is gone: both end the shard.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a shard thread panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_always_lands_on_the_same_thread() {
        let shards = Shards::start("test", NonZeroUsize::new(3).expect("not zero")).expect("threads");
        let name = |key: &str| {
            let task = shards.pick(&key).spawn(async { thread::current().name().map(str::to_owned) });
            runtime::Builder::new_current_thread().build().expect("runtime").block_on(task).expect("ran")
        };
        assert_eq!(name("camera-1"), name("camera-1"));
        assert!(name("camera-1").expect("named").starts_with("test-"));
    }
}
