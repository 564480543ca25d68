//! WebSocket and CONNECT at the front: HTTP ends, the bytes of the client go to its device and back.
//!
//! The Upgrade of an HTTP/1.1 client becomes an extended CONNECT on the device's session (RFC 8441 §5): key and accept stay
//! here, they belong to one connection of HTTP/1.1; subprotocols, extensions, version and origin pass. The extended CONNECT
//! of an HTTP/2 client goes on as it is. A plain CONNECT names a device and a port of it (RFC 9110 §9.3.6); the device
//! decides which ports it opens. What the device refuses is passed on with its status and its body.

use std::{io::Cursor, net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{Bytes, BytesMut};
use h2::ext::Protocol;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery},
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade::downcast};
use tokio::{
    io::{AsyncReadExt, split},
    time::timeout,
};

use super::{
    deliver::deliver,
    fields,
    first::Rewound,
    front::Front,
    metrics::Kind,
    route::{self, Target},
    tunnel::{self, End, Upward, carry, upward},
};
use crate::{
    base::{
        http::{Body, Response, text_response},
        owned::Owned,
    },
    transport::websocket::accept_key,
};

/// From our answer to the bytes of the new protocol: hyper only has to write it.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(30);
/// How a CONNECT calls the device towards itself (RFC 9110 §9.3.6); a sidecar speaks for the device on its own loopback.
const DEVICE_ITSELF: &str = "localhost";

/// Whether a request is for this room.
pub fn is_wanted(parts: &Parts) -> bool {
    parts.method == Method::CONNECT || fields::asks_for_websocket(&parts.headers)
}

/// A request that passed the rules of the front.
pub struct Asked<'a> {
    /// Its head.
    pub parts: Parts,
    /// The host that the client named.
    pub authority: &'a Authority,
    /// The client.
    pub peer: SocketAddr,
    /// Owns what goes on after the answer: the tasks of the client's connection.
    pub tunnels: &'a Arc<Owned>,
}

/// Where a request goes on the session.
struct Way {
    device: String,
    any_case: bool,
    prefix: Option<String>,
    head: http::Request<()>,
}

/// Answers a request of [`is_wanted`]; what follows a good answer runs on `tunnels`. Cancel safe: dropping the future
/// resets the stream.
pub async fn switch(front: &Front, mut asked: Asked<'_>) -> Response {
    let protocol = asked.parts.extensions.remove::<hyper::ext::Protocol>();
    let plain = asked.parts.method == Method::CONNECT && protocol.is_none();
    let kind = if plain { Kind::Connect } else { Kind::WebSocket };
    let response = if plain {
        match to_port(front, &asked) {
            Ok(way) => exchange(front, asked, way, kind, None).await,
            Err(answer) => answer,
        }
    } else {
        match to_service(front, &mut asked, protocol) {
            Ok((way, accept)) => exchange(front, asked, way, kind, accept).await,
            Err(answer) => answer,
        }
    };
    if !(response.status().is_success() || response.status() == StatusCode::SWITCHING_PROTOCOLS) {
        front.metrics.refused(kind);
    }
    response
}

/// A plain CONNECT to `<device>:<port>` or `<device>.<suffix>:<port>`.
// The answer is made once and goes to the client as it is.
#[allow(clippy::result_large_err)]
fn to_port(front: &Front, asked: &Asked<'_>) -> Result<Way, Response> {
    let bad = |sentence| text_response(StatusCode::BAD_REQUEST, sentence);
    let host = asked.authority.host();
    let device = front.suffixes.iter().find_map(|suffix| route::label(host, suffix)).unwrap_or(host).to_owned();
    let port = asked
        .authority
        .port_u16()
        .filter(|port| *port > 0)
        .ok_or_else(|| bad("CONNECT needs the target <device>:<port>"))?;
    let target = format!("{DEVICE_ITSELF}:{port}");
    let mut head = http::Request::new(());
    *head.uri_mut() = target.parse::<Uri>().map_err(|_| bad("CONNECT needs the target <device>:<port>"))?;
    Ok(Way { device, any_case: true, prefix: None, head })
}

/// A WebSocket, or what else an HTTP/2 client names as protocol; with the value of `Sec-WebSocket-Accept` for HTTP/1.1.
// As in `to_port`.
#[allow(clippy::result_large_err)]
fn to_service(
    front: &Front,
    asked: &mut Asked<'_>,
    protocol: Option<hyper::ext::Protocol>,
) -> Result<(Way, Option<String>), Response> {
    let bad = |sentence| text_response(StatusCode::BAD_REQUEST, sentence);
    front.access.check_origin(asked.authority, &asked.parts.headers)?;
    let accept = match protocol {
        Some(_) => None,
        None => Some(accept_of(&asked.parts).map_err(bad)?),
    };
    let find = |uri: &Uri| route::target(asked.authority, uri, &front.suffixes).map_err(bad);
    let target = match find(&asked.parts.uri)? {
        // No client of WebSockets follows a redirect.
        Target::AddSlash(to) => find(&to.parse().map_err(|_| bad("the request target is not valid"))?)?,
        target => target,
    };
    let Target::Device { device, path, prefix } = target else {
        return Err(text_response(StatusCode::NOT_FOUND, "a WebSocket leads to a device: write /DEVICE/PATH"));
    };
    let mut head = http::Request::new(());
    *head.uri_mut() = uri_of(asked.authority, path).ok_or_else(|| bad("the request target is not valid"))?;
    let protocol = protocol.as_ref().map_or("websocket", |protocol| protocol.as_str());
    head.extensions_mut().insert(Protocol::from(protocol));
    Ok((Way { device, any_case: prefix.is_none(), prefix, head }, accept))
}

fn uri_of(authority: &Authority, path: PathAndQuery) -> Option<Uri> {
    Uri::builder().scheme("http").authority(authority.clone()).path_and_query(path).build().ok()
}

/// Checks the client's half of the handshake (RFC 6455 §4.2.1), as far as it ends here.
fn accept_of(parts: &Parts) -> Result<String, &'static str> {
    if parts.method != Method::GET || parts.version != Version::HTTP_11 {
        return Err("a WebSocket begins with GET and HTTP/1.1");
    }
    let length = parts.headers.get(header::CONTENT_LENGTH);
    if length.is_some_and(|length| length != "0") || parts.headers.contains_key(header::TRANSFER_ENCODING) {
        return Err("the request that opens a WebSocket has no body");
    }
    let mut keys = parts.headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else { return Err("there must be one Sec-WebSocket-Key") };
    let key = key.to_str().unwrap_or_default();
    if !BASE64_STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16) {
        return Err("the Sec-WebSocket-Key is not one of RFC 6455");
    }
    Ok(accept_key(key))
}

async fn exchange(front: &Front, asked: Asked<'_>, way: Way, kind: Kind, accept: Option<String>) -> Response {
    let Asked { mut parts, authority, peer, tunnels } = asked;
    let Way { device, any_case, prefix, mut head } = way;
    let Some(upgrade) = parts.extensions.remove::<OnUpgrade>() else {
        return text_response(StatusCode::NOT_IMPLEMENTED, "this connection cannot change its protocol");
    };
    *head.method_mut() = Method::CONNECT;
    *head.version_mut() = Version::HTTP_2;
    *head.headers_mut() = parts.headers;
    fields::to_device(head.headers_mut(), peer, authority, front.access.uses_authorization());
    // Those of one connection, and the length of a body that is none (RFC 9113 §8.5).
    for name in [header::SEC_WEBSOCKET_KEY, header::SEC_WEBSOCKET_ACCEPT, header::CONTENT_LENGTH, header::EXPECT] {
        head.headers_mut().remove(name);
    }
    let (up, body) = upward();
    let mut response = match deliver(&front.directory, &device, any_case, head, body).await {
        Ok(response) => response,
        Err(none) => return none.response(false),
    };
    fields::to_client(response.headers_mut(), prefix.as_deref(), authority);
    if !response.status().is_success() {
        return response;
    }
    let (mut parts, answer) = response.into_parts();
    let open = front.metrics.opened(kind);
    tunnels.spawn(async move {
        let end = match timeout(SWITCH_TIMEOUT, upgrade).await {
            Ok(Ok(upgraded)) => join(upgraded, up, answer).await,
            _ => End::Client,
        };
        tracing::debug!(%peer, device, kind = kind.label(), ?end, "a tunnel ended");
        drop(open);
    });
    parts.headers.remove(header::CONTENT_LENGTH);
    if let Some(accept) = accept {
        parts.status = StatusCode::SWITCHING_PROTOCOLS;
        become_upgrade(&mut parts.headers, &accept);
    }
    http::Response::from_parts(parts, Body::empty())
}

fn become_upgrade(headers: &mut HeaderMap, accept: &str) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::try_from(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
}

async fn join(upgraded: Upgraded, up: Upward, answer: Body) -> End {
    match downcast::<TokioIo<Rewound>>(upgraded) {
        Ok(parts) => {
            let (rest, stream) = parts.io.into_inner().into_parts();
            tunnel::watch(&stream);
            let (reader, writer) = stream.into_split();
            let early = Cursor::new(both(parts.read_buf, rest));
            carry(up, Box::new(early.chain(reader)), writer, answer).await
        }
        // A stream of HTTP/2.
        Err(upgraded) => {
            let (reader, writer) = split(TokioIo::new(upgraded));
            carry(up, Box::new(reader), writer, answer).await
        }
    }
}

/// What hyper has read and not used, then what it has not read of the bytes that came with the head.
fn both(read: Bytes, rest: Bytes) -> Bytes {
    if rest.is_empty() {
        return read;
    }
    let mut both = BytesMut::from(read);
    both.extend_from_slice(&rest);
    both.freeze()
}
