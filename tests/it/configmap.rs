//! The configuration and the Secrets over the API of Kubernetes: edits take effect, and whatever goes wrong there costs no uplink.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use onvif_uplink::{
    app::{Cluster, Origin, SecretsOrigin},
    cluster::secrets::{SECRETS_MAX, SecretFiles},
    config::Secrets,
    model::{
        failure::Cause,
        kubernetes::ConfigMapKey,
        status::{StatusBoard, UplinkStatus},
    },
};
use tokio::{sync::watch, time::timeout};

use crate::support::{
    api_server::{ApiServer, NAMESPACE},
    cloud::cloud,
    device::{RunningCamera, camera},
    http::PATIENCE,
    sidecar::{Line, Sidecar, Site, document, of},
};

/// The document of `camera-1`, with its files in the site.
fn text(site: &Site, device: &RunningCamera, remote: &str, level: &str) -> String {
    document(&[Line {
        level: level.to_owned(),
        certificate: site.path().join("camera-1").display().to_string(),
        anchor: site.path().join("ca.crt").display().to_string(),
        ..Line::new("camera-1", device.address, remote)
    }])
}

/// The same, whose certificate is the Secret `camera-1-tls`.
fn by_secret(site: &Site, device: &RunningCamera, remote: &str) -> String {
    let text = text(site, device, remote, "Administrator");
    let files = text.lines().find(|line| line.contains("certFile")).expect("a certificate");
    text.replace(files, "  c-camera-1: { secretName: camera-1-tls }")
}

/// A sidecar on the ConfigMap `uplinks`; with `secrets` it follows Secrets too and writes them there.
async fn start(api: &ApiServer, secrets: Option<&Path>) -> Sidecar {
    Sidecar::start(Path::new("unused").to_owned(), |options| {
        options.config = Origin::ConfigMap(ConfigMapKey::parse("cams/uplinks").expect("good"));
        options.cluster = Cluster::with_client(api.client());
        if let Some(dir) = secrets {
            options.secrets = SecretsOrigin { dir: dir.to_owned(), namespace: Some(NAMESPACE.to_owned()) };
        }
    })
    .await
}

async fn error(sidecar: &Sidecar, part: &str) -> String {
    let found = |all: &onvif_uplink::model::status::Snapshot| {
        all.config.errors.iter().find(|error| error.contains(part)).cloned()
    };
    sidecar.until(part, found).await
}

fn session(status: &UplinkStatus) -> std::time::SystemTime {
    status.session.as_ref().expect("a session").since
}

#[tokio::test]
async fn an_edit_of_the_configmap_changes_the_uplinks_and_a_bad_one_changes_nothing() {
    let (site, device, api) = (Site::new(&["camera-1"]), camera("camera-1").await, ApiServer::start().await);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let sidecar = start(&api, None).await;
    error(&sidecar, "cams/uplinks/uplinks.yaml: there is no such ConfigMap").await;
    assert_eq!(sidecar.page("/readyz").await.0, 503);

    let good = text(&site, &device, &cloud.remote("a"), "Administrator");
    api.put_configmap("uplinks", &[("uplinks.yaml", &good)]);
    let before = session(&sidecar.online("camera-1").await);

    api.put_configmap("uplinks", &[("uplinks.yaml", &good.replace("userLevel", "userLevl"))]);
    let place = error(&sidecar, "userLevl: unknown key; did you mean `userLevel`?").await;
    assert!(place.starts_with("cams/uplinks/uplinks.yaml:"), "{place}");
    assert_eq!(session(&sidecar.now("camera-1")), before, "the last good set goes on");

    api.put_configmap("uplinks", &[("uplinks.yaml", &good)]);
    sidecar.generation(2).await;
    assert_eq!(session(&sidecar.now("camera-1")), before, "an unchanged uplink is not touched");

    api.put_configmap("uplinks", &[("uplinks.yaml", &text(&site, &device, &cloud.remote("a"), "User"))]);
    sidecar.generation(3).await;
    sidecar
        .until("a session with the new level", |all| {
            let since = of(all, "camera-1")?.session.as_ref()?.since;
            (since != before).then_some(())
        })
        .await;
    let asked = api.asked();
    assert!(asked.iter().all(|target| target.contains("metadata.name%3Duplinks")), "{asked:?}");
}

#[tokio::test]
async fn whatever_becomes_of_the_configmap_the_last_good_set_goes_on_and_the_status_says_why() {
    let (site, device, mut api) = (Site::new(&["camera-1"]), camera("camera-1").await, ApiServer::start().await);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let good = text(&site, &device, &cloud.remote("a"), "Administrator");
    api.put_configmap("uplinks", &[("uplinks.yaml", &good)]);
    let sidecar = start(&api, None).await;
    let before = session(&sidecar.online("camera-1").await);

    api.put_configmap("uplinks", &[("other.yaml", "x")]);
    error(&sidecar, "the ConfigMap has no key `uplinks.yaml`; it has other.yaml").await;
    api.put_configmap("uplinks", &[("uplinks.yaml", "devices: []\n---\ndevices: []\n")]);
    error(&sidecar, "document").await;
    api.delete("configmaps", "uplinks");
    error(&sidecar, "there is no such ConfigMap").await;
    api.forbid("configmaps", true).await;
    let forbidden = error(&sidecar, "the API server forbids it").await;
    assert!(forbidden.contains("resources: [configmaps], resourceNames: [uplinks]"), "{forbidden}");
    assert_eq!(session(&sidecar.now("camera-1")), before);

    api.forbid("configmaps", false).await;
    api.put_configmap("uplinks", &[("uplinks.yaml", &good)]);
    sidecar.until("all is in order", |all| all.config.errors.is_empty().then_some(())).await;
    assert_eq!(session(&sidecar.now("camera-1")), before);
    assert_eq!(sidecar.metric("onvif_uplink_config_last_reload_successful").await, 1.0);
}

#[tokio::test]
async fn an_api_server_that_restarts_costs_no_uplink_and_its_next_edit_counts() {
    let (site, device, mut api) = (Site::new(&["camera-1"]), camera("camera-1").await, ApiServer::start().await);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let good = text(&site, &device, &cloud.remote("a"), "Administrator");
    api.put_configmap("uplinks", &[("uplinks.yaml", &good)]);
    let sidecar = start(&api, None).await;
    let before = session(&sidecar.online("camera-1").await);

    api.stop();
    api.put_configmap("uplinks", &[("uplinks.yaml", &format!("{good}roles: {{ Guards: {{ functions: [] }} }}\n"))]);
    api.restart().await;
    sidecar.generation(2).await;
    assert_eq!(session(&sidecar.now("camera-1")), before);
    assert_eq!(sidecar.metric(r#"onvif_uplink_config_reloads_total{result="refused"}"#).await, 0.0);
}

/// What is in the certificate Secret of a device.
fn issue(site: &Site, device: &str) -> [(&'static str, Vec<u8>); 2] {
    site.issue(device);
    let read = |ending: &str| fs::read(site.path().join(format!("{device}.{ending}"))).expect("issued");
    [("tls.crt", read("crt")), ("tls.key", read("key"))]
}

fn put(api: &ApiServer, name: &str, data: &[(&'static str, Vec<u8>)]) {
    let data: Vec<(&str, &[u8])> = data.iter().map(|(key, value)| (*key, value.as_slice())).collect();
    api.put_secret(name, &data);
}

async fn trouble(sidecar: &Sidecar, part: &str) {
    let found = |all: &onvif_uplink::model::status::Snapshot| {
        all.config.secrets.values().any(|sentence| sentence.contains(part)).then_some(())
    };
    sidecar.until(part, found).await;
}

#[tokio::test]
async fn secrets_that_the_configuration_names_are_followed_and_nothing_that_happens_to_them_costs_the_uplink() {
    let (site, device, mut api) = (Site::new(&[]), camera("camera-1").await, ApiServer::start().await);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let dir = tempfile::tempdir().expect("a directory");
    api.put_configmap("uplinks", &[("uplinks.yaml", &by_secret(&site, &device, &cloud.remote("a")))]);
    let sidecar = start(&api, Some(dir.path())).await;
    trouble(&sidecar, "Secret cams/camera-1-tls: there is no such Secret").await;
    sidecar.fails("camera-1", Cause::CredentialUnreadable).await;
    assert_eq!(sidecar.metric("onvif_uplink_config_secrets_unusable").await, 1.0);

    put(&api, "camera-1-tls", &issue(&site, "camera-1"));
    let first = session(&sidecar.online("camera-1").await);
    let key = dir.path().join("camera-1-tls/tls.key");
    assert_eq!(fs::metadata(&key).expect("written").permissions().mode() & 0o777, 0o600);

    let second = issue(&site, "camera-1");
    put(&api, "camera-1-tls", &second);
    let rotated = sidecar
        .until("a session with the new certificate", |all| {
            let since = of(all, "camera-1")?.session.as_ref()?.since;
            (since != first).then_some(since)
        })
        .await;
    assert_eq!(fs::read(&key).expect("written"), second[1].1);

    put(&api, "camera-1-tls", &second[..1]);
    trouble(&sidecar, "has no key tls.key, or it is empty; it has tls.crt").await;
    api.delete("secrets", "camera-1-tls");
    trouble(&sidecar, "there is no such Secret").await;
    api.forbid("secrets", true).await;
    trouble(&sidecar, "resources: [secrets], resourceNames: [camera-1-tls], verbs: [get, list, watch]").await;
    assert_eq!(session(&sidecar.now("camera-1")), rotated);
    assert_eq!(fs::read(&key).expect("kept"), second[1].1);

    api.put_configmap("uplinks", &[("uplinks.yaml", "devices: []\n")]);
    sidecar.until("no Secret is named any more", |all| all.config.secrets.is_empty().then_some(())).await;
    assert_eq!(sidecar.metric("onvif_uplink_config_secrets_unusable").await, 0.0);
    sidecar.stop(std::time::Duration::ZERO).await;
    assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 0, "nothing is left behind");
}

#[tokio::test]
async fn an_uplink_whose_certificate_comes_over_the_api_does_not_fail_first() {
    let (site, device, api) = (Site::new(&[]), camera("camera-1").await, ApiServer::start().await);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let dir = tempfile::tempdir().expect("a directory");
    put(&api, "camera-1-tls", &issue(&site, "camera-1"));
    api.put_configmap("uplinks", &[("uplinks.yaml", &by_secret(&site, &device, &cloud.remote("a")))]);
    let sidecar = start(&api, Some(dir.path())).await;
    sidecar.online("camera-1").await;
    let failed = r#"onvif_uplink_connection_failures_total{"#;
    assert!(!sidecar.page("/metrics").await.1.contains(failed), "it came up at the first attempt");
}

/// What the board says of a Secret, as soon as it says something.
async fn said(board: &StatusBoard, name: &str) -> String {
    let mut changes = board.watch();
    let seen = async {
        loop {
            if let Some(sentence) = board.snapshot().config.secrets.remove(name) {
                return sentence;
            }
            changes.changed().await.expect("the board lives");
        }
    };
    timeout(PATIENCE, seen).await.expect("something is said")
}

#[tokio::test]
async fn only_so_many_secrets_are_followed_and_the_rest_is_named() {
    let (api, dir, board) = (ApiServer::start().await, tempfile::tempdir().expect("a directory"), StatusBoard::new());
    let files = SecretFiles::new(api.client(), NAMESPACE, dir.path(), Arc::clone(&board));
    let name = |number: usize| format!("s-{number:03}");
    let named: Secrets = (0..=SECRETS_MAX).map(|number| (name(number), BTreeSet::from(["k".to_owned()]))).collect();
    let (_sender, named) = watch::channel(named);
    let beyond = name(SECRETS_MAX);
    let last = tokio::select! {
        never = files.follow(named) => match never {},
        said = said(&board, &beyond) => said,
    };
    assert!(last.contains("more than 64") && last.contains("mount them"), "{last}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named_with_the_mend() {
    let (api, dir, board) = (ApiServer::start().await, tempfile::tempdir().expect("a directory"), StatusBoard::new());
    api.put_secret("s", &[("k", b"v")]);
    let file = dir.path().join("file");
    fs::write(&file, "in the way").expect("written");
    let files = SecretFiles::new(api.client(), NAMESPACE, &file, Arc::clone(&board));
    let (_sender, named) = watch::channel(Secrets::from([("s".to_owned(), BTreeSet::from(["k".to_owned()]))]));
    let sentence = tokio::select! {
        never = files.follow(named) => match never {},
        said = said(&board, "s") => said,
    };
    assert!(sentence.starts_with("Secret cams/s: cannot be written to"), "{sentence}");
    assert!(sentence.contains("writable volume in memory"), "{sentence}");
}
