//! Header rules of the change from HTTP/2 to HTTP/1.1 and back: pure functions.
//!
//! RFC 9110 §7.6.1 (connection fields), RFC 9113 §8.2.2 and §8.2.3 (HTTP/2), RFC 9112 §6 (length), RFC 7239 (Forwarded).
//! Line ends, NUL and spaces cannot stand in the types of the `http` crate; what is checked here is what they mean.

use std::net::{IpAddr, SocketAddr};

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
};

use super::target::Refusal;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Fields of one connection, whether or not `Connection` names them.
const HOP_BY_HOP: [HeaderName; 3] = [CONNECTION, TRANSFER_ENCODING, UPGRADE];
const HOP_BY_HOP_TEXT: [&str; 3] = ["keep-alive", "http2-settings", "te"];
/// What a proxy says to its neighbour (`Proxy-Authorization`, `Proxy-Connection`, …).
const PROXY_PREFIX: &str = "proxy-";
/// Fields that we set. CGI programs read `_` as `-`, so their twins with `_` are no way around us.
const MANAGED: [&str; 9] = [
    "connection",
    "content-length",
    "forwarded",
    "host",
    "te",
    "transfer-encoding",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// How the request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFraming {
    /// The announced length, bytes.
    pub length: Option<u64>,
    /// The sender waits for a 100 before it sends the body.
    pub expects_continue: bool,
}

/// Turns the header of an HTTP/2 request into that for the device. `own` is the device's authority, `asked` the one that the
/// remote asked for, `remote` the transport address of the remote.
///
/// # Errors
/// A transfer-encoding (RFC 9113 §8.2.2), a wrong content-length, an expectation that nobody knows.
pub fn to_device(
    headers: &mut HeaderMap,
    own: &HeaderValue,
    asked: Option<&str>,
    remote: Option<SocketAddr>,
) -> Result<RequestFraming, Refusal> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return Err(Refusal::bad_request("transfer-encoding has no place in an HTTP/2 request"));
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next().map(digits).transpose()?;
    if lengths.next().is_some() {
        return Err(Refusal::bad_request("the request has more than one content-length"));
    }
    let expects_continue = expectation(headers)?;
    let asked = asked.or_else(|| headers.get(HOST).and_then(|host| host.to_str().ok())).map(str::to_owned);
    let trailers = headers.get_all(TE).iter().any(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    drop_connection_fields(headers);
    drop_twins(headers);
    if trailers {
        // RFC 9110 §10.1.4: who sends TE names it in Connection.
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("TE"));
    }
    join_cookies(headers);
    headers.insert(HOST, own.clone());
    say_forwarded(headers, asked.as_deref(), remote);
    Ok(RequestFraming { length, expects_continue })
}

fn expectation(headers: &HeaderMap) -> Result<bool, Refusal> {
    let mut found = false;
    for value in headers.get_all(EXPECT) {
        if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
            let status = StatusCode::EXPECTATION_FAILED;
            return Err(Refusal { status, sentence: "the only expectation known is 100-continue" });
        }
        found = true;
    }
    Ok(found)
}

/// A content-length: digits and nothing else (RFC 9110 §8.6).
fn digits(value: &HeaderValue) -> Result<u64, Refusal> {
    let bytes = value.as_bytes();
    let text = std::str::from_utf8(bytes).ok().filter(|_| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit));
    text.and_then(|text| text.parse().ok()).ok_or(Refusal::bad_request("content-length is not a number"))
}

fn drop_connection_fields(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        // Naming the length must not take it away: the body would then be read as the next message.
        .filter(|name| name != CONTENT_LENGTH && name != HOST)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    for name in HOP_BY_HOP_TEXT {
        headers.remove(name);
    }
    drop_where(headers, |name| name.starts_with(PROXY_PREFIX));
}

fn drop_twins(headers: &mut HeaderMap) {
    drop_where(headers, |name| name.contains('_') && MANAGED.contains(&name.replace('_', "-").as_str()));
}

fn drop_where(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    if headers.keys().any(|name| unwanted(name.as_str())) {
        let names: Vec<_> = headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}

/// HTTP/2 may split a cookie; HTTP/1.1 must not have it split (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_some() {
        let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            headers.insert(COOKIE, cookie);
        }
    }
}

fn say_forwarded(headers: &mut HeaderMap, asked: Option<&str>, remote: Option<SocketAddr>) {
    let proto = headers.get(X_FORWARDED_PROTO).filter(|value| *value == "http" || *value == "https").cloned();
    headers.insert(X_FORWARDED_PROTO, proto.unwrap_or(HeaderValue::from_static("https")));
    if let Some(host) = asked.and_then(|host| HeaderValue::from_str(host).ok())
        && !headers.contains_key(X_FORWARDED_HOST)
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
    let mut element = String::new();
    if let Some(remote) = remote {
        let ip = remote.ip().to_canonical();
        append_to_list(headers, &X_FORWARDED_FOR, &ip.to_string());
        element.push_str("for=");
        match ip {
            IpAddr::V4(ip) => element.push_str(&ip.to_string()),
            // RFC 7239 §6: an IPv6 address stands in brackets and, for them, in quotes.
            IpAddr::V6(ip) => element.push_str(&format!("\"[{ip}]\"")),
        }
        element.push(';');
    }
    if let Some(host) = asked {
        element.push_str(&format!("host={};", token_or_quoted(host)));
    }
    element.push_str("proto=https");
    append_to_list(headers, &FORWARDED, &element);
}

/// RFC 7239 §4: a value is a token or a quoted string.
fn token_or_quoted(text: &str) -> String {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_token) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn append_to_list(headers: &mut HeaderMap, name: &HeaderName, element: &str) {
    let mut list: Vec<u8> = Vec::new();
    for value in headers.get_all(name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(name, value);
    }
}

/// Turns the header of a device's answer into that for the remote. `bodiless` is true for
/// HEAD, 204 and 304. Gives the length of the body when it is known.
///
/// # Errors
/// A sentence: the length of the answer is in doubt (RFC 9112 §6.3), so neither the body nor the connection can be trusted.
pub fn to_remote(headers: &mut HeaderMap, status: StatusCode, bodiless: bool) -> Result<Option<u64>, &'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if headers.contains_key(CONTENT_LENGTH) {
            return Err("it has both a content-length and a transfer-encoding");
        }
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err("its transfer-encoding is not `chunked`");
        }
    }
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let this = digits(value).map_err(|_| "its content-length is not a number")?;
        if length.is_some_and(|before| before != this) {
            return Err("it has two different content-lengths");
        }
        length = Some(this);
    }
    drop_connection_fields(headers);
    match length {
        // RFC 9110 §8.6: a 204 has no length.
        Some(_) if status == StatusCode::NO_CONTENT => drop(headers.remove(CONTENT_LENGTH)),
        Some(length) => drop(headers.insert(CONTENT_LENGTH, HeaderValue::from(length))),
        None => {}
    }
    Ok(if bodiless { Some(0) } else { length })
}

/// Takes out of trailers what must not stand there: framing, routing and connection fields (RFC 9110 §6.5.1).
pub fn clean_trailers(trailers: &mut HeaderMap) {
    drop_connection_fields(trailers);
    for name in [CONTENT_LENGTH, HOST, TRAILER] {
        trailers.remove(name);
    }
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
