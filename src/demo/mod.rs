//! L6: what shows the product without a camera at hand: the camera emulator, and the one-process demo around it.
//!
//! Nothing below may import this room (design.md §3). The demo is a camera, a sidecar and a gateway in one process, joined
//! by nothing but sockets and files, exactly as they would be on three machines: [`Demo::build`] makes a throw-away PKI and
//! a configuration file and binds, [`Demo::run`] works until it is told to drain.

pub mod camera;
mod pki;
mod story;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use self::{camera::Camera, pki::Pki};
use crate::{
    app::{self, App, Outcome},
    base::{
        drain::{Drain, drain},
        shard::Shards,
    },
    gateway::{self, Gateway},
    telemetry::logs::LevelHandle,
    tls::server::IdentityField,
};

/// The device of the demo.
const DEVICE: &str = "camera-1";
/// What open streams get when the demo ends: somebody waits at the keyboard.
const GRACE: Duration = Duration::from_secs(1);
/// The sidecar's usual admin address, so that `onvif-uplink status` needs no flag.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9600);

/// What the demo is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where PKI and configuration are written; made if it does not exist.
    pub dir: PathBuf,
    /// Where the browser goes.
    pub front: SocketAddr,
    /// What `PUT /log-level` changes.
    pub level: LevelHandle,
}

/// A demo that listens.
pub struct Demo {
    camera: Camera,
    gateway: Gateway,
    sidecar: App,
    config: PathBuf,
}

impl Demo {
    /// Writes the throw-away PKI and the configuration, and binds all listeners.
    ///
    /// # Errors
    /// A sentence: the directory cannot be written, or the front's address is taken.
    pub async fn build(options: Options) -> Result<Self, String> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| format!("{what}: {error}")
        };
        let dir = options.dir;
        std::fs::create_dir_all(&dir).map_err(failed(&format!("cannot make {}", dir.display())))?;
        let dir = dir.canonicalize().map_err(failed("cannot resolve the demo's directory"))?;
        let pki = Pki::write(&dir.join("pki"), DEVICE)?;
        let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let camera = Camera::bind(loopback).await.map_err(failed("the camera cannot listen"))?.named(DEVICE);
        let gateway = Gateway::build(gateway::Options {
            listen: loopback,
            cert: pki.server_cert,
            key: pki.server_key,
            client_ca: Some(pki.ca.clone()),
            tokens: None,
            max_upgrades: None,
            identity: IdentityField::CommonName,
            front: options.front,
            front_domain: Some("localhost".to_owned()),
            front_token_file: None,
            front_open: false,
            rtsp: None,
            threads: NonZeroUsize::MIN,
        })
        .map_err(|error| format!("{error}; choose another address with --front"))?;
        let config = dir.join("uplinks.yaml");
        let document = configuration(camera.http_addr(), gateway.listen_address());
        std::fs::write(&config, document).map_err(failed("cannot write the configuration"))?;
        let sidecar = sidecar(&config, options.level).await.map_err(failed("the sidecar does not start"))?;
        Ok(Self { camera, gateway, sidecar, config })
    }

    /// What a person should know: where to look, what to try.
    pub fn welcome(&self) -> String {
        let program = std::env::args_os().next().unwrap_or_else(|| env!("CARGO_PKG_NAME").into());
        story::welcome(&story::Places {
            front: self.gateway.front_address(),
            camera: self.camera.http_addr(),
            admin: self.sidecar.admin_addr(),
            config: &self.config,
            program: &program.to_string_lossy(),
        })
    }

    /// Works until `stop` starts; `tell` gets a line for each change of an uplink or of the configuration.
    ///
    /// # Errors
    /// A sentence when the operating system refuses a thread.
    pub async fn run(self, stop: Drain, tell: impl FnMut(&str)) -> Result<(), String> {
        let shards = Shards::start("camera", NonZeroUsize::MIN).map_err(|error| error.to_string())?;
        let (camera_switch, camera_drain) = drain();
        let (gateway_switch, gateway_drain) = drain();
        let board = self.sidecar.board();
        let camera = shards.nth(0).spawn(self.camera.run(camera_drain));
        let mut gateway = std::pin::pin!(self.gateway.run(gateway_drain));
        let sidecar = async {
            let outcome = self.sidecar.run(stop).await;
            debug_assert_eq!(outcome, Outcome::Stopped, "only asked to stop");
            gateway_switch.start(GRACE);
            camera_switch.start(GRACE);
        };
        let work = async { tokio::join!(&mut gateway, sidecar) };
        let served = tokio::select! {
            (served, ()) = work => served,
            never = story::follow(&board, tell) => match never {},
        };
        let ended = tokio::time::timeout(GRACE * 2, camera).await;
        if ended.is_err() {
            tracing::warn!("the camera emulator did not end in time; it was cut");
        }
        served.map_err(|error| error.to_string())
    }
}

/// The sidecar on its usual admin address, or on a free one when another process has that.
async fn sidecar(config: &Path, level: LevelHandle) -> io::Result<App> {
    let mut options = app::Options {
        // All of the demo is on this machine.
        proxies: app::Proxies::default(),
        config: config.to_owned(),
        admin: ADMIN,
        grace: GRACE,
        threads: NonZeroUsize::MIN,
        exit_on_invalid: false,
        trace_requests: false,
        level,
    };
    match App::build(options.clone()).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            options.admin.set_port(0);
            App::build(options).await
        }
        built => built,
    }
}

fn configuration(camera: SocketAddr, gateway: SocketAddr) -> String {
    format!(
        "\
# The sidecar's configuration. Edit and save: changes take effect at once, and only where something changed.
# Written anew at each start of the demo. Reference: docs/configuration.md
devices:
  - name: {DEVICE}                     # the name at the gateway comes from the certificate, this one is for logs
    http: http://{camera}        # the camera emulator; try a port where nothing listens
    paths:                             # its pages, open to Operators and Users; try without, or another userLevel
      - {{ path: /, class: READ_MEDIA }}
      - {{ path: /index.html, class: READ_MEDIA }}
      - {{ path: /style.css, class: READ_MEDIA }}
      - {{ path: /snapshot.jpg, class: READ_MEDIA }}
      - {{ path: /stream.mjpeg, class: READ_MEDIA }}
      - {{ path: /download/*, class: READ_MEDIA }}
    uplinks:
      - remoteAddress: https://{gateway}/uplink
        certificateID: {DEVICE}
        userLevel: Operator            # Administrator, Operator or User: what those at the gateway may do
        certPathValidationPolicyID: demo-ca
certificates:
  {DEVICE}: {{ certFile: pki/{DEVICE}.crt, keyFile: pki/{DEVICE}.key }}
certPathValidationPolicies:
  demo-ca: {{ trustAnchorFiles: [ pki/ca.crt ] }}
"
    )
}
