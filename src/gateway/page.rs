//! The list of devices, for programs and for people.

use std::{sync::Arc, time::SystemTime};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{directory::Directory, session::Core};
use crate::base::http::{Body, Response};

/// Devices that are not connected on one page; older ones are of no interest to whoever looks for a camera.
const OFFLINE_SHOWN: usize = 100;
/// A label of a host name (RFC 1035 §2.3.4).
const LABEL_MAX: usize = 63;
const STYLE: &str = "\
    :root{color-scheme:light dark}\
    body{font:16px/1.5 system-ui,sans-serif;margin:0;background:light-dark(#f6f7f9,#15181c);color:light-dark(#1c2126,#e4e7ea)}\
    main{max-width:64rem;margin:0 auto;padding:1.5rem}h1{font-size:1.6rem;margin:0 0 1rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}\
    .wide{overflow-x:auto}table{border-collapse:collapse;width:100%;background:light-dark(#fff,#1e2227)}\
    th,td{text-align:left;padding:.5rem .8rem;border-bottom:1px solid light-dark(#e1e5ea,#30363d);white-space:nowrap}\
    th{font-size:.85rem;font-weight:600;color:light-dark(#5b6570,#9aa4ae)}\
    .n{text-align:right;font-variant-numeric:tabular-nums}a{color:light-dark(#0b5fc0,#7db7ff)}\
    i{display:inline-block;width:.6rem;height:.6rem;border-radius:50%;margin-right:.6rem;background:#2da44e}\
    .off{background:light-dark(#a9b1ba,#5b6570)}";

/// The devices as JSON.
pub fn devices_json<'a>(devices: impl IntoIterator<Item = &'a Core>) -> Value {
    devices
        .into_iter()
        .map(|core| {
            json!({
                "device": core.device,
                "since": rfc3339(core.since),
                "remoteAddress": core.peer.to_string(),
                "streamsOpen": core.activity.streams_open(),
                "requests": core.activity.requests(),
                "bytesReceived": core.activity.bytes_received(),
                "bytesSent": core.activity.bytes_sent(),
            })
        })
        .collect()
}

/// How the page links to a device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Links<'a> {
    /// The domain below which devices have host names.
    pub domain: Option<&'a str>,
    /// The port of the front as the client wrote it.
    pub port: Option<u16>,
    /// The host as the client wrote it and the port of the RTSP listener, if there is one.
    pub rtsp: Option<(&'a str, u16)>,
}

impl Links<'_> {
    /// `//device.domain:port/` when the name can be part of a host name, else `/device/`.
    fn to(&self, device: &str) -> String {
        let is_host = device.len() <= LABEL_MAX
            && device.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !device.starts_with('-')
            && !device.ends_with('-');
        match (self.domain.filter(|_| is_host), self.port) {
            (Some(domain), Some(port)) => format!("//{device}.{domain}:{port}/"),
            (Some(domain), None) => format!("//{device}.{domain}/"),
            (None, _) => format!("/{}/", segment(device)),
        }
    }

    /// Where players of plain RTSP find a device; the path of its stream comes behind.
    fn rtsp(&self, device: &str) -> Option<String> {
        self.rtsp.map(|(host, port)| format!("rtsp://{host}:{port}/{}/", segment(device)))
    }
}

/// Whether the client is a browser that shows a page.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|value| value.to_str().is_ok_and(|text| text.contains("text/html")))
}

/// The answer to `/devices`: a page when the client asks for one, else JSON of the devices that are connected.
pub fn devices(headers: &HeaderMap, directory: &Directory, links: &Links<'_>) -> Response {
    let online = directory.online();
    if is_wanted(headers) {
        let body = list(&online, &directory.offline(OFFLINE_SHOWN), links, SystemTime::now());
        answer(StatusCode::OK, "text/html; charset=utf-8", document("Devices", &body))
    } else {
        let mut list = devices_json(online.iter().map(AsRef::as_ref));
        for (core, entry) in online.iter().zip(list.as_array_mut().into_iter().flatten()) {
            if let Some(address) = links.rtsp(&core.device) {
                entry["rtsp"] = address.into();
            }
        }
        let json = format!("{list:#}\n");
        answer(StatusCode::OK, "application/json", json)
    }
}

/// A page with one sentence, for an answer that is not the device's.
pub fn sentence(status: StatusCode, sentence: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = format!("<p>{}.<p><a href=\"/devices\">All devices</a>", escape(&capital(sentence)));
    answer(status, "text/html; charset=utf-8", document(title, &body))
}

fn answer(status: StatusCode, kind: &'static str, text: String) -> Response {
    let mut response = http::Response::new(Body::full(text));
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, "Accept"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style>\n<main><h1>{title}</h1>\n{body}\n</main>\n"
    )
}

fn list(online: &[Arc<Core>], offline: &[(String, SystemTime)], links: &Links<'_>, now: SystemTime) -> String {
    let mut body = String::new();
    if online.is_empty() {
        body.push_str("<p>No device is connected.\n");
    } else {
        body.push_str("<div class=\"wide\"><table><tr><th>Device<th>Connected for<th>Address");
        if links.rtsp.is_some() {
            body.push_str("<th>RTSP, with the path of a stream");
        }
        body.push_str("<th class=\"n\">Streams<th class=\"n\">Requests<th class=\"n\">Received<th class=\"n\">Sent\n");
    }
    for core in online {
        body.push_str(&format!(
            "<tr><td><i></i><a href=\"{}\">{}</a><td>{}<td>{}{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}\n",
            escape(&links.to(&core.device)),
            escape(&core.device),
            elapsed(core.since, now),
            core.peer,
            links.rtsp(&core.device).map(|address| format!("<td>{}", escape(&address))).unwrap_or_default(),
            core.activity.streams_open(),
            core.activity.requests(),
            amount(core.activity.bytes_received()),
            amount(core.activity.bytes_sent()),
        ));
    }
    if !online.is_empty() {
        body.push_str("</table></div>\n");
    }
    if !offline.is_empty() {
        body.push_str("<h2>Not connected now</h2>\n<table><tr><th>Device<th>Since\n");
        for (device, left) in offline {
            body.push_str(&format!("<tr><td><i class=\"off\"></i>{}<td>{} ago\n", escape(device), elapsed(*left, now)));
        }
        body.push_str("</table>\n");
    }
    body
}

/// A duration for people, with the exact time for programs and as the tool tip.
fn elapsed(since: SystemTime, now: SystemTime) -> String {
    let exact = rfc3339(since);
    let seconds = now.duration_since(since).unwrap_or_default().as_secs();
    let text = match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    };
    format!("<time datetime=\"{exact}\" title=\"{exact}\">{text}</time>")
}

/// Bytes in decimal units, as links are rated.
fn amount(bytes: u64) -> String {
    let (mut whole, mut rest, mut unit) = (bytes, 0, "B");
    for next in ["kB", "MB", "GB", "TB"] {
        if whole < 1000 {
            break;
        }
        (rest, whole, unit) = (whole % 1000, whole / 1000, next);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{whole}.{} {unit}", rest / 100) }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn rfc3339(at: SystemTime) -> String {
    let since = OffsetDateTime::from(at).replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    since.format(&Rfc3339).unwrap_or_default()
}

/// A name as one segment of a path (RFC 3986 §2.3: all but the unreserved characters are encoded).
fn segment(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_markup_and_never_a_second_segment() {
        assert_eq!(escape("<b>\"&'"), "&lt;b&gt;&quot;&amp;&#39;");
        assert_eq!(segment("a/b \"ü"), "a%2Fb%20%22%C3%BC");
    }

    #[test]
    fn a_link_is_a_host_name_where_one_is_possible() {
        let links = Links { domain: Some("cams.example.com"), port: Some(8800), rtsp: Some(("gw", 8554)) };
        assert_eq!(links.to("camera-1"), "//camera-1.cams.example.com:8800/");
        assert_eq!(Links { port: None, ..links }.to("camera-1"), "//camera-1.cams.example.com/");
        for name in ["a.b", "a b", "-a", "a/"] {
            assert_eq!(links.to(name), format!("/{}/", segment(name)));
        }
        assert_eq!(Links::default().to("camera-1"), "/camera-1/");
        assert_eq!(links.rtsp("a b").as_deref(), Some("rtsp://gw:8554/a%20b/"));
        assert_eq!(Links::default().rtsp("a"), None);
    }

    #[test]
    fn amounts_and_durations_are_short() {
        assert_eq!([0, 999, 1000, 1_960_000].map(amount), ["0 B", "999 B", "1.0 kB", "1.9 MB"]);
        let at = SystemTime::UNIX_EPOCH;
        assert!(elapsed(at, at + std::time::Duration::from_secs(3720)).ends_with(">1 h 2 min</time>"));
        assert!(elapsed(at + std::time::Duration::from_secs(9), at).contains(">0 s<"));
    }

    #[test]
    fn a_device_that_left_is_on_the_page_with_its_name_escaped() {
        let now = SystemTime::now();
        let text = list(&[], &[("<x>".to_owned(), now)], &Links::default(), now);
        assert!(text.contains("No device is connected") && text.contains("&lt;x&gt;<td>"), "{text}");
    }
}
