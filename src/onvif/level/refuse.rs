//! Refusals: the answer, the audit line with who asked, the number for the metric.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::{StatusCode, header, request::Parts};
use tokio::time::Instant;

use super::{classify::Subject, fields::text};
use crate::{
    base::http::{Refused, Response, SessionInfo, text_response},
    model::{
        access::{Access, AccessClass, Refusal},
        uplink::Uplink,
    },
    onvif::soap::{Malformed, Version, fault::Fault},
};

/// Audit lines of one uplink within [`AUDIT_EVERY`]; what is beyond is counted and told with the next line.
const AUDIT_LINES: u32 = 20;
/// See [`AUDIT_LINES`].
const AUDIT_EVERY: Duration = Duration::from_secs(60);
/// Longest name of an operation or path in an audit line, characters.
const SHOWN_MAX: usize = 200;
/// The class of what has none, as log and metric show it.
const UNCLASSIFIED: &str = "unclassified";

/// Refuses for one uplink.
pub(in crate::onvif) struct Refuser {
    device: String,
    remote: String,
    levels: String,
    window: Mutex<Window>,
}

struct Window {
    since: Instant,
    lines: u32,
    suppressed: u64,
}

impl Refuser {
    pub(in crate::onvif) fn new(uplink: &Uplink) -> Self {
        let levels: Vec<_> = uplink.user_level.iter().map(ToString::to_string).collect();
        Self {
            device: uplink.device.name.clone(),
            // Without the query, which may hold a token.
            remote: uplink.remote.to_string(),
            levels: levels.join(", "),
            window: Mutex::new(Window { since: Instant::now(), lines: 0, suppressed: 0 }),
        }
    }

    /// A SOAP message that went to the wrong place or whose version is not known yet.
    pub(super) fn message(&self, parts: &Parts, subject: &Subject, sentence: &str, access: &Access) -> Box<Response> {
        self.operation(parts, subject, sentence, access, version_of(parts))
    }

    /// An operation that the levels do not allow.
    pub(in crate::onvif) fn operation(
        &self,
        parts: &Parts,
        subject: &Subject,
        sentence: &str,
        access: &Access,
        version: Version,
    ) -> Box<Response> {
        let status = match access.refusal {
            Refusal::BadRequest => StatusCode::BAD_REQUEST,
            Refusal::Unauthorized => StatusCode::UNAUTHORIZED,
            Refusal::Forbidden => StatusCode::FORBIDDEN,
        };
        let response = Fault::sender(&["NotAuthorized"], sentence).with_status(status).response(version);
        self.told(parts, &subject.name, subject.class, response)
    }

    /// A message that is not understood.
    pub(super) fn malformed(&self, parts: &Parts, malformed: Malformed) -> Box<Response> {
        let version = version_of(parts);
        let response = Fault::from(malformed).response(version);
        self.told(parts, "a message that is not understood", None, response)
    }

    /// A request for a path.
    pub(super) fn request(&self, parts: &Parts, path: &str, class: Option<AccessClass>) -> Box<Response> {
        let sentence = match class {
            Some(class) => format!("the user level of this uplink does not allow this path ({class})"),
            None => {
                "the user level of this uplink allows only paths that the device named in its answers, or that the \
                     configuration has a rule for (`paths`)"
                    .to_owned()
            }
        };
        let response = text_response(StatusCode::FORBIDDEN, &sentence);
        self.told(parts, &format!("{} {path}", parts.method), class, response)
    }

    /// A POST to a service that is no SOAP message (Core, HTTP errors: 415).
    pub(super) fn encapsulation(&self, parts: &Parts) -> Box<Response> {
        let fault = Fault::sender(&["InvalidArgs"], "a service takes SOAP messages: send application/soap+xml");
        let response = fault.with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE).response(Version::Soap12);
        self.told(parts, &format!("{} {}", parts.method, parts.uri.path()), None, response)
    }

    /// An RTSP request within a stream: there is no answer that could be given, only the line.
    pub(super) fn rtsp(&self, method: &str, class: Option<AccessClass>, peer: Option<SocketAddr>) {
        self.tell(&format!("RTSP {method}"), class.map_or(UNCLASSIFIED, AccessClass::as_str), peer, None);
    }

    /// A request that cannot be judged.
    pub(super) fn bad_request(&self, parts: &Parts, sentence: &str) -> Box<Response> {
        let response = text_response(StatusCode::BAD_REQUEST, sentence);
        self.told(parts, &format!("{} {}", parts.method, parts.uri.path()), None, response)
    }

    fn told(
        &self,
        parts: &Parts,
        operation: &str,
        class: Option<AccessClass>,
        mut response: Response,
    ) -> Box<Response> {
        let class = class.map_or(UNCLASSIFIED, AccessClass::as_str);
        response.extensions_mut().insert(Refused { class });
        let peer = parts.extensions.get::<SessionInfo>().map(|session| session.remote);
        self.tell(operation, class, peer, Some(response.status()));
        Box::new(response)
    }

    fn tell(&self, operation: &str, class: &str, peer: Option<SocketAddr>, status: Option<StatusCode>) {
        let Some(suppressed) = self.may_tell() else { return };
        let operation: String = operation.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
        tracing::warn!(
            target: "audit",
            device = self.device,
            remote = self.remote,
            peer = peer.map(tracing::field::display),
            operation,
            class,
            level = self.levels,
            status = status.map(|status| status.as_u16()),
            suppressed,
            "refused"
        );
    }

    /// Whether one more line may be told now, and how many were not since the last.
    fn may_tell(&self) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.since.elapsed() >= AUDIT_EVERY {
            window.since = Instant::now();
            window.lines = 0;
        }
        if window.lines >= AUDIT_LINES {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

/// The version of SOAP that a Content-Type speaks of; the envelope itself is not read here.
fn version_of(parts: &Parts) -> Version {
    let kind = text(&parts.headers, &header::CONTENT_TYPE).trim_start();
    let is_old = kind.get(..8).is_some_and(|begin| begin.eq_ignore_ascii_case("text/xml"));
    if is_old { Version::Soap11 } else { Version::Soap12 }
}
