//! Which requests carry RTSP: the two of RTSP over HTTP and the one of RTSP over WebSocket (ONVIF Uplink, RTSP over HTTP,
//! RTSP over WebSockets; ONVIF Streaming; RFC 8441). Pure functions.

use h2::ext::Protocol;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, SEC_WEBSOCKET_PROTOCOL},
};

use super::limits::COOKIE_MAX;
use crate::{
    base::http::{Request, Response, RtspPortOnly, text_response},
    forward::target::Refusal,
};

/// What tells the two requests of one conversation from those of others.
pub const SESSION_COOKIE: HeaderName = HeaderName::from_static("x-sessioncookie");
/// The media type of both directions.
pub const TUNNELLED: &str = "application/x-rtsp-tunnelled";
/// The subprotocol of RTSP over WebSocket.
pub const SUBPROTOCOL: &str = "rtsp.onvif.org";

/// The value of `x-sessioncookie`: of one uplink, one conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionCookie(pub HeaderValue);

/// A request that carries RTSP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// What the device says comes in its answer.
    Get(SessionCookie),
    /// What the remote says is its body, in base64.
    Post(SessionCookie),
    /// Both directions, in frames. Whether the request names the subprotocol; samples of one remote name none.
    WebSocket {
        /// `rtsp.onvif.org` is among the subprotocols.
        named: bool,
    },
}

/// What the request carries RTSP by; `None` for every other request.
///
/// # Errors
/// It is one of a pair, but its cookie cannot be used.
pub fn carrier<B>(request: &http::Request<B>) -> Result<Option<Carrier>, Refusal> {
    if request.method() == Method::CONNECT {
        return Ok(websocket(request).map(|named| Carrier::WebSocket { named }));
    }
    let headers = request.headers();
    let get = request.method() == Method::GET && lists(headers, &ACCEPT, TUNNELLED);
    let post = request.method() == Method::POST && lists(headers, &CONTENT_TYPE, TUNNELLED);
    if !get && !post {
        return Ok(None);
    }
    let mut cookies = headers.get_all(SESSION_COOKIE).iter();
    let Some(cookie) = cookies.next() else { return Ok(None) };
    if cookies.next().is_some() || cookie.is_empty() || cookie.len() > COOKIE_MAX {
        return Err(Refusal::bad_request("x-sessioncookie must be one value of 1 to 128 characters"));
    }
    let cookie = SessionCookie(cookie.clone());
    Ok(Some(if get { Carrier::Get(cookie) } else { Carrier::Post(cookie) }))
}

/// Whether the header is that of an answer that carries RTSP.
pub fn is_tunnelled(headers: &HeaderMap) -> bool {
    lists(headers, &CONTENT_TYPE, TUNNELLED)
}

/// The answer in place of RTSP with our credentials to devices of HTTP/2: they would get RTSP in requests that have no pair, and so no conversation that a mediator could stand in.
pub fn no_mediation() -> Response {
    let sentence = "RTSP with the device's credentials needs its RTSP port; set `rtsp` of the device";
    text_response(StatusCode::NOT_IMPLEMENTED, sentence)
}

/// Whether only the device's RTSP port may see this conversation.
pub fn only_its_port(request: &Request) -> bool {
    request.extensions().get::<RtspPortOnly>().is_some()
}

/// The answer when there is none.
pub fn no_port() -> Response {
    text_response(
        StatusCode::FORBIDDEN,
        "this conversation may go to the device's RTSP port only, and none is configured",
    )
}

/// Whether it is a WebSocket that may carry RTSP; and whether it says so.
fn websocket<B>(request: &http::Request<B>) -> Option<bool> {
    let protocol = request.extensions().get::<Protocol>()?;
    if !protocol.as_str().eq_ignore_ascii_case("websocket") {
        return None;
    }
    if lists(request.headers(), &SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return Some(true);
    }
    let silent = !request.headers().contains_key(SEC_WEBSOCKET_PROTOCOL) && request.uri().path() == "/";
    silent.then_some(false)
}

/// Whether one of the comma-separated values is `wanted`, parameters aside.
fn lists(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|value| value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, uri: &str, fields: &[(&str, &str)]) -> Result<Option<Carrier>, Refusal> {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).expect("valid");
        if method == "CONNECT" {
            request.extensions_mut().insert(Protocol::from_static("websocket"));
        }
        carrier(&request)
    }

    fn cookie(text: &'static str) -> SessionCookie {
        SessionCookie(HeaderValue::from_static(text))
    }

    #[test]
    fn the_two_requests_of_a_pair_are_known_by_type_and_cookie() {
        let get = of("GET", "/cam", &[("accept", "application/x-rtsp-tunnelled"), ("x-sessioncookie", "a1")]);
        assert_eq!(get, Ok(Some(Carrier::Get(cookie("a1")))));
        let post =
            of("POST", "/cam", &[("content-type", "Application/X-RTSP-tunnelled; x"), ("x-sessioncookie", "a1")]);
        assert_eq!(post, Ok(Some(Carrier::Post(cookie("a1")))));
    }

    #[test]
    fn other_requests_are_not_taken() {
        for (method, fields) in [
            ("GET", &[("accept", "image/jpeg"), ("x-sessioncookie", "a1")][..]),
            ("GET", &[("accept", "application/x-rtsp-tunnelled")][..]),
            ("POST", &[("accept", "application/x-rtsp-tunnelled"), ("x-sessioncookie", "a1")][..]),
            ("PUT", &[("content-type", "application/x-rtsp-tunnelled"), ("x-sessioncookie", "a1")][..]),
        ] {
            assert_eq!(of(method, "/", fields), Ok(None), "{method} {fields:?}");
        }
    }

    #[test]
    fn a_cookie_that_cannot_be_used_is_refused() {
        let long = "x".repeat(129);
        for cookies in [&[""][..], &[long.as_str()][..], &["a", "b"][..]] {
            let mut fields = vec![("accept", "application/x-rtsp-tunnelled")];
            fields.extend(cookies.iter().map(|cookie| ("x-sessioncookie", *cookie)));
            assert_eq!(of("GET", "/", &fields).expect_err("no cookie").status, 400, "{cookies:?}");
        }
    }

    #[test]
    fn a_websocket_is_one_of_rtsp_when_it_says_so_or_says_nothing_at_the_root() {
        let named = [("sec-websocket-protocol", "x, rtsp.onvif.org")];
        let websocket = |path, fields| of("CONNECT", path, fields).expect("no pair");
        assert_eq!(websocket("https://h/ws", &named), Some(Carrier::WebSocket { named: true }));
        assert_eq!(websocket("https://h/", &[]), Some(Carrier::WebSocket { named: false }));
        assert_eq!(websocket("https://h/events", &[]), None);
        assert_eq!(websocket("https://h/", &[("sec-websocket-protocol", "chat")]), None);
    }
}
