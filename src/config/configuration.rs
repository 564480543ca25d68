//! A document that is in order, as far as others than the supervisor need it: the devices with their uplink configuration service,
//! the ids that uplinks may refer to, the accounts of the local listener.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    desired::DesiredSet,
    device::Device,
    extensions::Extensions,
    uplink_service::{Account, UplinkService},
};

/// Names of Secrets, each with the keys that are needed of it.
pub type Secrets = BTreeMap<String, BTreeSet<String>>;

/// A document that is in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    /// The uplinks that should run.
    pub desired: DesiredSet,
    /// The devices, those without uplinks too, in the order of the document.
    pub devices: Vec<ConfiguredDevice>,
    /// CertificateIDs.
    pub certificates: BTreeSet<String>,
    /// CertPathValidationPolicyIDs.
    pub policies: BTreeSet<String>,
    /// Tokens of authorization servers.
    pub servers: BTreeSet<String>,
    /// Who may use the local listener.
    pub accounts: Vec<Account>,
    /// The Secrets that it names.
    pub secrets: Secrets,
}

/// A device and what its uplink configuration service needs that no uplink is dialed anew for.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfiguredDevice {
    /// The device.
    pub device: Device,
    /// Its uplink configuration service.
    pub service: UplinkService,
    /// RemoteAddress of each of its uplinks with what a vendor added to it, in the order of the document.
    pub uplinks: Vec<(String, Option<Extensions>)>,
}

impl Configuration {
    /// The device of this name.
    pub fn device(&self, name: &str) -> Option<&ConfiguredDevice> {
        self.devices.iter().find(|device| device.device.name == name)
    }

    /// What vendors added, by RemoteAddress, for one device.
    pub fn extensions(&self, device: &str) -> BTreeMap<&str, &Extensions> {
        let uplinks = self.device(device).map(|device| device.uplinks.as_slice()).unwrap_or_default();
        uplinks.iter().filter_map(|(remote, extensions)| Some((remote.as_str(), extensions.as_ref()?))).collect()
    }
}
