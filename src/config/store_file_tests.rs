//! Files that are changed, files that cannot be, and two that write at once.

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::{
    config::store::Entry,
    model::{address::Scheme, authorization::AuthorizationMode},
};

const TEXT: &str = "\
# Uplinks
devices:
  - name: camera-1
    http: http://127.0.0.1:80
    uplinks:
      - { remoteAddress: https://a/, certificateID: c, userLevel: User } # first
certificates: { c: { certFile: a, keyFile: b } }
";

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("uplinks.yaml");
    fs::write(&path, TEXT).expect("written");
    (directory, path)
}

fn store(path: &Path) -> FileStore {
    let served = Served {
        schemes: vec![Scheme::Https],
        authorization_modes: vec![AuthorizationMode::Mtls],
        ..Served::default()
    };
    FileStore::new(path, served)
}

fn set(remote: &str, level: &str) -> Edit {
    Edit::Set(Entry {
        remote_address: remote.to_owned(),
        certificate_id: Some("c".to_owned()),
        user_level: vec![level.to_owned()],
        ..Entry::default()
    })
}

async fn reason(path: &Path) -> String {
    match store(path).change("camera-1", set("https://b/", "User")).await {
        Err(StoreError::NotWritable(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_change_keeps_comments_permissions_and_leaves_nothing_beside() {
    let (directory, path) = place();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("own file");
    let written = store(&path).change("camera-1", set("https://b/", "Operator")).await.expect("changed");
    let text = fs::read_to_string(&path).expect("there");
    assert_eq!(text, written.text);
    assert!(text.contains("# Uplinks") && text.contains("# first") && text.contains("https://b/"), "{text}");
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 1);
}

#[tokio::test]
async fn changes_at_once_are_all_made() {
    let (_directory, path) = place();
    let store = store(&path);
    let remotes: Vec<_> = (0..8).map(|n| format!("https://cloud-{n}/")).collect();
    let changes = remotes.iter().map(|remote| store.change("camera-1", set(remote, "User")));
    for changed in futures_util::future::join_all(changes).await {
        changed.expect("changed");
    }
    let text = fs::read_to_string(&path).expect("there");
    assert!(remotes.iter().all(|remote| text.contains(remote)), "{text}");
}

#[tokio::test]
async fn a_link_stays_and_what_it_points_to_is_replaced() {
    let (directory, path) = place();
    let link = directory.path().join("link.yaml");
    symlink(&path, &link).expect("linked");
    store(&link).change("camera-1", set("https://b/", "User")).await.expect("changed");
    assert!(link.symlink_metadata().expect("there").is_symlink());
    assert!(fs::read_to_string(&path).expect("there").contains("https://b/"));
}

#[tokio::test]
async fn a_mounted_config_map_is_refused() {
    let (directory, path) = place();
    let data = directory.path().join("..2026_11_26");
    fs::create_dir(&data).expect("made");
    fs::rename(&path, data.join("uplinks.yaml")).expect("moved");
    symlink("..2026_11_26", directory.path().join("..data")).expect("linked");
    symlink("..data/uplinks.yaml", &path).expect("linked");
    assert!(reason(&path).await.contains("ConfigMap"));
    assert_eq!(fs::read_to_string(&path).expect("there"), TEXT);
}

#[tokio::test]
async fn a_document_with_errors_is_left_to_whoever_mends_it() {
    let (_directory, path) = place();
    let broken = TEXT.replace("userLevel: User", "userLevel: ''");
    fs::write(&path, &broken).expect("written");
    let reason = reason(&path).await;
    assert!(reason.contains("mend it first") && reason.contains("userLevel"), "{reason}");
    assert_eq!(fs::read_to_string(&path).expect("there"), broken);
}

#[tokio::test]
async fn a_value_that_the_document_does_not_take_is_refused_before_anything_is_written() {
    let (_directory, path) = place();
    let refused = store(&path).change("camera-1", set("https://b/", "Anonymous")).await;
    assert!(matches!(refused, Err(StoreError::Value(_))), "{refused:?}");
    assert_eq!(fs::read_to_string(&path).expect("there"), TEXT);
}

#[test]
fn what_somebody_wrote_meanwhile_is_not_overwritten() {
    let (directory, path) = place();
    let old = read(&path).expect("there");
    fs::write(&path, "devices: []\n").expect("written");
    assert_eq!(replace(&path, &old, "x"), Ok(false));
    assert_eq!(fs::read_to_string(&path).expect("there"), "devices: []\n");
    assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 1);
}

#[test]
fn what_the_system_refuses_is_said_in_words() {
    let of = |kind: ErrorKind| explain(Path::new("/c/u.yaml"), &kind.into()).to_string();
    assert!(of(ErrorKind::ReadOnlyFilesystem).contains("read-only"));
    assert!(of(ErrorKind::PermissionDenied).contains("may not be written"));
    assert!(of(ErrorKind::ResourceBusy).contains("mount its directory"));
    let missing = explain(Path::new("/c/u.yaml"), &fs::metadata("/nowhere/at/all").expect_err("missing"));
    assert!(missing.to_string().contains("/c/u.yaml"));
}
