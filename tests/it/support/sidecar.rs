//! The real sidecar on port 0, with its configuration, certificates and keys in a directory of the test.

use std::{
    fmt::Write,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use onvif_uplink::{
    app::{App, Cluster, Options, Origin, Outcome, Proxies, SecretsOrigin, Visible},
    base::drain::{DrainSwitch, drain},
    model::{
        failure::Cause,
        status::{Snapshot, Status, StatusBoard, UplinkStatus},
    },
    telemetry::logs::LevelHandle,
};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::timeout};

use super::{
    http::{self, PATIENCE},
    pki::Authority,
    remote::write_anchor,
};

/// Longer than a test may take: a busy machine must not make the deadline cut what a test lets finish.
const GRACE: Duration = Duration::from_secs(300);

/// One uplink of a document. Equal lines are equal uplinks.
#[derive(Clone)]
pub struct Line {
    /// Name of the device; also of its certificate unless changed.
    pub device: String,
    /// Where the device listens.
    pub http: SocketAddr,
    /// RemoteAddress.
    pub remote: String,
    /// UserLevel.
    pub level: String,
    /// Begin of the file names of certificate and key.
    pub certificate: String,
    /// File of the trust anchor.
    pub anchor: String,
}

impl Line {
    /// An Administrator's uplink, so that all paths are open, with the certificate of the device's name, trusting `ca.crt`.
    pub fn new(device: &str, http: SocketAddr, remote: impl Into<String>) -> Self {
        Self {
            device: device.to_owned(),
            http,
            remote: remote.into(),
            level: "Administrator".to_owned(),
            certificate: device.to_owned(),
            anchor: "ca.crt".to_owned(),
        }
    }
}

/// The document of these uplinks, one device each. `names` is where the files lie, relative to the document.
pub fn document(lines: &[Line]) -> String {
    let (mut devices, mut certificates, mut policies) = (String::new(), String::new(), String::new());
    for Line { device, http, remote, level, certificate, anchor } in lines {
        write!(
            devices,
            "  - name: {device}\n    http: http://{http}\n    uplinks:\n      - remoteAddress: {remote}\n        \
             certificateID: c-{device}\n        userLevel: {level}\n        certPathValidationPolicyID: p-{device}\n"
        )
        .expect("a string");
        writeln!(certificates, "  c-{device}: {{ certFile: {certificate}.crt, keyFile: {certificate}.key }}")
            .expect("a string");
        writeln!(policies, "  p-{device}: {{ trustAnchorFiles: [{anchor}] }}").expect("a string");
    }
    if lines.is_empty() {
        return "devices: []\n".to_owned();
    }
    format!("devices:\n{devices}certificates:\n{certificates}certPathValidationPolicies:\n{policies}")
}

/// A directory with an authority in which a sidecar finds all its files.
pub struct Site {
    /// The directory.
    pub dir: TempDir,
    /// Issues both sides' certificates; its own is in `ca.crt`.
    pub authority: Authority,
}

impl Site {
    /// A directory with `ca.crt` and a certificate for each of these devices.
    pub fn new(devices: &[&str]) -> Self {
        let (dir, authority) = (tempfile::tempdir().expect("a directory"), Authority::new("fleet"));
        write_anchor(dir.path(), "ca.crt", &authority);
        let site = Self { dir, authority };
        devices.iter().for_each(|device| site.issue(device));
        site
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a new certificate and key for a device.
    pub fn issue(&self, device: &str) {
        self.authority.issue(device, &[], |_| {}).write(self.path(), device);
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.path().join("uplinks.yaml")
    }

    /// Replaces the configuration file by rename, as an editor does.
    pub fn write(&self, document: &str) {
        let new = self.path().join(".uplinks.yaml.new");
        std::fs::write(&new, document).expect("writable");
        std::fs::rename(new, self.config()).expect("renamed");
    }

    /// Starts a sidecar on the configuration file, with a grace period that no test outlasts and one shard.
    pub async fn start(&self) -> Sidecar {
        Sidecar::start(self.config(), |_| {}).await
    }

    /// Writes the document of these uplinks and starts a sidecar on it.
    pub async fn start_with(&self, lines: &[Line]) -> Sidecar {
        self.write(&document(lines));
        self.start().await
    }
}

/// A running sidecar.
pub struct Sidecar {
    /// Its admin listener.
    pub admin: SocketAddr,
    /// Its local ONVIF listener, if it has one.
    pub onvif: Option<SocketAddr>,
    /// What became of its uplinks.
    pub board: Arc<StatusBoard>,
    /// Tells it to stop.
    pub switch: DrainSwitch,
    /// How it ends.
    pub run: JoinHandle<Outcome>,
}

impl Sidecar {
    /// Starts one on this file.
    pub async fn start(config: PathBuf, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options {
            config: Origin::File(config),
            secrets: SecretsOrigin::default(),
            cluster: Cluster::default(),
            admin: "127.0.0.1:0".parse().expect("address"),
            onvif: None,
            grace: GRACE,
            threads: NonZeroUsize::MIN,
            exit_on_invalid: false,
            ready_requires_uplink: false,
            drain_endpoint: false,
            visible: Visible::default(),
            write_back: false,
            trace_requests: false,
            proxies: Proxies::default(),
            level: LevelHandle::detached(),
        };
        change(&mut options);
        let app = App::build(options).await.expect("builds");
        let (admin, onvif, board, (switch, part)) = (app.admin_addr(), app.onvif_addr(), app.board(), drain());
        Self { admin, onvif, board, switch, run: tokio::spawn(app.run(part)) }
    }

    /// Waits until the board shows what `wanted` looks for.
    pub async fn until<T>(&self, what: &str, mut wanted: impl FnMut(&Snapshot) -> Option<T>) -> T {
        let mut changes = self.board.watch();
        let seen = async {
            loop {
                if let Some(seen) = wanted(&self.board.snapshot()) {
                    return seen;
                }
                changes.changed().await.expect("the board lives");
            }
        };
        match timeout(PATIENCE, seen).await {
            Ok(seen) => seen,
            Err(_) => panic!("{what} did not come about: {:#?}", self.board.snapshot()),
        }
    }

    /// Waits until the only uplink of `device` is online; returns its status.
    pub async fn online(&self, device: &str) -> UplinkStatus {
        self.until("online", |all| of(all, device).filter(|uplink| uplink.status == Status::Online).cloned()).await
    }

    /// Waits until an uplink of `device` shows `cause`; returns its sentence. It must not be Online then.
    pub async fn fails(&self, device: &str, cause: Cause) -> String {
        let seen = |all: &Snapshot| {
            let uplink = of(all, device)?;
            let failure = uplink.error.as_ref()?;
            assert_ne!(uplink.status, Status::Online, "online with an error");
            Some(failure.clone())
        };
        let failure = self.until("a failure", seen).await;
        assert_eq!(failure.cause, cause, "{}", failure.message);
        failure.message
    }

    /// Waits until the configuration has this generation.
    pub async fn generation(&self, generation: u64) {
        self.until("the generation", |all| (all.config.generation == generation).then_some(())).await;
    }

    /// The status of an uplink now.
    pub fn now(&self, device: &str) -> UplinkStatus {
        of(&self.board.snapshot(), device).expect("an uplink of this device").clone()
    }

    /// A page of the admin listener.
    pub async fn page(&self, path: &str) -> (u16, String) {
        http::get(self.admin, path).await
    }

    /// The value of one series; `labels` as they are written. 0 when there is none.
    pub async fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.page("/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_default()
    }

    /// Tells it to stop with this grace period and waits for its end.
    pub async fn stop(self, grace: Duration) -> Outcome {
        self.switch.start(grace);
        timeout(PATIENCE, self.run).await.expect("ends in time").expect("no panic")
    }
}

/// The uplink of a device.
pub fn of<'a>(all: &'a Snapshot, device: &str) -> Option<&'a UplinkStatus> {
    all.uplinks.iter().find(|(key, _)| key.device == device).map(|(_, uplink)| uplink)
}
