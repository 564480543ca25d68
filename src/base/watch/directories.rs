//! The directories whose events tell that a file may have changed, watched with the means of the operating system.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::ModifyKind};

use super::{bell::Bell, content::Inode};

/// The watched directories. One watcher for all: inotify instances are few (128 for a user on a node).
pub(super) struct Directories {
    os_events: bool,
    bell: Arc<Bell>,
    /// Something was removed or renamed: it may have been a watched directory, whose watch is then deaf.
    moved: Arc<AtomicBool>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, Inode>,
    warned: bool,
}

impl Directories {
    /// No directories. Without `os_events` none is ever watched.
    pub(super) fn new(os_events: bool, bell: Arc<Bell>) -> Self {
        Self { os_events, bell, moved: Arc::default(), watcher: None, watched: BTreeMap::new(), warned: false }
    }

    /// Watches what `files` need and nothing else. Returns whether all of it is watched; if not, one has to poll.
    pub(super) fn watch<'a>(&mut self, files: impl Iterator<Item = &'a Path>) -> bool {
        if !self.os_events {
            return false;
        }
        let wanted: BTreeSet<PathBuf> = files.collect::<BTreeSet<_>>().into_iter().flat_map(directories_of).collect();
        if wanted.is_empty() {
            self.watched.clear();
            self.watcher = None;
            return true;
        }
        let moved = self.moved.swap(false, SeqCst);
        if !self.ensure_watcher() {
            return false;
        }
        let Some(watcher) = self.watcher.as_mut() else { return false };
        let mut keep = BTreeMap::new();
        let mut failed = None;
        for (path, inode) in wanted.iter().filter_map(|path| Some((path, inode(path)?))) {
            if !moved && self.watched.get(path) == Some(&inode) {
                keep.insert(path.clone(), inode);
                continue;
            }
            if self.watched.contains_key(path) {
                // Deaf or not: the watch of the directory that had this name before. It fails when that is gone.
                let _ = watcher.unwatch(path);
            }
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    keep.insert(path.clone(), inode);
                }
                Err(error) => failed = Some((path.clone(), error)),
            }
        }
        for path in self.watched.keys().filter(|path| !wanted.contains(*path)) {
            let _ = watcher.unwatch(path);
        }
        self.watched = keep;
        if let Some((path, error)) = failed {
            self.warn(&format!("{} cannot be watched: {error}", path.display()));
        }
        self.watched.len() == wanted.len()
    }

    /// Makes the watcher if there is none. Returns whether there is one.
    fn ensure_watcher(&mut self) -> bool {
        if self.watcher.is_none() {
            let (bell, moved) = (Arc::clone(&self.bell), Arc::clone(&self.moved));
            let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.as_ref().is_ok_and(|event| event.kind.is_access()) {
                    return;
                }
                if event.map_or(true, |event| event.need_rescan() || may_deafen(event.kind)) {
                    moved.store(true, SeqCst);
                }
                bell.event.notify_one();
            });
            match made {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => self.warn(&format!("files cannot be watched: {error}")),
            }
            self.watched.clear();
        }
        self.watcher.is_some()
    }

    fn warn(&mut self, what: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!("{what}; changed files are found by reading them again and again (raise fs.inotify limits)");
        }
    }

    /// How many directories are watched now.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.watched.len()
    }
}

fn may_deafen(kind: EventKind) -> bool {
    matches!(kind, EventKind::Any | EventKind::Other | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
}

fn inode(path: &Path) -> Option<Inode> {
    std::fs::metadata(path).ok().map(|found| Inode::of(&found))
}

/// The directories in which a change of `file` shows: its own, that of each symlink on the way to it, and that in which it
/// lies in the end. Of one that does not exist the nearest that does.
fn directories_of(file: &Path) -> BTreeSet<PathBuf> {
    // A relative path of one part has the empty path as its parent.
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let is_link = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    let links = file.ancestors().filter(|path| is_link(path)).filter_map(Path::parent);
    let end = std::fs::canonicalize(&file).ok();
    let ends = end.as_deref().and_then(Path::parent);
    file.parent().into_iter().chain(links).chain(ends).filter_map(nearest_existing).collect()
}

fn nearest_existing(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|ancestor| ancestor.is_dir()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_needs_its_own_directory_and_those_of_the_links_that_lead_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("mount/..1")).unwrap();
        std::fs::write(root.join("mount/..1/a.yaml"), "").unwrap();
        std::os::unix::fs::symlink("..1", root.join("mount/..data")).unwrap();
        std::os::unix::fs::symlink("..data/a.yaml", root.join("mount/a.yaml")).unwrap();
        std::os::unix::fs::symlink("mount", root.join("current")).unwrap();
        let found = directories_of(&root.join("current/a.yaml"));
        assert_eq!(found, [root.clone(), root.join("current"), root.join("mount/..1")].into());
    }

    #[test]
    fn of_a_directory_that_does_not_exist_the_nearest_that_does_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(directories_of(&dir.path().join("not/yet/a.yaml")), [dir.path().to_owned()].into());
    }

    #[test]
    fn directories_that_nobody_needs_any_more_are_released() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = [one.path().join("a"), two.path().join("b"), two.path().join("c")];
        let mut directories = Directories::new(true, Arc::default());
        assert!(directories.watch(files.iter().map(PathBuf::as_path)));
        assert_eq!(directories.len(), 2);
        assert!(directories.watch(files[1..2].iter().map(PathBuf::as_path)));
        assert_eq!(directories.len(), 1);
        assert!(directories.watch(std::iter::empty()));
        assert!(directories.watcher.is_none());
    }

    #[test]
    fn without_the_events_of_the_operating_system_one_has_to_poll() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Directories::new(false, Arc::default()).watch([dir.path().join("a").as_path()].into_iter()));
    }
}
