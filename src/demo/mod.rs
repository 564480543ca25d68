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

use http::uri::Authority;

use self::{
    camera::{Camera, rtsp},
    pki::Pki,
};
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

/// What the camera takes for its own address, as one behind a router does: nobody at the gateway could use it.
const OWN_NETWORK: &str = "192.168.1.10";
/// Ports that are tried for players, from the wished one on, before any free one is taken.
const RTSP_PORTS: u16 = 10;

/// What the demo is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where PKI and configuration are written; made if it does not exist.
    pub dir: PathBuf,
    /// Where the browser goes.
    pub front: SocketAddr,
    /// Where players of RTSP go; another port if that one is taken.
    pub rtsp: SocketAddr,
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
        let stream = rtsp::Options { listen: loopback, tunnel: false, credentials: None };
        let camera = Camera::bind(loopback).await.map_err(failed("the camera cannot listen"))?.named(DEVICE);
        let camera = camera
            .with_rtsp(stream)
            .await
            .map_err(failed("the camera cannot listen"))?
            .advertising(Authority::from_static(OWN_NETWORK));
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
            rtsp: Some(free_port_from(options.rtsp)),
            threads: NonZeroUsize::MIN,
        })
        .map_err(|error| format!("{error}; choose other addresses with --front and --rtsp"))?;
        let config = dir.join("uplinks.yaml");
        let document = configuration(camera.http_addr(), camera.rtsp_addr(), gateway.listen_address());
        std::fs::write(&config, document).map_err(failed("cannot write the configuration"))?;
        let sidecar = sidecar(&config, options.level).await.map_err(failed("the sidecar does not start"))?;
        Ok(Self { camera, gateway, sidecar, config })
    }

    /// What a person should know: where to look, what to try.
    pub fn welcome(&self) -> String {
        let program = std::env::args_os().next().unwrap_or_else(|| env!("CARGO_PKG_NAME").into());
        story::welcome(&story::Places {
            front: self.gateway.front_address(),
            rtsp: self.gateway.rtsp_address(),
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
        config: app::Origin::File(config.to_owned()),
        secrets: app::SecretsOrigin::default(),
        cluster: app::Cluster::default(),
        admin: ADMIN,
        onvif: None,
        grace: GRACE,
        threads: NonZeroUsize::MIN,
        exit_on_invalid: false,
        ready_requires_uplink: false,
        drain_endpoint: false,
        visible: app::Visible::default(),
        write_back: false,
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

/// The first of some addresses, from this one upwards, on which nothing listens; any port if all are taken. It is free until
/// somebody else takes it, and then the gateway says so.
fn free_port_from(first: SocketAddr) -> SocketAddr {
    let last = first.port().saturating_add(RTSP_PORTS - 1);
    let mut addresses = (first.port()..=last).map(|port| SocketAddr::new(first.ip(), port));
    let is_taken = |address: &SocketAddr| {
        std::net::TcpListener::bind(address).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    };
    addresses.find(|address| !is_taken(address)).unwrap_or(SocketAddr::new(first.ip(), 0))
}

fn configuration(camera: SocketAddr, rtsp: Option<SocketAddr>, gateway: SocketAddr) -> String {
    let rtsp = rtsp.map(|rtsp| format!("    rtsp: rtsp://{rtsp}        # its video for players\n")).unwrap_or_default();
    format!(
        "\
# The sidecar's configuration. Edit and save: changes take effect at once, and only where something changed.
# Written anew at each start of the demo. Reference: docs/configuration.md
devices:
  - name: {DEVICE}                     # the name at the gateway comes from the certificate, this one is for logs
    http: http://{camera}        # the camera emulator; try a port where nothing listens
{rtsp}    paths:                             # its pages, open to Operators and Users; try without, or another userLevel
      - {{ path: /, class: READ_MEDIA }}
      - {{ path: /index.html, class: READ_MEDIA }}
      - {{ path: /style.css, class: READ_MEDIA }}
      - {{ path: /snapshot.jpg, class: READ_MEDIA }}  # also without this, once a client has asked ONVIF for its address
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_passed_over() {
        let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let first = taken.local_addr().expect("bound");
        let found = free_port_from(first);
        assert_ne!(found.port(), first.port());
        assert!(found.port() == 0 || (first.port()..first.port().saturating_add(RTSP_PORTS)).contains(&found.port()));
        drop(taken);
        assert_eq!(free_port_from(first), first);
    }

    #[test]
    fn the_document_names_both_services_of_the_camera() {
        let [http, rtsp, gateway] = [1, 2, 3].map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
        let text = configuration(http, Some(rtsp), gateway);
        assert!(
            text.contains("\n    http: http://127.0.0.1:1 ") && text.contains("\n    rtsp: rtsp://127.0.0.1:2 "),
            "{text}"
        );
        assert!(!configuration(http, None, gateway).contains("rtsp:"));
    }
}
