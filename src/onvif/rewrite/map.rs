//! From an address as the device writes it to one that works outside, and back (ONVIF Core §GetServices: the XAddr mirrors the
//! request; over an uplink only path and query mean anything).
//!
//! Paths and queries stay byte for byte. Several loopback ports stand behind one address: those that the configuration allows
//! have a path of their own, [`PORT_PATH`]. No address of a message is ever dialed: a port that is not allowed is taken for
//! the device's own view of its web service, as it has behind a port mapping.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use http::{HeaderMap, Uri, header, uri::Authority};

use crate::model::addresses::{Addresses, Rewrite};

/// What stands before the path of a further port: `/onvif-uplink-port/8081/snapshot.jpg`.
pub const PORT_PATH: &str = "/onvif-uplink-port/";
/// Where the remote's front carries RTSP for this device, if it does: `rtsp://gateway:8554/camera-1`.
pub const RTSP_BASE: &str = "onvif-uplink-rtsp";
/// What the remote's front puts before the paths of this device.
const FORWARDED_PREFIX: &str = "x-forwarded-prefix";
/// Longest address that is looked at, bytes; ONVIF bounds stream URIs at 128.
const ADDRESS_MAX: usize = 2048;

/// How the one who asked names the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// `http` or `https`.
    scheme: String,
    /// Host and port, then what stands before the device's paths.
    base: String,
    /// The same for RTSP, with the scheme.
    rtsp: Option<String>,
}

impl Outside {
    /// From the head of a request. `fallback` is the authority of the remote, for requests without one (quirk Q8).
    pub fn of(uri: &Uri, headers: &HeaderMap, fallback: &str) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let authority = |text: &str| text.parse::<Authority>().ok().filter(|parsed| !parsed.as_str().contains('@'));
        let forwarded = text("x-forwarded-host").and_then(authority);
        let asked = || uri.authority().cloned().or_else(|| text(header::HOST.as_str()).and_then(authority));
        let host = forwarded.or_else(asked).map_or_else(|| fallback.to_owned(), |authority| authority.to_string());
        let scheme = match text("x-forwarded-proto").or(uri.scheme_str()) {
            Some("http") => "http",
            _ => "https",
        };
        let prefix = text(FORWARDED_PREFIX).filter(|prefix| is_prefix(prefix)).unwrap_or_default();
        let rtsp = text(RTSP_BASE).filter(|base| base.starts_with("rtsp://") && is_prefix(&base[6..]));
        Self { scheme: scheme.to_owned(), base: format!("{host}{prefix}"), rtsp: rtsp.map(str::to_owned) }
    }

    /// The fixed address of the configuration.
    fn fixed(base: &str) -> Self {
        let (scheme, rest) = base.split_once("://").unwrap_or(("https", base));
        Self { scheme: scheme.to_owned(), base: rest.to_owned(), rtsp: None }
    }

    fn http(&self) -> String {
        format!("{}://{}", self.scheme, self.base)
    }

    fn rtsp(&self) -> String {
        self.rtsp.clone().unwrap_or_else(|| format!("rtsp://{}", self.base))
    }

    fn websocket(&self) -> String {
        format!("{}://{}", if self.scheme == "http" { "ws" } else { "wss" }, self.base)
    }

    /// What stands before the device's paths.
    fn prefix(&self) -> &str {
        self.base.find('/').map_or("", |slash| &self.base[slash..])
    }
}

fn is_prefix(text: &str) -> bool {
    text.starts_with('/') && !text.ends_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"')
}

/// The kinds of addresses that keep an original of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Service {
    Http(u16),
    Rtsp,
}

/// The mapping of one device.
#[derive(Debug)]
pub struct Map {
    rewrite: Rewrite,
    /// The port of its web service.
    http: u16,
    /// Further ports that may be reached.
    ports: BTreeSet<u16>,
    /// What the device calls itself, scheme and authority; for `wsa:To` and RTSP on the way back. One entry a port at most.
    originals: Mutex<BTreeMap<Service, String>>,
}

impl Map {
    /// A mapping that has seen nothing yet.
    ///
    /// `http` is the port of the device's web service.
    pub fn new(addresses: &Addresses, http: u16) -> Self {
        let Addresses { rewrite, ports } = addresses.clone();
        Self { rewrite, http, ports, originals: Mutex::default() }
    }

    /// Whether anything is changed at all.
    pub fn is_on(&self) -> bool {
        self.rewrite != Rewrite::None
    }

    /// Whether a further port may be reached.
    pub fn allows(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    /// How the device is named outside in answer to this request.
    pub fn outside(&self, uri: &Uri, headers: &HeaderMap, fallback: &str) -> Outside {
        match &self.rewrite {
            Rewrite::Fixed(base) => Outside::fixed(base),
            _ => Outside::of(uri, headers, fallback),
        }
    }

    /// The same for a request of RTSP, which names the device in its own address; `None` when that names nobody.
    pub fn outside_of_rtsp(&self, address: &str) -> Option<Outside> {
        if let Rewrite::Fixed(base) = &self.rewrite {
            return Some(Outside::fixed(base));
        }
        let address = Address::parse(address).filter(|address| address.scheme.starts_with("rtsp"))?;
        let base = address.authority.to_owned();
        Some(Outside { scheme: "https".to_owned(), rtsp: Some(format!("rtsp://{base}")), base })
    }

    /// The address `inner` of the device as it works outside; `None` when it is none that is mapped.
    pub fn outward(&self, inner: &str, outside: &Outside) -> Option<String> {
        let address = Address::parse(inner)?;
        let path = address.path;
        match address.scheme.as_str() {
            "http" | "https" => {
                let (service, port_path) = self.service(&address);
                self.remember(service, &address);
                Some(format!("{}{port_path}{path}", outside.http()))
            }
            "ws" | "wss" if address.authority.is_empty() => {
                Some(format!("{}:{}{path}", address.scheme, outside.prefix()))
            }
            "ws" | "wss" => Some(format!("{}{}{path}", outside.websocket(), self.service(&address).1)),
            "rtsp" | "rtsps" => {
                self.remember(Service::Rtsp, &address);
                Some(format!("{}{path}", outside.rtsp()))
            }
            _ => None,
        }
    }

    /// The address `outer` as the device wrote it; `None` when it is not one of ours.
    pub fn inward(&self, outer: &str, outside: &Outside) -> Option<String> {
        let address = Address::parse(outer)?;
        let (base, rtsp) = match address.scheme.as_str() {
            "http" | "https" => (outside.base.as_str(), false),
            "rtsp" | "rtsps" => (outside.rtsp.as_deref().map_or(outside.base.as_str(), |base| &base[7..]), true),
            _ => return None,
        };
        let whole = &outer[address.scheme.len() + 3..];
        let path = strip_prefix(whole, base)?;
        let (service, path) = match split_port(path).filter(|(port, _)| !rtsp && self.ports.contains(port)) {
            Some((port, rest)) => (Service::Http(port), rest),
            None if rtsp => (Service::Rtsp, path),
            None => (Service::Http(self.http), path),
        };
        let originals = self.originals.lock().unwrap_or_else(PoisonError::into_inner);
        let original = originals.get(&service).cloned();
        drop(originals);
        let original = match (original, service) {
            (Some(original), _) => original,
            (None, Service::Http(port)) => format!("http://127.0.0.1:{port}"),
            // Servers of RTSP take any name for their own as long as they have given none.
            (None, Service::Rtsp) => return None,
        };
        Some(format!("{original}{path}"))
    }

    /// Which port an address means, and what stands before its path outside.
    fn service(&self, address: &Address<'_>) -> (Service, String) {
        match address.port() {
            Some(port) if port != self.http && self.ports.contains(&port) => {
                (Service::Http(port), format!("{PORT_PATH}{port}"))
            }
            _ => (Service::Http(self.http), String::new()),
        }
    }

    fn remember(&self, service: Service, address: &Address<'_>) {
        let mut originals = self.originals.lock().unwrap_or_else(PoisonError::into_inner);
        let base = format!("{}://{}", address.scheme, address.authority);
        if originals.get(&service) != Some(&base) {
            originals.insert(service, base);
        }
    }
}

/// The port and the path of the device in a path with [`PORT_PATH`].
pub fn split_port(path: &str) -> Option<(u16, &str)> {
    let rest = path.strip_prefix(PORT_PATH)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    // Digits only: `+80` is a number to Rust and no port.
    let digits = rest[..end].bytes().all(|byte| byte.is_ascii_digit());
    let port = rest[..end].parse().ok().filter(|_| digits)?;
    Some((port, &rest[end..]))
}

/// Host and port count without case, what follows with it.
fn strip_prefix<'a>(whole: &'a str, base: &str) -> Option<&'a str> {
    let host = base.find('/').unwrap_or(base.len());
    let (start, rest) = whole.split_at_checked(host)?;
    let rest = start.eq_ignore_ascii_case(&base[..host]).then(|| rest.strip_prefix(&base[host..])).flatten()?;
    (rest.is_empty() || rest.starts_with(['/', '?'])).then_some(rest)
}

/// An address cut into parts, nothing decoded and nothing normalised.
struct Address<'a> {
    /// Lower case.
    scheme: String,
    /// Host and port, without user information: a password of the device is nobody's business outside.
    authority: &'a str,
    /// Path and query.
    path: &'a str,
}

impl<'a> Address<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_graphic() || byte >= 0x80;
        if text.len() > ADDRESS_MAX || !text.bytes().all(plain) {
            return None;
        }
        let (scheme, rest) = text.split_once(':')?;
        let scheme = scheme.to_ascii_lowercase();
        let Some(rest) = rest.strip_prefix("//") else {
            // `ws:/path` of the RTSPWebSocketUri has no host.
            return rest.starts_with('/').then_some(Self { scheme, authority: "", path: rest });
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let authority = authority.rsplit('@').next().unwrap_or(authority);
        (!authority.is_empty()).then_some(Self { scheme, authority, path })
    }

    fn port(&self) -> Option<u16> {
        let after_host = self.authority.rfind(']').map_or(0, |bracket| bracket + 1);
        match self.authority[after_host..].rsplit_once(':') {
            Some((_, port)) => port.parse().ok(),
            None => match self.scheme.as_str() {
                "https" | "wss" => Some(443),
                _ => Some(80),
            },
        }
    }
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
