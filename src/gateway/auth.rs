//! Who may use the front: anybody on this machine, whoever has the token, or, when said explicitly, anybody.

use std::{net::SocketAddr, path::PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::Authority};

use super::{reload::Reloading, route};
use crate::base::{
    http::{Response, text_response},
    secret::Secret,
};

/// A shorter token could be guessed over the network.
const TOKEN_MIN: usize = 16;
/// A longer file is not a token.
const TOKEN_MAX: usize = 4096;

/// The rule of one front.
pub enum FrontAccess {
    /// Loopback without a token: only requests that were meant for this machine.
    Local,
    /// Whoever shows the token.
    Token(Reloading<Secret>),
    /// Anybody.
    Open,
}

impl FrontAccess {
    /// Chooses the rule.
    ///
    /// # Errors
    /// A sentence: an address that is not loopback with neither token nor `--front-open`, both, or an unusable token file.
    pub fn new(front: SocketAddr, token_file: Option<PathBuf>, open: bool) -> Result<Self, String> {
        match (token_file, open) {
            (Some(_), true) => Err("--front-token-file and --front-open exclude each other; choose one".to_owned()),
            (Some(path), false) => {
                let from = path.clone();
                Reloading::new(&[&path], move || read_token(&from)).map(Self::Token)
            }
            (None, true) => Ok(Self::Open),
            (None, false) if front.ip().is_loopback() => Ok(Self::Local),
            (None, false) => Err(format!(
                "the front address {front} can be reached from other machines: protect it with --front-token-file FILE, \
                 or say --front-open if whoever reaches it may use every device"
            )),
        }
    }

    /// Whether another listener may have the same rule.
    ///
    /// # Errors
    /// A sentence: an address that others reach, while the front relies on being reached from this machine only.
    pub fn check_listener(&self, option: &str, address: SocketAddr) -> Result<(), String> {
        if matches!(self, Self::Local) && !address.ip().to_canonical().is_loopback() {
            return Err(format!(
                "the address {address} (--{option}) can be reached from other machines: protect it with --front-token-file \
                 FILE, or say --front-open if whoever reaches it may use every device"
            ));
        }
        Ok(())
    }

    /// Whether `Authorization` is for the gateway and must not reach a device.
    pub fn uses_authorization(&self) -> bool {
        matches!(self, Self::Token(_))
    }

    /// Lets a request pass or answers it. `authority` is the host that the client named; a plain CONNECT names none, and a
    /// page cannot send one (Fetch standard: a forbidden method).
    ///
    /// # Errors
    /// The answer: 401 without the token, 403 for a page of another site.
    // The answer is made once and goes to the client as it is.
    #[allow(clippy::result_large_err)]
    pub fn check(
        &self,
        method: &Method,
        authority: Option<&Authority>,
        headers: &HeaderMap,
        suffixes: &[String],
    ) -> Result<(), Response> {
        match self {
            Self::Open => return Ok(()),
            Self::Local if authority.is_some_and(|host| !route::is_local(host, suffixes)) => {
                return Err(text_response(
                    StatusCode::FORBIDDEN,
                    "this front serves this machine only: use localhost, a loopback address or the configured domain as host",
                ));
            }
            Self::Token(token) if !shows(headers, &token.get()) => return Err(unauthorized()),
            Self::Local | Self::Token(_) => {}
        }
        // Browsers send Basic credentials, and anything to localhost, also on behalf of other sites.
        let cross = headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
        if cross && !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Err(text_response(StatusCode::FORBIDDEN, "a page of another site may not change anything here"));
        }
        Ok(())
    }

    /// Lets a WebSocket pass unless a page of another site opens it: browsers let every page open one to everywhere, send the
    /// credentials that they remember, and leave it to the server to look at `Origin` (RFC 6455 §10.2).
    ///
    /// A proxy before this front may have changed the host; what it says the client used counts as well, and a page can
    /// send no such field with a WebSocket.
    ///
    /// # Errors
    /// The answer, 403.
    // As in `check`.
    #[allow(clippy::result_large_err)]
    pub fn check_origin(&self, authority: &Authority, headers: &HeaderMap) -> Result<(), Response> {
        let Some(origin) = headers.get(header::ORIGIN).filter(|_| !matches!(self, Self::Open)) else { return Ok(()) };
        let of = |text: &str| text.rsplit_once("://").map(|(_, host)| host.to_ascii_lowercase());
        let origin = origin.to_str().ok().and_then(of);
        let forwarded = headers.get("x-forwarded-host").and_then(|host| host.to_str().ok());
        let mut hosts = std::iter::once(authority.as_str()).chain(forwarded);
        if origin.is_some_and(|origin| hosts.any(|host| host.trim().eq_ignore_ascii_case(&origin))) {
            return Ok(());
        }
        let sentence = "a page of another site may not open a WebSocket here: Origin and Host differ";
        Err(text_response(StatusCode::FORBIDDEN, sentence))
    }

    /// Whether `given` is the token; never where there is none.
    pub fn is_token(&self, given: &str) -> bool {
        matches!(self, Self::Token(token) if same(given.as_bytes(), token.get().expose().as_bytes()))
    }

    /// Whether this value of `Authorization` shows the token; never where there is none.
    pub fn is_shown(&self, authorization: &str) -> bool {
        matches!(self, Self::Token(token) if value_shows(authorization, &token.get()))
    }
}

fn read_token(path: &std::path::Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("the front token file {} cannot be read: {error}", path.display()))?;
    let token = text.trim();
    if !(TOKEN_MIN..=TOKEN_MAX).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "the front token file {} must hold one line of {TOKEN_MIN} to {TOKEN_MAX} printable characters",
            path.display()
        ));
    }
    Ok(Secret::new(token))
}

/// Bearer (RFC 6750 §2.1), or Basic with the token as password (RFC 7617) for browsers.
fn shows(headers: &HeaderMap, token: &Secret) -> bool {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    value.to_str().is_ok_and(|value| value_shows(value, token))
}

fn value_shows(value: &str, token: &Secret) -> bool {
    let Some((scheme, given)) = value.split_once(' ') else { return false };
    let given = given.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return same(given.as_bytes(), token.expose().as_bytes());
    }
    scheme.eq_ignore_ascii_case("basic")
        && BASE64_STANDARD.decode(given).is_ok_and(|pair| {
            let password = pair.iter().position(|byte| *byte == b':').map(|colon| &pair[colon + 1..]);
            password.is_some_and(|password| same(password, token.expose().as_bytes()))
        })
}

/// Compares in a time that depends on the length of `given` only.
fn same(given: &[u8], secret: &[u8]) -> bool {
    let mut differ = usize::from(given.len() != secret.len());
    for (index, byte) in given.iter().enumerate() {
        differ |= usize::from(byte ^ secret[index % secret.len()]);
        differ = std::hint::black_box(differ);
    }
    differ == 0
}

fn unauthorized() -> Response {
    let mut response = text_response(
        StatusCode::UNAUTHORIZED,
        "this gateway needs its token: as Authorization: Bearer, or in a browser any user name with the token as password",
    );
    let challenges = ["Bearer realm=\"onvif-uplink\"", "Basic realm=\"onvif-uplink\", charset=\"UTF-8\""];
    for challenge in challenges {
        response.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn shown(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().expect("value"));
        shows(&headers, &Secret::new(TOKEN))
    }

    #[test]
    fn the_token_counts_as_bearer_and_as_password_and_nothing_else_does() {
        let basic = |pair: &str| shown(&format!("Basic {}", BASE64_STANDARD.encode(pair)));
        assert!(shown(&format!("bearer {TOKEN}")) && basic(&format!("anybody:{TOKEN}")));
        assert!(!shown("Bearer 0123456789abcdeX") && !shown("Bearer 0123") && !shown("Bearer ") && !shown(TOKEN));
        assert!(!shown(&format!("Bearer {TOKEN}{TOKEN}")) && !basic(TOKEN) && !basic("a:b") && !shown("Basic ###"));
    }

    #[test]
    fn an_address_that_others_reach_needs_a_token_or_a_word() {
        let outside = "0.0.0.0:8800".parse().expect("address");
        let refused = FrontAccess::new(outside, None, false).err().expect("refused");
        assert!(refused.contains("--front-token-file"), "{refused}");
        assert!(FrontAccess::new(outside, None, true).is_ok());
        let local = FrontAccess::new("127.0.0.1:0".parse().expect("address"), None, false).expect("loopback");
        assert!(local.check_listener("rtsp", outside).expect_err("refused").contains("--rtsp"));
        assert!(local.check_listener("rtsp", "[::1]:8554".parse().expect("address")).is_ok());
        assert!(FrontAccess::Open.check_listener("rtsp", outside).is_ok());
    }

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert("sec-fetch-site", HeaderValue::from_static("cross-site"));
        let host = Authority::from_static("localhost");
        assert!(FrontAccess::Local.check(&Method::POST, Some(&host), &headers, &[]).is_err());
        assert!(FrontAccess::Local.check(&Method::GET, Some(&host), &headers, &[]).is_ok());
    }

    #[test]
    fn only_a_page_of_this_host_opens_a_websocket() {
        let opens = |origin: &'static str, forwarded: Option<&'static str>, access: &FrontAccess| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            if let Some(host) = forwarded {
                headers.insert("x-forwarded-host", HeaderValue::from_static(host));
            }
            access.check_origin(&Authority::from_static("localhost:8800"), &headers).is_ok()
        };
        let local = FrontAccess::Local;
        assert!(opens("http://localhost:8800", None, &local) && opens("https://LOCALHOST:8800", None, &local));
        assert!(opens("https://cams.example", Some("cams.example"), &local));
        for origin in ["http://evil.example", "http://localhost:8801", "http://localhost:8800.evil.example", "null"] {
            assert!(!opens(origin, None, &local), "{origin}");
        }
        assert!(opens("http://evil.example", None, &FrontAccess::Open));
        assert!(local.check_origin(&Authority::from_static("h"), &HeaderMap::new()).is_ok());
    }
}
