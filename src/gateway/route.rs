//! Which device a request means: by its path `/<device>/…`, or by its host `<device>.<suffix>`.
//!
//! Paths and queries stay byte for byte as the client wrote them. A request that says its host twice and differently is
//! refused: what is ambiguous here could mean something else to the device (RFC 9112 §3.2).

use std::net::IpAddr;

use http::{
    HeaderMap, Uri, header,
    uri::{Authority, PathAndQuery},
};

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The list of devices.
    Devices,
    /// `/`: go to the list.
    Root,
    /// `/<device>` without the slash, in which relative links would go wrong; where it should be.
    AddSlash(String),
    /// A device.
    Device {
        /// Its name.
        device: String,
        /// What it is asked for.
        path: PathAndQuery,
        /// `/<device>` as the client wrote it; none when the host names the device.
        prefix: Option<String>,
    },
}

/// The host that the client named.
///
/// # Errors
/// A sentence: none, several, or two that differ.
pub fn authority(uri: &Uri, headers: &HeaderMap) -> Result<Authority, &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("the request has several Host fields");
    }
    let host = match host {
        Some(value) => {
            Some(Authority::try_from(value.as_bytes()).map_err(|_| "the Host field is not a host and port")?)
        }
        None => None,
    };
    let named = match (uri.authority().cloned(), host) {
        (Some(target), Some(host)) if target != host => {
            return Err("the target and the Host field name different hosts");
        }
        (Some(authority), _) | (None, Some(authority)) => authority,
        (None, None) => return Err("the request has no Host field"),
    };
    if named.as_str().contains('@') { Err("a host has no user name here") } else { Ok(named) }
}

/// Finds the target. `suffixes` are the domains under which devices have host names, without a leading dot.
///
/// # Errors
/// A sentence for the client.
pub fn target(authority: &Authority, uri: &Uri, suffixes: &[String]) -> Result<Target, &'static str> {
    let whole = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    if !whole.path().starts_with('/') {
        return Err("the request target is not a path");
    }
    if let Some(device) = suffixes.iter().find_map(|suffix| label(authority.host(), suffix)) {
        return Ok(Target::Device { device: device.to_owned(), path: whole, prefix: None });
    }
    let path = whole.path();
    let segment = path[1..].split('/').next().unwrap_or_default();
    match (segment, path.len() == 1 + segment.len()) {
        ("", true) => return Ok(Target::Root),
        ("", false) => return Err("the path begins with two slashes; write /DEVICE/PATH"),
        ("devices", true) => return Ok(Target::Devices),
        (_, true) => {
            let query = whole.query().map(|query| format!("?{query}")).unwrap_or_default();
            return Ok(Target::AddSlash(format!("/{segment}/{query}")));
        }
        _ => {}
    }
    let device = decode(segment).ok_or("the name of the device is not valid percent-encoded UTF-8")?;
    let rest = &whole.as_str()[1 + segment.len()..];
    let path = PathAndQuery::try_from(rest).map_err(|_| "the path is not valid")?;
    Ok(Target::Device { device, path, prefix: Some(format!("/{segment}")) })
}

/// Whether `host` can only mean this machine or a configured domain. A page of another site whose name was pointed at
/// 127.0.0.1 (DNS rebinding) sends its own name.
pub fn is_local(authority: &Authority, suffixes: &[String]) -> bool {
    let host = authority.host().trim_end_matches('.');
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        || host.eq_ignore_ascii_case("localhost")
        || label(host, "localhost").is_some()
        || suffixes.iter().any(|suffix| host.eq_ignore_ascii_case(suffix) || label(host, suffix).is_some())
}

/// What stands before `.suffix` in a host; `None` when the host is not below it.
pub fn label<'a>(host: &'a str, suffix: &str) -> Option<&'a str> {
    let host = host.trim_end_matches('.');
    let (label, end) = host.split_at_checked(host.len().checked_sub(suffix.len() + 1)?)?;
    let found = end.strip_prefix('.').is_some_and(|end| end.eq_ignore_ascii_case(suffix)) && !label.is_empty();
    found.then_some(label)
}

/// The name of a device as a segment of a path says it (RFC 3986 §2.1); `None` when that is no text.
pub fn decode(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(tail.get(..2).filter(|pair| pair.iter().all(u8::is_ascii_hexdigit))?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(host: &'static str, uri: &'static str) -> Result<Target, &'static str> {
        target(&Authority::from_static(host), &Uri::from_static(uri), &["cams.example.com".to_owned()])
    }

    #[test]
    fn the_path_form_takes_the_first_segment_and_leaves_the_rest_alone() {
        let found = find("gw", "/cam%201/a%2Fb//c?x=%20&y").expect("valid");
        let path = PathAndQuery::from_static("/a%2Fb//c?x=%20&y");
        assert_eq!(found, Target::Device { device: "cam 1".into(), path, prefix: Some("/cam%201".into()) });
    }

    #[test]
    fn the_host_form_takes_the_whole_path() {
        let found = find("Cam-1.CAMS.example.com.:8800", "/devices").expect("valid");
        let path = PathAndQuery::from_static("/devices");
        assert_eq!(found, Target::Device { device: "Cam-1".into(), path, prefix: None });
    }

    #[test]
    fn the_gateway_has_three_addresses_of_its_own() {
        assert_eq!(find("gw", "/"), Ok(Target::Root));
        assert_eq!(find("cams.example.com", "/devices"), Ok(Target::Devices));
        assert_eq!(find("gw", "/cam?a"), Ok(Target::AddSlash("/cam/?a".into())));
        assert!(find("gw", "//evil.example/").is_err());
    }

    #[test]
    fn a_host_that_is_said_twice_and_differently_is_refused() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, "a".parse().expect("value"));
        assert!(authority(&Uri::from_static("http://b/"), &headers).is_err());
        assert!(authority(&Uri::from_static("/"), &headers).is_ok());
        headers.append(header::HOST, "a".parse().expect("value"));
        assert!(authority(&Uri::from_static("/"), &headers).is_err());
        assert!(authority(&Uri::from_static("/"), &HeaderMap::new()).is_err());
    }

    #[test]
    fn a_rebound_name_is_not_local() {
        let local = |host: &'static str| is_local(&Authority::from_static(host), &[]);
        assert!(local("127.0.0.1:8800") && local("[::1]:8800") && local("localhost") && local("cam.localhost:1"));
        assert!(!local("evil.example") && !local("127.0.0.1.evil.example") && !local("notlocalhost"));
    }
}
