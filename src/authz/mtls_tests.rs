//! Tests of what tells an uplink that its certificate, key or trust anchors changed; on real files.

use std::{collections::BTreeMap, path::Path, time::Duration};

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::{
    base::watch::WatchOptions,
    model::{
        access::Access,
        address::RemoteAddress,
        authorization::{CertPathValidationPolicy, Certificate},
        device::{Device, LoopbackUrl},
        user_level::UserLevel,
    },
};

/// Longer than any look at the files on a busy machine; only a failing test waits it out.
const PATIENCE: Duration = Duration::from_secs(30);

/// The files of the uplink: certificate, key and two anchors.
const FILES: [&str; 4] = ["tls.crt", "tls.key", "first-ca.crt", "second-ca.crt"];

/// Quick looks, so that the tests are; the operating system's events are asked as in the product.
fn watcher() -> Arc<FileWatcher> {
    FileWatcher::start_with(WatchOptions {
        debounce: Duration::from_millis(10),
        debounce_cap: Duration::from_millis(100),
        backstop: Duration::from_millis(200),
        ..WatchOptions::default()
    })
}

fn uplink(directory: &Path) -> Uplink {
    let [cert_file, key_file, anchors @ ..] = FILES.map(|name| directory.join(name));
    Uplink {
        device: Device {
            name: "camera-1".to_owned(),
            http: LoopbackUrl::parse("http://127.0.0.1:80").expect("loopback"),
            rtsp: None,
            rtsp_via: Default::default(),
            connect_ports: Default::default(),
            addresses: Default::default(),
            credentials: BTreeMap::new(),
            pass_through: false,
        },
        remote: RemoteAddress::parse("https://cloud.example/").expect("valid"),
        authorization: Authorization::Mtls(Certificate { id: "camera-1".to_owned(), cert_file, key_file }),
        trust: Trust::Policy(CertPathValidationPolicy {
            id: "fleet".to_owned(),
            trust_anchor_files: anchors.to_vec(),
            crl_files: Vec::new(),
            pins: Vec::new(),
        }),
        user_level: vec![UserLevel::Operator],
        access: Access::default(),
        network: Default::default(),
        tls: Default::default(),
        lab: Default::default(),
    }
}

/// A directory with all files of the uplink.
fn written() -> TempDir {
    let directory = tempfile::tempdir().expect("writable");
    for name in FILES {
        std::fs::write(directory.path().join(name), format!("{name} of yesterday")).expect("writable");
    }
    directory
}

#[tokio::test]
async fn a_change_of_certificate_key_or_any_anchor_is_told() {
    for name in FILES {
        let directory = written();
        let authorizer = MutualTls::new(watcher());
        let mut changes = authorizer.changes(&uplink(directory.path()));
        std::fs::write(directory.path().join(name), "new content").expect("writable");
        let told = timeout(PATIENCE, changes.changed()).await;
        told.unwrap_or_else(|_| panic!("the change of {name} was not told")).expect("the watcher lives");
    }
}

#[tokio::test]
async fn a_file_that_vanishes_or_appears_is_a_change() {
    let directory = written();
    let authorizer = MutualTls::new(watcher());
    let key = directory.path().join("tls.key");
    let mut changes = authorizer.changes(&uplink(directory.path()));
    std::fs::remove_file(&key).expect("it is there");
    timeout(PATIENCE, changes.changed()).await.expect("told in time").expect("the watcher lives");
    let mut changes = authorizer.changes(&uplink(directory.path()));
    std::fs::write(&key, "written at last").expect("writable");
    timeout(PATIENCE, changes.changed()).await.expect("told in time").expect("the watcher lives");
}

#[tokio::test]
async fn a_file_beside_them_that_the_uplink_does_not_name_is_no_change() {
    let directory = written();
    let watcher = watcher();
    let changes = MutualTls::new(Arc::clone(&watcher)).changes(&uplink(directory.path()));
    let other = directory.path().join("other.crt");
    // Subscribed after the uplink, so it is looked at after it: what it tells, the uplink would have told before.
    let mut beside = watcher.subscribe(std::slice::from_ref(&other));
    std::fs::write(&other, "of somebody else").expect("writable");
    timeout(PATIENCE, beside.changed()).await.expect("told in time").expect("the watcher lives");
    assert!(!changes.has_changed().expect("the watcher lives"));
}
