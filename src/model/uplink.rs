//! An uplink: one configured relation between a device and a RemoteAddress (ONVIF Uplink §6.1).

use std::fmt;

use super::{
    access::Access,
    address::RemoteAddress,
    authorization::{Authorization, Trust},
    device::Device,
    lab::Lab,
    network::Network,
    tls_choices::TlsChoices,
    user_level::UserLevel,
};

/// The key of an uplink: the specification keys by RemoteAddress within one device, and one sidecar may serve several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UplinkKey {
    /// Name of the device.
    pub device: String,
    /// Where it dials.
    pub remote: RemoteAddress,
}

impl fmt::Display for UplinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.device, self.remote)
    }
}

/// The Configuration of one uplink, everything it refers to resolved. Two equal values need no change at run time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Uplink {
    /// The neighbour that it makes reachable.
    pub device: Device,
    /// Where it dials.
    pub remote: RemoteAddress,
    /// Who we are to the remote.
    pub authorization: Authorization,
    /// Whom we accept as the remote.
    pub trust: Trust,
    /// What the remote may do; at least one entry.
    pub user_level: Vec<UserLevel>,
    /// What its levels mean here: roles, path rules, how a refusal looks.
    pub access: Access,
    /// How it leaves its network.
    pub network: Network,
    /// What it asks of TLS.
    pub tls: TlsChoices,
    /// Switches for laboratories; all off in the field.
    pub lab: Lab,
}

impl Uplink {
    /// The key by which it is told from others.
    pub fn key(&self) -> UplinkKey {
        UplinkKey { device: self.device.name.clone(), remote: self.remote.clone() }
    }
}

/// An uplink for tests of all rooms.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::model::{authorization::Certificate, device::LoopbackUrl};

    /// A User's uplink of `camera-1` to `remote`, by certificate files that are not there.
    pub(crate) fn uplink(remote: &str) -> Uplink {
        Uplink {
            device: Device {
                name: "camera-1".to_owned(),
                http: LoopbackUrl::parse("http://127.0.0.1:80").expect("loopback"),
                rtsp: None,
                rtsp_via: Default::default(),
                connect_ports: Default::default(),
                addresses: Default::default(),
                credentials: std::collections::BTreeMap::new(),
                pass_through: false,
            },
            remote: RemoteAddress::parse(remote).expect("valid"),
            authorization: Authorization::Mtls(Certificate {
                id: "c".into(),
                cert_file: "c".into(),
                key_file: "k".into(),
            }),
            trust: Trust::SystemRoots,
            user_level: vec![UserLevel::User],
            access: Access::default(),
            network: Network::default(),
            tls: TlsChoices::default(),
            lab: Lab::default(),
        }
    }
}
