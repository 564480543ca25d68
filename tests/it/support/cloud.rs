//! The real gateway as the cloud end.

use std::{net::SocketAddr, num::NonZeroUsize, path::Path};

use onvif_uplink::{
    base::drain::{DrainSwitch, drain},
    gateway::{Gateway, Options},
    telemetry::metrics::Metrics,
    tls::server::IdentityField,
};
use tokio::task::JoinHandle;

use super::{
    http::{self, PATIENCE},
    pki::Authority,
};

/// A running gateway; ends with the test.
pub struct Cloud {
    /// Where devices dial.
    pub listen: SocketAddr,
    /// Where clients ask.
    pub front: SocketAddr,
    /// What it counts.
    pub metrics: Metrics,
    _switch: DrainSwitch,
    _run: JoinHandle<std::io::Result<()>>,
}

/// Starts a gateway whose certificate comes from `authority` and that accepts devices of `devices`; files go to `dir`.
pub fn cloud(dir: &Path, authority: &Authority, devices: &Authority) -> Cloud {
    cloud_with(dir, authority, devices, |_| {})
}

/// The same with other options.
pub fn cloud_with(dir: &Path, authority: &Authority, devices: &Authority, change: impl FnOnce(&mut Options)) -> Cloud {
    let issued = authority.issue("gateway", &["localhost", "127.0.0.1"], |_| {});
    let (cert, key) = issued.write(dir, "gateway");
    let client_ca = dir.join("devices.crt");
    std::fs::write(&client_ca, devices.pem()).expect("writable");
    let mut options = Options {
        listen: "127.0.0.1:0".parse().expect("address"),
        cert,
        key,
        client_ca: Some(client_ca),
        tokens: None,
        max_upgrades: None,
        identity: IdentityField::CommonName,
        front: "127.0.0.1:0".parse().expect("address"),
        front_domain: None,
        front_token_file: None,
        front_open: false,
        rtsp: None,
        threads: NonZeroUsize::MIN,
    };
    change(&mut options);
    let gateway = Gateway::build(options).expect("builds");
    let mut metrics = Metrics::new("test");
    gateway.register(metrics.product());
    let (listen, front, (switch, part)) = (gateway.listen_address(), gateway.front_address(), drain());
    Cloud { listen, front, metrics, _switch: switch, _run: tokio::spawn(gateway.run(part)) }
}

impl Cloud {
    /// The RemoteAddress of this gateway; `path` tells uplinks of one device apart.
    pub fn remote(&self, path: &str) -> String {
        format!("https://{}/{path}", self.listen)
    }

    /// Waits until the gateway knows the device of this name.
    pub async fn knows(&self, device: &str) {
        let wanted = format!("\"{device}\"");
        let known = async {
            while !http::get(self.front, "/devices").await.1.contains(&wanted) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, known).await.expect("the device is entered in time");
    }
}
