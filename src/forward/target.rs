//! The request target: what HTTP/2 carried in `:path`, byte for byte, in origin form (RFC 9112 §3.2.1).

use http::{Method, Uri, uri::PathAndQuery};

/// Why a request cannot be forwarded; the status and the sentence that its sender reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 4xx or 5xx.
    pub status: http::StatusCode,
    /// For the person who reads it.
    pub sentence: &'static str,
}

impl Refusal {
    /// 400: the request is malformed.
    pub const fn bad_request(sentence: &'static str) -> Self {
        Self { status: http::StatusCode::BAD_REQUEST, sentence }
    }
}

/// The target that the device gets. The authority of `uri` is never part of it.
///
/// # Errors
/// CONNECT (a proxy's method), TRACE (it would show the remote what we add for the device), a target that is neither
/// a path nor `*` with OPTIONS, and bytes that could end the request line.
pub fn target(method: &Method, uri: &Uri) -> Result<Uri, Refusal> {
    if method == Method::CONNECT {
        let status = http::StatusCode::NOT_IMPLEMENTED;
        return Err(Refusal { status, sentence: "CONNECT is not a request for the device's web service" });
    }
    if method == Method::TRACE {
        let status = http::StatusCode::METHOD_NOT_ALLOWED;
        return Err(Refusal { status, sentence: "TRACE is not forwarded: it would reveal what the device is sent" });
    }
    let target = match uri.path_and_query() {
        Some(target) => target.clone(),
        None if *method == Method::OPTIONS => PathAndQuery::from_static("*"),
        None => PathAndQuery::from_static("/"),
    };
    let text = target.as_str();
    if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(Refusal::bad_request("the path holds a space or a control character"));
    }
    let is_asterisk = text == "*" && *method == Method::OPTIONS;
    if !text.starts_with('/') && !is_asterisk {
        return Err(Refusal::bad_request("the path does not start with a slash"));
    }
    Ok(Uri::from(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &Method, uri: &str) -> Result<String, Refusal> {
        target(method, &uri.parse().expect(uri)).map(|uri| uri.to_string())
    }

    #[test]
    fn path_and_query_stay_as_they_came() {
        for path in ["/", "/a%2F..%2fb//c;x?q=%20&a=?", "//evil.example/x", "/../../etc", "/?", "/@host:80/"] {
            assert_eq!(of(&Method::GET, path).as_deref(), Ok(path));
        }
    }

    #[test]
    fn the_authority_of_an_absolute_target_is_not_forwarded() {
        assert_eq!(of(&Method::GET, "http://0.0.0.0:80/x?y").as_deref(), Ok("/x?y"));
        assert_eq!(of(&Method::GET, "https://cloud.example").as_deref(), Ok("/"));
    }

    #[test]
    fn the_asterisk_is_for_options_only() {
        assert_eq!(of(&Method::OPTIONS, "*").as_deref(), Ok("*"));
        assert_eq!(of(&Method::GET, "*").expect_err("no path").status, 400);
    }

    #[test]
    fn connect_and_trace_are_refused() {
        assert_eq!(of(&Method::CONNECT, "127.0.0.1:22").expect_err("proxy").status, 501);
        assert_eq!(of(&Method::TRACE, "/").expect_err("reveals").status, 405);
    }

    #[test]
    fn nothing_that_could_end_the_request_line_is_a_target() {
        for path in ["/a b", "/a HTTP/1.1\r\nX: y", "/a\nb", "/a\0b", "/a\x7fb", "/a\tb", "x/y"] {
            let parsed = path.parse::<PathAndQuery>().map(Uri::from);
            assert!(parsed.is_err() || target(&Method::GET, &parsed.expect("parsed")).is_err(), "{path:?}");
        }
        for method in ["GE T", "GET\r\n", "GET /x HTTP/1.1\r\n", ""] {
            assert!(Method::from_bytes(method.as_bytes()).is_err(), "{method:?}");
        }
    }
}
