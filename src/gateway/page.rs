//! The list of devices, for programs and for people.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::session::Core;
use crate::base::http::{Body, Response};

/// The devices as JSON.
pub fn devices_json<'a>(devices: impl IntoIterator<Item = &'a Core>) -> Value {
    devices
        .into_iter()
        .map(|core| {
            json!({
                "device": core.device,
                "since": since(core),
                "remoteAddress": core.peer.to_string(),
                "streamsOpen": core.activity.streams_open(),
                "requests": core.activity.requests(),
                "bytesReceived": core.activity.bytes_received(),
                "bytesSent": core.activity.bytes_sent(),
            })
        })
        .collect()
}

/// The answer to `/devices`: a page when the client asks for one, else JSON.
pub fn devices<'a>(headers: &HeaderMap, devices: impl IntoIterator<Item = &'a Core>) -> Response {
    let wants_page =
        headers.get_all(header::ACCEPT).iter().any(|value| value.to_str().is_ok_and(|text| text.contains("text/html")));
    let (kind, text) = if wants_page {
        ("text/html; charset=utf-8", html(devices))
    } else {
        ("application/json", format!("{:#}\n", devices_json(devices)))
    };
    let mut response = http::Response::new(Body::full(text));
    *response.status_mut() = StatusCode::OK;
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

fn html<'a>(devices: impl IntoIterator<Item = &'a Core>) -> String {
    let rows: String = devices
        .into_iter()
        .map(|core| {
            format!(
                "<tr><td><a href=\"/{}/\">{}</a><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}\n",
                segment(&core.device),
                escape(&core.device),
                since(core),
                core.peer,
                core.activity.streams_open(),
                core.activity.requests(),
                core.activity.bytes_received(),
                core.activity.bytes_sent(),
            )
        })
        .collect();
    let body = if rows.is_empty() {
        "<p>No device is connected.</p>".to_owned()
    } else {
        format!(
            "<table><tr><th>Device<th>Since<th>Address<th>Streams<th>Requests<th>Bytes received<th>Bytes sent\n{rows}</table>"
        )
    };
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Devices</title><style>body{{font:16px sans-serif;margin:2em}}td,th{{text-align:left;padding:.2em 1em .2em 0}}</style>\
         <h1>Devices</h1>\n{body}\n"
    )
}

fn since(core: &Core) -> String {
    let since = OffsetDateTime::from(core.since).replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
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
}
