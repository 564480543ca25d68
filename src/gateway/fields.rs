//! Header fields on their way through the gateway: what is for one hop stays here (RFC 9110 §7.6.1), the path form is kept.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header, uri::Authority};

/// What stands before the device's paths.
const PREFIX: &str = "x-forwarded-prefix";
/// Where players reach the device; the sidecar puts it into stream addresses and takes the field out.
const RTSP_BASE: &str = "onvif-uplink-rtsp";

/// Fields for one hop, whether or not `Connection` names them.
const ONE_HOP: [&str; 7] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings", "te"];

/// Removes what is for one hop. `te: trailers` stays: HTTP/2 allows exactly that (RFC 9113 §8.2.2).
pub fn drop_one_hop(headers: &mut HeaderMap) {
    let trailers = headers.get_all(header::TE).iter().any(|value| {
        value.to_str().is_ok_and(|text| text.split(',').any(|item| item.trim().eq_ignore_ascii_case("trailers")))
    });
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in ONE_HOP {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Whether the client wants this connection to become a WebSocket (RFC 6455 §4.1).
pub fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let has = |name: HeaderName, token: &str| {
        let values = headers.get_all(name);
        let mut tokens = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
        tokens.any(|item| item.trim().eq_ignore_ascii_case(token))
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}

/// Prepares the fields of a request for the device. With `token`, `Authorization` was for this gateway and ends here.
pub fn to_device(headers: &mut HeaderMap, client: SocketAddr, authority: &Authority, token: bool) {
    drop_one_hop(headers);
    headers.remove(header::HOST);
    headers.remove(header::PROXY_AUTHORIZATION);
    if token {
        headers.remove(header::AUTHORIZATION);
    }
    let mut path: Vec<String> =
        headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
    path.push(client.ip().to_canonical().to_string());
    if let Ok(value) = HeaderValue::try_from(path.join(", ")) {
        headers.insert("x-forwarded-for", value);
    }
    // A proxy before this front knows better what the client used.
    if let header::Entry::Vacant(entry) = headers.entry("x-forwarded-proto") {
        entry.insert(HeaderValue::from_static("http"));
    }
    if let header::Entry::Vacant(entry) = headers.entry("x-forwarded-host")
        && let Ok(value) = HeaderValue::try_from(authority.as_str())
    {
        entry.insert(value);
    }
}

/// Tells the device's end how the client names the device, so that the addresses in its answers can work here: the `prefix` of the
/// path form, behind that of a proxy before this front, and where its RTSP is served, if it is (`rtsp`: the listener's port).
pub fn name(headers: &mut HeaderMap, device: &str, prefix: Option<&str>, authority: &Authority, rtsp: Option<u16>) {
    let before = headers.remove(PREFIX).and_then(|value| value.to_str().map(str::to_owned).ok()).unwrap_or_default();
    let whole = format!("{}{}", before.trim_end_matches('/'), prefix.unwrap_or_default());
    if let Some(value) = HeaderValue::try_from(whole).ok().filter(|value| !value.is_empty()) {
        headers.insert(PREFIX, value);
    }
    headers.remove(RTSP_BASE);
    if let Some(port) = rtsp {
        let segment = prefix.map_or_else(|| format!("/{device}"), str::to_owned);
        if let Ok(value) = HeaderValue::try_from(format!("rtsp://{}:{port}{segment}", authority.host())) {
            headers.insert(RTSP_BASE, value);
        }
    }
}

/// Prepares the fields of a response for the client; under the path form, redirects and cookies stay below `prefix`.
pub fn to_client(headers: &mut HeaderMap, prefix: Option<&str>, authority: &Authority) {
    drop_one_hop(headers);
    headers.remove(header::TE);
    let Some(prefix) = prefix else { return };
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        let moved =
            headers.get(&name).and_then(|value| value.to_str().ok()).and_then(|to| relocate(to, prefix, authority));
        if let Some(value) = moved.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(name, value);
        }
    }
    let cookies: Vec<HeaderValue> =
        headers.get_all(header::SET_COOKIE).iter().map(|value| rebase(value, prefix)).collect();
    headers.remove(header::SET_COOKIE);
    for cookie in cookies {
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// An absolute path, or an address of the host that the client used, moves below the prefix; all else stays.
fn relocate(location: &str, prefix: &str, authority: &Authority) -> Option<String> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(format!("{prefix}{location}"));
    }
    let (scheme, rest) = location.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    host.eq_ignore_ascii_case(authority.as_str()).then(|| {
        let path = if path.is_empty() { "/" } else { path };
        format!("{scheme}://{host}{prefix}{path}")
    })
}

/// `Path=/x` becomes `Path=/<device>/x` (RFC 6265 §4.1.2.4); a cookie without one is below the prefix already.
fn rebase(cookie: &HeaderValue, prefix: &str) -> HeaderValue {
    let Ok(text) = cookie.to_str() else { return cookie.clone() };
    let parts: Vec<String> = text
        .split(';')
        .map(|part| match part.trim().split_once('=') {
            Some((name, path)) if name.trim().eq_ignore_ascii_case("path") && path.trim().starts_with('/') => {
                format!(" Path={prefix}{}", path.trim())
            }
            _ => part.to_owned(),
        })
        .collect();
    HeaderValue::try_from(parts.join(";")).unwrap_or_else(|_| cookie.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_is_for_one_hop_and_what_connection_names_ends_here() {
        let mut headers = fields(&[
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("te", "gzip, trailers"),
            ("upgrade", "x"),
            ("a", "b"),
        ]);
        drop_one_hop(&mut headers);
        assert_eq!(headers, fields(&[("a", "b"), ("te", "trailers")]));
    }

    #[test]
    fn only_a_websocket_is_an_upgrade_that_counts() {
        assert!(asks_for_websocket(&fields(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")])));
        assert!(!asks_for_websocket(&fields(&[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")])));
        assert!(!asks_for_websocket(&fields(&[("upgrade", "websocket")])));
    }

    #[test]
    fn the_device_learns_the_client_but_not_the_token() {
        let mut headers = fields(&[("host", "gw"), ("authorization", "Bearer t"), ("x-forwarded-for", "192.0.2.1")]);
        to_device(&mut headers, "127.0.0.1:5".parse().expect("address"), &Authority::from_static("gw"), true);
        assert_eq!(
            headers,
            fields(&[
                ("x-forwarded-for", "192.0.2.1, 127.0.0.1"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "gw")
            ])
        );
    }

    #[test]
    fn the_devices_end_learns_how_the_client_names_the_device() {
        let gateway = Authority::from_static("gw:8800");
        let mut headers = fields(&[("x-forwarded-prefix", "/site/"), ("onvif-uplink-rtsp", "rtsp://evil/")]);
        name(&mut headers, "cam 1", Some("/cam%201"), &gateway, Some(8554));
        assert_eq!(
            headers,
            fields(&[("x-forwarded-prefix", "/site/cam%201"), ("onvif-uplink-rtsp", "rtsp://gw:8554/cam%201")])
        );
        let mut headers = fields(&[("onvif-uplink-rtsp", "rtsp://evil/")]);
        name(&mut headers, "cam", None, &gateway, None);
        assert_eq!(headers, HeaderMap::new());
    }

    #[test]
    fn redirects_and_cookies_stay_below_the_prefix() {
        let gateway = Authority::from_static("gw:8800");
        let moved = |to: &str| relocate(to, "/cam", &gateway);
        assert_eq!(moved("/login").as_deref(), Some("/cam/login"));
        assert_eq!(moved("http://gw:8800").as_deref(), Some("http://gw:8800/cam/"));
        assert_eq!(moved("//other/x"), None);
        assert_eq!(moved("https://other/x"), None);
        assert_eq!(moved("next"), None);
        assert_eq!(rebase(&HeaderValue::from_static("s=1; path=/; HttpOnly"), "/cam"), "s=1; Path=/cam/; HttpOnly");
    }
}
