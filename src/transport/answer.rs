//! What a remote answers to the upgrade request, read from its bytes (RFC 9112 §4, RFC 9110 §15).
//!
//! Pure: bytes in, a verdict out. The verdict depends on the bytes alone, not on how they were split on the way.

use std::time::{Duration, SystemTime};

use super::websocket::SUBPROTOCOL;
use crate::{
    base::clock,
    model::{
        address::RemoteAddress,
        failure::{Cause, Failure},
    },
};

/// Longest response head in bytes: generous for proxies that add cookies, small beside the memory of a camera.
pub(super) const HEAD_MAX: usize = 16 * 1024;
/// Most header lines of a response head.
const HEADERS_MAX: usize = 64;
/// Bytes of an error body that go into a sentence.
pub(super) const EXCERPT_MAX: usize = 200;
/// Longest `Retry-After` that is believed: a slip of a server must not silence a camera for a week.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// What the 101 must switch to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// HTTP/2 itself.
    Native,
    /// A WebSocket whose key must be answered by this `Sec-WebSocket-Accept` (RFC 6455 §4.1).
    WebSocket { accept: String },
}

impl Wanted {
    /// The value of `Upgrade`.
    pub(super) fn protocol(&self) -> &'static str {
        match self {
            Self::Native => "h2c-reverse",
            Self::WebSocket { .. } => "websocket",
        }
    }
}

/// The verdict on what was received so far. `head` is the length of the response head in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// No complete head yet.
    Partial,
    /// A 1xx that says nothing final.
    Informational { head: usize },
    /// The 101: behind the head HTTP/2 begins.
    Switched { head: usize },
    /// A WebSocket without our subprotocol; with the problem.
    Subprotocol(String),
    /// Another status.
    Refused(Refusal),
    /// Not an HTTP/1.1 response head, or a 101 to something else; with the problem.
    Malformed(String),
    /// No end within the bounds.
    TooLarge,
}

/// An answer with another status than 101.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) head: usize,
    status: u16,
    location: Option<String>,
    retry_after: Option<String>,
    /// The body is text that a person can read.
    pub(super) text: bool,
    /// The announced length of the body.
    pub(super) length: Option<usize>,
}

/// Reads the head at the beginning of `received`.
pub(super) fn parse(received: &[u8], wanted: &Wanted) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    // Only the bytes of the bound are looked at, so that the verdict is the same however much came with one read.
    match response.parse(&received[..received.len().min(HEAD_MAX)]) {
        Ok(httparse::Status::Complete(head)) => verdict(&response, head, wanted),
        Ok(httparse::Status::Partial) if received.len() >= HEAD_MAX => Parsed::TooLarge,
        Ok(httparse::Status::Partial) => Parsed::Partial,
        Err(httparse::Error::TooManyHeaders) => Parsed::TooLarge,
        Err(error) => Parsed::Malformed(format!("{error}; it began with `{}`", readable(received, 40))),
    }
}

fn verdict(response: &httparse::Response<'_, '_>, head: usize, wanted: &Wanted) -> Parsed {
    let header = |name: &str| {
        let mut values = response.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        values.next().map(|header| String::from_utf8_lossy(header.value).trim().to_owned())
    };
    match response.code.unwrap_or_default() {
        101 => match header("upgrade") {
            Some(protocol) if !protocol.eq_ignore_ascii_case(wanted.protocol()) => {
                Parsed::Malformed(format!("it switched to `{}`", readable(protocol.as_bytes(), 40)))
            }
            _ => match wanted {
                Wanted::Native => Parsed::Switched { head },
                Wanted::WebSocket { accept } => websocket(header, accept, head),
            },
        },
        100..=199 => Parsed::Informational { head },
        status => Parsed::Refused(Refusal {
            head,
            status,
            location: header("location"),
            retry_after: header("retry-after"),
            text: header("content-type").is_some_and(|kind| is_text(&kind)) && header("content-encoding").is_none(),
            length: header("content-length").and_then(|length| length.parse().ok()),
        }),
    }
}

/// What time the remote says it is, in the head at the beginning of `received`.
pub(super) fn date(received: &[u8]) -> Option<SystemTime> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(&received[..received.len().min(HEAD_MAX)]).ok()?;
    let date = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("date"))?;
    clock::http_date(std::str::from_utf8(date.value).ok()?)
}

/// What a client must check of a 101 to a WebSocket (RFC 6455 §4.1).
fn websocket(header: impl Fn(&str) -> Option<String>, accept: &str, head: usize) -> Parsed {
    if header("sec-websocket-accept").as_deref() != Some(accept) {
        return Parsed::Malformed(
            "its Sec-WebSocket-Accept does not answer our key; is there a cache in between?".to_owned(),
        );
    }
    if let Some(extensions) = header("sec-websocket-extensions") {
        let shown = readable(extensions.as_bytes(), 40);
        return Parsed::Malformed(format!("it uses the WebSocket extension `{shown}`, which nobody offered"));
    }
    match header("sec-websocket-protocol") {
        Some(protocol) if protocol == SUBPROTOCOL => Parsed::Switched { head },
        Some(other) => Parsed::Subprotocol(format!("with the subprotocol `{}`", readable(other.as_bytes(), 40))),
        None => Parsed::Subprotocol("without a subprotocol".to_owned()),
    }
}

fn is_text(content_type: &str) -> bool {
    let kind = content_type.to_ascii_lowercase();
    ["text/plain", "application/json", "application/problem+json"].iter().any(|text| kind.starts_with(text))
}

impl Refusal {
    /// The failure, with `body` as the beginning of the answer's text.
    pub(super) fn into_failure(self, remote: &RemoteAddress, body: &[u8]) -> Failure {
        let status = self.status;
        let said = if body.is_empty() { String::new() } else { format!(": `{}`", readable(body, EXCERPT_MAX)) };
        let retry_after = self.retry_after.as_deref().and_then(|text| retry_after(text, SystemTime::now()));
        let (cause, sentence) = match status {
            401 | 403 => (
                Cause::Unauthorized,
                format!(
                    "{remote} answered {status}{said}; it does not know this device: register its certificate or token there"
                ),
            ),
            300..=399 => {
                let to =
                    self.location.map_or_else(String::new, |location| format!(" to `{}`", without_query(&location)));
                (
                    Cause::Redirected,
                    format!(
                        "{remote} answered {status}, a redirect{to}; an uplink does not follow it: set remoteAddress to the right place"
                    ),
                )
            }
            429 | 503 => {
                (Cause::RemoteBusy, format!("{remote} answered {status}{said}; it is busy and is asked again later"))
            }
            404 => (
                Cause::UpgradeRefused,
                format!("{remote} answered 404{said}; there is no uplink service at this path: check remoteAddress"),
            ),
            _ => (Cause::UpgradeRefused, format!("{remote} answered {status} and not 101{said}; its log may say why")),
        };
        Failure::new(cause, sentence).with_retry_after(retry_after)
    }
}

/// `Retry-After` as a delay (RFC 9110 §10.2.3): seconds or an HTTP date.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let delay = if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        // More digits than a number holds is more than the bound as well.
        text.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs)
    } else {
        clock::http_date(text)?.duration_since(now).unwrap_or_default()
    };
    Some(delay.min(RETRY_AFTER_MAX))
}

/// A Location without query and fragment, which may hold a secret.
fn without_query(location: &str) -> String {
    let end = location.find(['?', '#']).unwrap_or(location.len());
    // So may a user name with a password.
    let plain = match location[..end].split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            format!("{scheme}://{}{path}", authority.rsplit('@').next().unwrap_or_default())
        }
        None => location[..end].to_owned(),
    };
    readable(plain.as_bytes(), EXCERPT_MAX)
}

/// Bytes of a peer as one line for a person: control characters escaped, at most `max` characters.
fn readable(bytes: &[u8], max: usize) -> String {
    let bytes = &bytes[..bytes.len().min(max * 4)];
    let text = String::from_utf8_lossy(bytes);
    text.trim().chars().flat_map(char::escape_debug).take(max).collect()
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
