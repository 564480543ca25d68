//! Files that are read again when they changed: the gateway's certificate, key and authorities, and the front token.
//!
//! The next one who needs the value looks, once a second at most, and compares what the files hold: times and sizes may stay the
//! same when a mounted Secret swaps its `..data` link. No task and no watch is needed, and nothing is read while nobody connects.
//! A bad new version leaves the last good one in force.

use std::{
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::Read,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Between two looks at the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A longer file is not compared beyond this: the bound of a Secret.
const COMPARED_MAX: u64 = 1024 * 1024;

/// A hash of each file's content; none for one that cannot be read. The content itself may be a secret.
type Stamp = Vec<Option<u64>>;
type Load<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// A value that comes from files.
pub struct Reloading<T> {
    paths: Vec<PathBuf>,
    load: Load<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: T,
    stamp: Stamp,
    looked: Instant,
}

impl<T: Clone> Reloading<T> {
    /// Loads the value the first time.
    ///
    /// # Errors
    /// The sentence of `load`.
    pub fn new(paths: &[&Path], load: impl Fn() -> Result<T, String> + Send + Sync + 'static) -> Result<Self, String> {
        let paths: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
        // The stamp first: a change while the files are read is then seen by the next look.
        let stamp = stamp(&paths);
        let state = State { value: load()?, stamp, looked: Instant::now() };
        Ok(Self { paths, load: Box::new(load), state: Mutex::new(state) })
    }

    /// The value in force.
    pub fn get(&self) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK_INTERVAL {
            state.looked = Instant::now();
            let stamp = stamp(&self.paths);
            if stamp != state.stamp {
                state.stamp = stamp;
                match (self.load)() {
                    Ok(value) => {
                        state.value = value;
                        tracing::info!(files = ?self.paths, "changed files are in force");
                    }
                    Err(error) => {
                        tracing::warn!(%error, files = ?self.paths, "changed files are not usable; the last good ones stay")
                    }
                }
            }
        }
        state.value.clone()
    }
}

fn stamp(paths: &[PathBuf]) -> Stamp {
    let one = |path: &PathBuf| -> Option<u64> {
        let mut content = Vec::new();
        File::open(path).ok()?.take(COMPARED_MAX).read_to_end(&mut content).ok()?;
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        Some(hasher.finish())
    };
    paths.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_counts_and_a_bad_one_does_not() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("value");
        std::fs::write(&path, "1").expect("written");
        let from = path.clone();
        let value = Reloading::new(&[&path], move || {
            let text = std::fs::read_to_string(&from).map_err(|error| error.to_string())?;
            text.parse::<u32>().map_err(|error| error.to_string())
        })
        .expect("good");
        std::fs::write(&path, "22").expect("written");
        assert_eq!(value.get(), 1);
        tokio::time::advance(LOOK_INTERVAL).await;
        assert_eq!(value.get(), 22);
        std::fs::write(&path, "bad").expect("written");
        tokio::time::advance(LOOK_INTERVAL).await;
        assert_eq!(value.get(), 22);
    }

    #[tokio::test(start_paused = true)]
    async fn a_swapped_link_counts_though_size_and_time_stay() {
        let dir = tempfile::tempdir().expect("directory");
        for (version, text) in [("v1", "1"), ("v2", "2")] {
            std::fs::create_dir(dir.path().join(version)).expect("created");
            let file = dir.path().join(version).join("value");
            std::fs::write(&file, text).expect("written");
            let file = std::fs::File::options().write(true).open(&file).expect("open");
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("set");
        }
        let (data, path) = (dir.path().join("..data"), dir.path().join("..data/value"));
        std::os::unix::fs::symlink("v1", &data).expect("linked");
        let from = path.clone();
        let load = move || std::fs::read_to_string(&from).map_err(|error| error.to_string());
        let value = Reloading::new(&[&path], load).expect("good");
        assert_eq!(value.get(), "1");
        std::os::unix::fs::symlink("v2", dir.path().join("..tmp")).expect("linked");
        std::fs::rename(dir.path().join("..tmp"), &data).expect("renamed");
        tokio::time::advance(LOOK_INTERVAL).await;
        assert_eq!(value.get(), "2");
    }
}
