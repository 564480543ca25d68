//! The ways in which files are replaced in the field, each on a real directory with real events, and again by polling.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::*;

/// Long enough for a loaded machine; a test that needs it is about to fail.
const PATIENCE: Duration = Duration::from_secs(20);

fn quick(os_events: bool) -> Arc<FileWatcher> {
    let (backstop, poll) = if os_events { (600_000, 600_000) } else { (20, 20) };
    FileWatcher::start_with(WatchOptions {
        debounce: Duration::from_millis(20),
        debounce_cap: Duration::from_millis(100),
        backstop: Duration::from_millis(backstop),
        poll: Duration::from_millis(poll),
        os_events,
    })
}

/// Waits for a report after which `file` holds `text`. Reports may be joined or come one too many, but none may be missing.
async fn reported(changes: &mut watch::Receiver<u64>, file: &Path, text: Option<&str>) {
    let wait = async {
        loop {
            changes.changed().await.expect("the watcher lives");
            if fs::read_to_string(file).ok().as_deref() == text {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the change is reported");
}

/// Waits until the watcher has taken over what was subscribed to before.
async fn taken_over(watcher: &FileWatcher) {
    let wait = async {
        loop {
            let idle = lock(&watcher.shared.arrivals).is_empty();
            if idle && watcher.shared.watched.try_lock().is_ok() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the watcher looks");
}

/// What kubelet does on each update of a mounted ConfigMap or Secret.
fn publish(mount: &Path, version: &str, key: &str, text: &str) {
    let old = fs::read_link(mount.join("..data")).ok();
    fs::create_dir(mount.join(version)).unwrap();
    fs::write(mount.join(version).join(key), text).unwrap();
    symlink(version, mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    if !mount.join(key).is_symlink() {
        symlink(Path::new("..data").join(key), mount.join(key)).unwrap();
    }
    if let Some(old) = old {
        fs::remove_dir_all(mount.join(old)).unwrap();
    }
}

fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

async fn a_mounted_config_map_is_followed(watcher: Arc<FileWatcher>) {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), "..1", "a.yaml", "1");
    let file = dir.path().join("a.yaml");
    let mut changes = watcher.subscribe(std::slice::from_ref(&file));
    for version in 2..6 {
        taken_over(&watcher).await;
        publish(dir.path(), &format!("..{version}"), "a.yaml", &version.to_string());
        reported(&mut changes, &file, Some(&version.to_string())).await;
    }
}

async fn a_plain_file_is_followed(watcher: Arc<FileWatcher>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    fs::write(&file, "first").unwrap();
    let mut changes = watcher.subscribe(std::slice::from_ref(&file));
    taken_over(&watcher).await;
    for text in ["renamed 1", "renamed 2"] {
        replace(&file, text);
        reported(&mut changes, &file, Some(text)).await;
    }
    for text in ["written in place 1", "written in place 2"] {
        fs::write(&file, text).unwrap();
        reported(&mut changes, &file, Some(text)).await;
    }
    fs::remove_file(&file).unwrap();
    reported(&mut changes, &file, None).await;
    fs::write(&file, "back").unwrap();
    reported(&mut changes, &file, Some("back")).await;
}

async fn a_file_that_does_not_exist_yet_is_awaited(watcher: Arc<FileWatcher>) {
    let dir = tempfile::tempdir().unwrap();
    let parent = dir.path().join("not/yet");
    let file = parent.join("a.yaml");
    let mut changes = watcher.subscribe(std::slice::from_ref(&file));
    taken_over(&watcher).await;
    fs::create_dir_all(&parent).unwrap();
    fs::write(&file, "here").unwrap();
    reported(&mut changes, &file, Some("here")).await;
    fs::remove_dir_all(dir.path().join("not")).unwrap();
    reported(&mut changes, &file, None).await;
    fs::create_dir_all(&parent).unwrap();
    fs::write(&file, "again").unwrap();
    reported(&mut changes, &file, Some("again")).await;
}

#[tokio::test]
async fn a_config_map_is_followed_by_events() {
    a_mounted_config_map_is_followed(quick(true)).await;
}

#[tokio::test]
async fn a_config_map_is_followed_by_polling() {
    a_mounted_config_map_is_followed(quick(false)).await;
}

#[tokio::test]
async fn a_file_is_followed_by_events() {
    a_plain_file_is_followed(quick(true)).await;
}

#[tokio::test]
async fn a_file_is_followed_by_polling() {
    a_plain_file_is_followed(quick(false)).await;
}

#[tokio::test]
async fn a_file_to_come_is_found_by_events() {
    a_file_that_does_not_exist_yet_is_awaited(quick(true)).await;
}

#[tokio::test]
async fn a_file_to_come_is_found_by_polling() {
    a_file_that_does_not_exist_yet_is_awaited(quick(false)).await;
}

#[tokio::test]
async fn a_change_right_after_the_subscription_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a");
    fs::write(&file, "old").unwrap();
    let watcher = quick(true);
    let mut changes = watcher.subscribe(std::slice::from_ref(&file));
    replace(&file, "new");
    reported(&mut changes, &file, Some("new")).await;
}

#[tokio::test]
async fn a_file_that_was_written_with_the_same_content_is_not_reported() {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = ["same", "other"].map(|name| dir.path().join(name)).to_vec();
    fs::write(&files[0], "same").unwrap();
    let watcher = quick(true);
    let same = watcher.subscribe(&files[..1]);
    let mut other = watcher.subscribe(&files[1..]);
    taken_over(&watcher).await;
    replace(&files[0], "same");
    fs::write(&files[1], "changed").unwrap();
    // Both are compared in one look, so when the one is reported the other was found unchanged.
    reported(&mut other, &files[1], Some("changed")).await;
    assert_eq!(*same.borrow(), 0);
}

#[tokio::test]
async fn endless_writes_beside_the_file_do_not_hide_its_change() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a");
    fs::write(&file, "old").unwrap();
    let watcher = quick(true);
    let mut changes = watcher.subscribe(std::slice::from_ref(&file));
    taken_over(&watcher).await;
    let noise = dir.path().join("noise");
    let writer = async {
        loop {
            fs::write(&noise, "x").unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    replace(&file, "new");
    tokio::select! {
        () = writer => {}
        () = reported(&mut changes, &file, Some("new")) => {}
    }
}

#[tokio::test]
async fn what_nobody_reads_any_more_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let watcher = quick(false);
    let gone = watcher.subscribe(&[dir.path().join("a")]);
    let mut kept = watcher.subscribe(&[dir.path().join("b")]);
    drop(gone);
    let wait = async {
        while lock(&watcher.shared.watched).subscriptions.len() != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the subscription is dropped");
    drop(watcher);
    let ended = async { while kept.changed().await.is_ok() {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("the watching ends with its owner");
}
