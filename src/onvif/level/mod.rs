//! The user level of an uplink, enforced (ONVIF Uplink §5.4; Core, User-based access control and Default Access Policy).
//!
//! [`Level`] wraps the handlers that reach the device. An Administrator's requests pass untouched. Of others:
//!
//! - a SOAP message is known by its body ([`classify`]); it is collected, read once, and the very same bytes go on, to a path
//!   where the device has a service;
//! - other requests are allowed by the address: one that the device gave ([`addresses`], [`learn`]), or one of a path rule;
//! - RTSP within them is checked by method ([`guard`]);
//! - what is not understood is for Administrators only.
//!
//! Refusals are answered here, counted by class, and told as audit lines ([`refuse`]). What the device sends is never held: video is
//! not looked at, a SOAP answer as it passes.

pub mod addresses;
pub mod classify;
mod fields;
mod guard;
pub mod learn;
mod message;
pub(in crate::onvif) mod refuse;

use std::sync::Arc;

use http::{HeaderName, Method, Uri, header, request::Parts, uri::PathAndQuery};

use self::{
    addresses::{Addresses, Directory, Use},
    classify::{Subject, media},
    fields::text,
    guard::{Check, Guard, WebSocket, Wrapping},
    refuse::Refuser,
};
use crate::{
    base::{
        http::{Body, BoxFuture, DevicePort, Handler, Request, Response, RtspPortOnly, SessionInfo},
        rtsp::{Kind, Message},
    },
    model::{
        access::{Access, AccessClass, PathRule, Rights, path::canonical},
        uplink::Uplink,
    },
};

/// Fields by which some web servers take another method or path than those of the request line; they would get past the rules.
const OVERRIDES: [HeaderName; 5] = [
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
];

/// Below it devices have their services; others give theirs in GetServices.
const SERVICES: &str = "/onvif/";

/// The subprotocol of RTSP over WebSocket (ONVIF Streaming).
const RTSP_SUBPROTOCOL: &str = "rtsp.onvif.org";

/// Lets through what the uplink's levels allow.
pub struct Level {
    inner: Arc<dyn Handler>,
    shared: Arc<Shared>,
}

struct Shared {
    rights: Rights,
    access: Access,
    addresses: Arc<Addresses>,
    refuser: Refuser,
    /// The device has an RTSP port of its own that is known.
    has_rtsp: bool,
}

impl Level {
    /// Wraps the handler that reaches the device of `uplink`. Uplinks of one device share what `directory` has learned of it.
    pub fn new(inner: Arc<dyn Handler>, uplink: &Uplink, directory: &Directory) -> Self {
        let key = format!("{} {}", uplink.device.name, uplink.device.http);
        let shared = Shared {
            rights: Rights::of(&uplink.user_level, &uplink.access),
            access: uplink.access.clone(),
            addresses: directory.of(key),
            refuser: Refuser::new(uplink),
            has_rtsp: uplink.device.rtsp.is_some(),
        };
        Self { inner, shared: Arc::new(shared) }
    }
}

impl Handler for Level {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let (inner, shared) = (Arc::clone(&self.inner), Arc::clone(&self.shared));
        Box::pin(async move {
            let allowed = if shared.rights.everything() { Ok(request) } else { shared.admit(request).await };
            match allowed {
                Ok(request) => learn::learning(inner.handle(request).await, &shared.addresses),
                Err(refused) => *refused,
            }
        })
    }
}

/// The request as it may go on, or its answer.
type Admitted = Result<Request, Box<Response>>;

impl Shared {
    async fn admit(self: &Arc<Self>, request: Request) -> Admitted {
        let (mut parts, body) = request.into_parts();
        if parts.headers.get_all(header::CONTENT_TYPE).iter().nth(1).is_some() {
            return Err(self.refuser.bad_request(&parts, "the request has more than one content-type"));
        }
        for name in &OVERRIDES {
            parts.headers.remove(name);
        }
        let kind = media(text(&parts.headers, &header::CONTENT_TYPE));
        if parts.method == Method::POST && (kind.is_soap || kind.is_multipart_soap) {
            let path = self.canonical(&parts)?;
            self.check_service(&parts, &path)?;
            go_to(&mut parts, &path);
            return self.message(parts, body).await;
        }
        let asked = Asked::of(&parts);
        if !self.is_given(&parts, &asked)? {
            let path = self.canonical(&parts)?;
            let by_rule = self.rights.class(self.rule(&asked.method, &parts, &path));
            if !by_rule && self.may_view(&asked, &parts) {
                // RTSP itself is checked method by method; its port has no other pages that a path could mean.
                parts.extensions.insert(RtspPortOnly);
            } else {
                self.check_rules(&parts, &asked, &path)?;
                // What a rule allowed is what goes on; an address of the device goes as the device gave it.
                go_to(&mut parts, &path);
            }
        }
        Ok(self.guarded(without_needless_body(Request::from_parts(parts, body)), &asked))
    }

    fn canonical(&self, parts: &Parts) -> Result<String, Box<Response>> {
        canonical(parts.uri.path()).ok_or_else(|| {
            let sentence =
                "the path could be read in two ways; send it without encoded slashes, parameters and dot segments";
            self.refuser.bad_request(parts, sentence)
        })
    }

    /// A SOAP message goes to a service only: another page of the device might do what its path says and never read the body.
    fn check_service(&self, parts: &Parts, path: &str) -> Result<(), Box<Response>> {
        let (port, is_service) = (port_of(parts), |used| used == Use::Service);
        let known = (port.is_none() && path.starts_with(SERVICES))
            || !self.addresses.find(path, |grant| grant.is_for(port, is_service)).is_empty()
            || self.rights.class(self.rule(&Method::POST, parts, path));
        if known {
            return Ok(());
        }
        let sentence =
            "the device has named no service at this path; ask GetServices first, or have a rule for it (`paths`)";
        Err(self.refuser.message(parts, &Subject::unknown(path), sentence, &self.access))
    }

    /// Whether the device gave this address for such a request, to such as these.
    fn is_given(&self, parts: &Parts, asked: &Asked) -> Result<bool, Box<Response>> {
        let address = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let port = port_of(parts);
        let grants = self.addresses.find(address, |grant| grant.is_for(port, |used| asked.is(used)));
        match grants.iter().find(|grant| !grant.allows(&self.rights)) {
            Some(grant) => Err(self.refuser.request(parts, parts.uri.path(), Some(grant.class))),
            None => Ok(!grants.is_empty()),
        }
    }

    fn check_rules(&self, parts: &Parts, asked: &Asked, path: &str) -> Result<(), Box<Response>> {
        let class = self.rule(&asked.method, parts, path);
        if self.rights.class(class) {
            return Ok(());
        }
        if parts.method == Method::POST && path.starts_with(SERVICES) && class.is_none() {
            return Err(self.refuser.encapsulation(parts));
        }
        Err(self.refuser.request(parts, path, class))
    }

    /// Whether this is a conversation of RTSP that may go to the device's RTSP port.
    fn may_view(&self, asked: &Asked, parts: &Parts) -> bool {
        let is_rtsp = match asked.tunnel {
            Some(Tunnel::Http) => true,
            Some(Tunnel::WebSocket) => text(&parts.headers, &header::SEC_WEBSOCKET_PROTOCOL)
                .split(',')
                .any(|protocol| protocol.trim() == RTSP_SUBPROTOCOL),
            None => false,
        };
        is_rtsp && self.has_rtsp && port_of(parts).is_none() && self.rights.class(Some(AccessClass::ReadMedia))
    }

    /// The class that a path rule gives. Rules are for the device's web service, not for its other ports.
    fn rule(&self, method: &Method, parts: &Parts, path: &str) -> Option<AccessClass> {
        if port_of(parts).is_some() {
            return None;
        }
        let query = parts.uri.query();
        self.access.paths.iter().find(|rule| rule.matches(method.as_str(), path, query)).map(PathRule::class)
    }

    /// RTSP is checked method by method on its way to the device.
    fn guarded(self: &Arc<Self>, request: Request, asked: &Asked) -> Request {
        let wrapping = match (asked.tunnel, request.method()) {
            (Some(Tunnel::WebSocket), _) => Wrapping::WebSocket(WebSocket::default()),
            (Some(Tunnel::Http), &Method::POST) => Wrapping::Base64(Vec::new()),
            _ => return request,
        };
        let (shared, peer) =
            (Arc::clone(self), request.extensions().get::<SessionInfo>().map(|session| session.remote));
        let check: Check = Arc::new(move |message: &Message| {
            let Kind::Request { method, .. } = message.kind() else { return Ok(()) };
            let require: Vec<_> = message.fields("Require").collect();
            let class = classify::rtsp_class(method, &require.join(","));
            // Whoever may use the address may view; some roles have that by the operation that gave it.
            if class == Some(AccessClass::ReadMedia) || shared.rights.class(class) {
                return Ok(());
            }
            shared.refuser.rtsp(method, class, peer);
            Err(format!("the user level of this uplink does not allow RTSP's {method} here"))
        });
        request.map(|body| Body::new(Guard::new(body, wrapping, check)))
    }
}

/// How RTSP comes through HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tunnel {
    /// RTSP over HTTP.
    Http,
    /// RTSP over WebSocket.
    WebSocket,
}

/// What is asked of an address.
struct Asked {
    /// The method as the device gets it.
    method: Method,
    tunnel: Option<Tunnel>,
}

impl Asked {
    fn of(parts: &Parts) -> Self {
        let protocol = parts.extensions.get::<h2::ext::Protocol>();
        if parts.method == Method::CONNECT && protocol.is_some_and(|protocol| protocol.as_str() == "websocket") {
            // The upgrade is a GET at the device. CONNECT without it is another port: no address has that.
            return Self { method: Method::GET, tunnel: Some(Tunnel::WebSocket) };
        }
        let is_half = matches!(parts.method, Method::GET | Method::POST) && classify::is_rtsp_tunnel(&parts.headers);
        // A tunnel's POST belongs to its GET.
        let method = if is_half { Method::GET } else { parts.method.clone() };
        Self { method, tunnel: is_half.then_some(Tunnel::Http) }
    }

    fn is(&self, used: Use) -> bool {
        match used {
            Use::Stream => is_reading(&self.method),
            Use::Read => is_reading(&self.method) && self.tunnel.is_none(),
            Use::Upload => matches!(self.method, Method::POST | Method::PUT),
            Use::Service => false,
        }
    }
}

/// Another port than that of the device's web service.
fn port_of(parts: &Parts) -> Option<u16> {
    parts.extensions.get::<DevicePort>().map(|port| port.0)
}

fn is_reading(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Puts the canonical path in place of that which came.
fn go_to(parts: &mut Parts, path: &str) {
    if parts.uri.path() == path {
        return;
    }
    let target = match parts.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    // A canonical path is one of RFC 3986, and the query was accepted once.
    uri.path_and_query = PathAndQuery::try_from(target).ok();
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
}

/// A GET has no use for a body. A device that does not read it would take it for the next request on its connection.
fn without_needless_body(request: Request) -> Request {
    if !is_reading(request.method()) {
        return request;
    }
    let (mut parts, _) = request.into_parts();
    for name in [header::CONTENT_LENGTH, header::EXPECT, header::TRAILER] {
        parts.headers.remove(name);
    }
    Request::from_parts(parts, Body::empty())
}

#[cfg(test)]
#[path = "level_tests.rs"]
mod tests;
