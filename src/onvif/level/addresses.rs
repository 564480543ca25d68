//! Addresses that a device gave in its answers, with the class of the operation that gave them (ONVIF Core, Default Access
//! Policy; Media, GetSnapshotUri and GetStreamUri; Device, GetSystemUris, StartFirmwareUpgrade, StartSystemRestore).
//!
//! Only path and query count: all requests go to the one configured address, whatever host an answer names. What two operations
//! gave is allowed to those only that may use both. The oldest are forgotten beyond a bound; the device gives them anew.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use crate::model::access::{AccessClass, Rights, operations::Operation};

/// Most addresses that are kept for one device; a recorder has some four for each of its channels.
const ADDRESSES_MAX: usize = 1024;
/// Longest address in bytes; ONVIF asks for 128.
const ADDRESS_MAX: usize = 1024;

/// How an address is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// GET and HEAD.
    Read,
    /// GET and HEAD, RTSP over HTTP, WebSocket.
    Stream,
    /// POST and PUT.
    Upload,
    /// SOAP messages, each of the class of its operation.
    Service,
}

/// Why an address may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// How.
    pub used: Use,
    /// The operation that gave it, or whose answer it stands for; a role that has this operation may use it.
    pub operation: Operation,
    /// Its class.
    pub class: AccessClass,
    /// The port that the device named, for requests that are for another port than that of its web service.
    pub port: Option<u16>,
}

impl Grant {
    /// Whether it is for such a use of this port; `None` is the device's web service. Which port the device takes that for is
    /// its own affair, for example behind a port mapping.
    pub fn is_for(&self, port: Option<u16>, wanted: impl Fn(Use) -> bool) -> bool {
        wanted(self.used) && port.is_none_or(|port| self.port == Some(port))
    }

    /// Whether these rights suffice.
    pub fn allows(&self, rights: &Rights) -> bool {
        rights.class(Some(self.class)) || rights.function(self.operation)
    }
}

/// The addresses of one device; all its uplinks share them.
#[derive(Debug, Default)]
pub struct Addresses(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// By path and query; with the time of the last use.
    grants: HashMap<String, (u64, Vec<Grant>)>,
    time: u64,
}

impl Addresses {
    /// Notes that the device gave this address: a URI with or without scheme and authority.
    pub fn learn(&self, uri: &str, mut grant: Grant) {
        let uri = uri.trim();
        let Some(address) = path_and_query(uri).filter(|address| address.len() <= ADDRESS_MAX) else { return };
        grant.port = port(uri);
        // A SOAP address is its path: subscriptions of some devices differ in the query only.
        let address = if grant.used == Use::Service { address.split('?').next().unwrap_or_default() } else { address };
        let mut known = self.lock();
        known.time += 1;
        let time = known.time;
        if !known.grants.contains_key(address) && known.grants.len() >= ADDRESSES_MAX {
            let oldest = known.grants.iter().min_by_key(|(_, (used, _))| *used).map(|(address, _)| address.clone());
            oldest.map(|oldest| known.grants.remove(&oldest));
        }
        let (used, grants) = known.grants.entry(address.to_owned()).or_default();
        *used = time;
        if !grants.contains(&grant) {
            grants.push(grant);
        }
    }

    /// What the device gave this address for, as far as it is wanted; empty if it gave none such.
    pub fn find(&self, address: &str, wanted: impl Fn(&Grant) -> bool) -> Vec<Grant> {
        let mut known = self.lock();
        known.time += 1;
        let time = known.time;
        let Some((used, grants)) = known.grants.get_mut(address) else { return Vec::new() };
        *used = time;
        grants.iter().filter(|grant| wanted(grant)).copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Path and query of a URI; `ws:/path`, which has no authority, is one too. `None` if it has no path that begins with a slash.
fn path_and_query(uri: &str) -> Option<&str> {
    let uri = uri.split('#').next().unwrap_or_default();
    if uri.starts_with('/') {
        return Some(uri);
    }
    let (_, rest) = uri.split_once(':')?;
    match rest.strip_prefix("//") {
        Some(rest) => Some(rest.find(['/', '?']).map_or("/", |at| &rest[at..])).filter(|path| path.starts_with('/')),
        None => Some(rest).filter(|path| path.starts_with('/')),
    }
}

/// The port that an absolute URI names or means.
fn port(uri: &str) -> Option<u16> {
    url::Url::parse(uri).ok()?.port_or_known_default()
}

/// The addresses of all devices, kept while an uplink of theirs lives.
#[derive(Debug, Default)]
pub struct Directory(Mutex<HashMap<String, Weak<Addresses>>>);

impl Directory {
    /// The addresses of a device. `key` tells devices apart: the same name at another address is another device.
    pub fn of(&self, key: String) -> Arc<Addresses> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, addresses| addresses.strong_count() > 0);
        if let Some(addresses) = known.get(&key).and_then(Weak::upgrade) {
            return addresses;
        }
        let addresses = Arc::new(Addresses::default());
        known.insert(key, Arc::downgrade(&addresses));
        addresses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(used: Use) -> Grant {
        let operation = Operation::by_function("trt:GetSnapshotUri").expect("known");
        Grant { used, operation, class: AccessClass::ReadMedia, port: None }
    }

    #[test]
    fn an_address_is_its_path_and_query_whatever_its_host() {
        for (uri, address) in [
            ("http://192.0.2.1:8080/snap.jpg?a=1&b", Some("/snap.jpg?a=1&b")),
            ("rtsp://user@[::1]/live", Some("/live")),
            ("ws:/rtsp", Some("/rtsp")),
            ("/snap", Some("/snap")),
            ("http://camera", Some("/")),
            ("http://camera/a#b", Some("/a")),
            ("snap.jpg", None),
            ("http://camera?x", None),
            ("", None),
        ] {
            assert_eq!(path_and_query(uri), address, "{uri}");
        }
    }

    #[test]
    fn an_address_is_for_what_it_was_given_for() {
        let addresses = Addresses::default();
        addresses.learn("http://c:8081/snap", grant(Use::Read));
        assert_eq!(
            addresses.find("/snap", |grant| grant.used == Use::Read),
            [Grant { port: Some(8081), ..grant(Use::Read) }]
        );
        assert!(addresses.find("/snap", |grant| grant.used == Use::Upload).is_empty());
        for (port, found) in [(None, 1), (Some(8081), 1), (Some(80), 0)] {
            assert_eq!(addresses.find("/snap", |grant| grant.is_for(port, |_| true)).len(), found, "{port:?}");
        }
        assert!(addresses.find("/snap?x", |_| true).is_empty() && addresses.find("/", |_| true).is_empty());
    }

    #[test]
    fn the_address_that_was_not_used_for_longest_is_forgotten_first() {
        let addresses = Addresses::default();
        for n in 0..ADDRESSES_MAX {
            addresses.learn(&format!("/{n}"), grant(Use::Read));
        }
        assert!(!addresses.find("/0", |_| true).is_empty());
        addresses.learn("/new", grant(Use::Read));
        assert!(addresses.find("/1", |_| true).is_empty());
        assert!(!addresses.find("/0", |_| true).is_empty() && !addresses.find("/new", |_| true).is_empty());
        addresses.learn(&format!("/{}", "x".repeat(ADDRESS_MAX)), grant(Use::Read));
        assert_eq!(addresses.lock().grants.len(), ADDRESSES_MAX);
    }

    #[test]
    fn uplinks_of_one_device_share_what_was_learned_while_one_of_them_lives() {
        let directory = Directory::default();
        let (first, second) = (directory.of("a".into()), directory.of("a".into()));
        first.learn("/snap", grant(Use::Read));
        assert!(
            !second.find("/snap", |_| true).is_empty() && directory.of("b".into()).find("/snap", |_| true).is_empty()
        );
        drop((first, second));
        assert!(directory.of("a".into()).find("/snap", |_| true).is_empty());
    }
}
