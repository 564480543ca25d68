//! The desired set: the uplinks that should run, and the difference between two such sets.
//!
//! A reload is the diff of two sets: what is in neither `added`, `removed` nor `changed` is not touched at all.

use std::collections::BTreeMap;

use super::{
    device::Device,
    uplink::{Uplink, UplinkKey},
};

/// The uplinks that should run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredSet {
    uplinks: BTreeMap<UplinkKey, Uplink>,
}

/// What has to be done to get from one set to another. The three lists are disjoint.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// In the new set only.
    pub added: Vec<Uplink>,
    /// In the old set only.
    pub removed: Vec<UplinkKey>,
    /// In both with another content; the new one.
    pub changed: Vec<Uplink>,
}

impl Diff {
    /// Whether nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl DesiredSet {
    /// The set of `uplinks`; of two with one key the later wins (validation refuses such documents before).
    pub fn new(uplinks: impl IntoIterator<Item = Uplink>) -> Self {
        Self { uplinks: uplinks.into_iter().map(|uplink| (uplink.key(), uplink)).collect() }
    }

    /// The uplinks in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&UplinkKey, &Uplink)> {
        self.uplinks.iter()
    }

    /// The device of each uplink; one with several uplinks comes as often.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.uplinks.values().map(|uplink| &uplink.device)
    }

    /// How many uplinks should run.
    pub fn len(&self) -> usize {
        self.uplinks.len()
    }

    /// Whether no uplink should run.
    pub fn is_empty(&self) -> bool {
        self.uplinks.is_empty()
    }

    /// What has to be done to get from `self` to `new`.
    pub fn diff(&self, new: &Self) -> Diff {
        let mut diff = Diff::default();
        for (key, uplink) in &new.uplinks {
            match self.uplinks.get(key) {
                None => diff.added.push(uplink.clone()),
                Some(old) if old != uplink => diff.changed.push(uplink.clone()),
                Some(_) => {}
            }
        }
        diff.removed = self.uplinks.keys().filter(|key| !new.uplinks.contains_key(*key)).cloned().collect();
        diff
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{
        access::Access,
        address::RemoteAddress,
        authorization::{Authorization, Certificate, Trust},
        device::{Device, LoopbackUrl},
        user_level::UserLevel,
    };

    fn uplink(device: u8, remote: u8, port: u16) -> Uplink {
        Uplink {
            device: Device {
                name: format!("camera-{device}"),
                http: LoopbackUrl::parse(&format!("http://127.0.0.1:{port}")).expect("valid"),
                rtsp: None,
                rtsp_via: Default::default(),
                connect_ports: Default::default(),
                addresses: Default::default(),
                credentials: BTreeMap::new(),
                pass_through: false,
            },
            remote: RemoteAddress::parse(&format!("https://cloud-{remote}/")).expect("valid"),
            authorization: Authorization::Mtls(Certificate {
                id: "c".into(),
                cert_file: "c".into(),
                key_file: "k".into(),
            }),
            trust: Trust::SystemRoots,
            user_level: vec![UserLevel::User],
            access: Access::default(),
            network: Default::default(),
            tls: Default::default(),
            lab: Default::default(),
        }
    }

    fn sets() -> impl Strategy<Value = DesiredSet> {
        prop::collection::vec((0u8..4, 0u8..3, 1u16..3), 0..10).prop_map(|list| {
            DesiredSet::new(list.into_iter().map(|(device, remote, port)| uplink(device, remote, port)))
        })
    }

    #[test]
    fn a_changed_uplink_is_told_from_an_added_and_a_removed_one() {
        let old = DesiredSet::new([uplink(1, 1, 80), uplink(2, 1, 80), uplink(3, 1, 80)]);
        let new = DesiredSet::new([uplink(1, 1, 80), uplink(2, 1, 81), uplink(4, 1, 80)]);
        let diff = old.diff(&new);
        assert_eq!(diff.added, [uplink(4, 1, 80)]);
        assert_eq!(diff.changed, [uplink(2, 1, 81)]);
        assert_eq!(diff.removed, [uplink(3, 1, 80).key()]);
    }

    proptest! {
        #[test]
        fn applying_the_diff_gives_the_new_set(old in sets(), new in sets()) {
            let diff = old.diff(&new);
            let mut applied = old.uplinks.clone();
            for key in &diff.removed {
                prop_assert!(applied.remove(key).is_some());
            }
            for uplink in diff.added {
                prop_assert!(applied.insert(uplink.key(), uplink).is_none());
            }
            for uplink in diff.changed {
                prop_assert!(applied.insert(uplink.key(), uplink).is_some());
            }
            prop_assert_eq!(applied, new.uplinks);
        }

        #[test]
        fn a_set_does_not_differ_from_itself(set in sets()) {
            prop_assert!(set.diff(&set).is_empty());
        }
    }
}
