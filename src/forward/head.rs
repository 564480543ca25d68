//! Heads of HTTP/1.1 on a raw connection: for requests after which the connection carries something else (RFC 6455 §4, RTSP
//! over HTTP). The HTTP library is no help there: it spells `Sec-Websocket-Key`, and devices exist that compare text.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{
    fault::Fault,
    limits::{HEAD_MAX, HEADERS_MAX, INFORMATIONAL_MAX},
};

/// Read at once while a head is awaited, bytes: more than the heads of cameras have.
const READ: usize = 4 * 1024;
/// Fields that are customarily spelled otherwise than with a capital after each hyphen.
const CUSTOMARY: [(&str, &str); 7] = [
    ("sec-websocket-accept", "Sec-WebSocket-Accept"),
    ("sec-websocket-extensions", "Sec-WebSocket-Extensions"),
    ("sec-websocket-key", "Sec-WebSocket-Key"),
    ("sec-websocket-protocol", "Sec-WebSocket-Protocol"),
    ("sec-websocket-version", "Sec-WebSocket-Version"),
    // Apple's note on RTSP over HTTP, and every player.
    ("x-sessioncookie", "x-sessioncookie"),
    ("www-authenticate", "WWW-Authenticate"),
];

/// The head of a request, the blank line included. `target` and the fields are of types that cannot hold a line end.
pub fn request(method: &str, target: &str, version: Version, headers: &HeaderMap) -> Vec<u8> {
    let version = if version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut head = format!("{method} {target} {version}\r\n").into_bytes();
    for (name, value) in headers {
        head.extend_from_slice(spelled(name).as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The name as it is customarily written in HTTP/1.1.
fn spelled(name: &HeaderName) -> String {
    if let Some((_, spelled)) = CUSTOMARY.iter().find(|(lower, _)| *lower == name.as_str()) {
        return (*spelled).to_owned();
    }
    let mut begin = true;
    let capital = |letter: char| {
        let spelled = if begin { letter.to_ascii_uppercase() } else { letter };
        begin = letter == '-';
        spelled
    };
    name.as_str().chars().map(capital).collect()
}

/// The head of a device's answer, and what came behind it.
#[derive(Debug)]
pub struct Answer {
    /// HTTP/1.0 or 1.1.
    pub version: Version,
    /// The status; never 1xx but 101.
    pub status: StatusCode,
    /// The fields as they came.
    pub headers: HeaderMap,
    /// Bytes that were read with the head.
    pub early: Bytes,
}

/// Reads the head of the final answer; 1xx before it are passed over. There is no deadline in here.
///
/// Cancel safety: what was read is lost with the future; the connection is then of no use.
///
/// # Errors
/// [`Fault::Closed`]; [`Fault::Malformed`]: not HTTP/1, larger than [`HEAD_MAX`], more 1xx than [`INFORMATIONAL_MAX`].
pub async fn read_answer<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Answer, Fault> {
    let mut buffer = BytesMut::with_capacity(READ);
    let mut searched = 0;
    let mut informational = 0;
    loop {
        if let Some(end) = end_of_head(&buffer, searched) {
            let head = buffer.split_to(end);
            searched = 0;
            let (version, status, headers) = parse(&head)?;
            if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Answer { version, status, headers, early: buffer.freeze() });
            }
            informational += 1;
            if informational > INFORMATIONAL_MAX {
                return Err(Fault::Malformed("too many 1xx answers".to_owned()));
            }
            continue;
        }
        if buffer.len() >= HEAD_MAX {
            return Err(Fault::Malformed("its head is too large".to_owned()));
        }
        searched = buffer.len();
        buffer.reserve(READ);
        match stream.read_buf(&mut buffer).await {
            Ok(count) if count > 0 => {}
            _ => return Err(Fault::Closed),
        }
    }
}

/// Where the head ends: behind the first blank line. The first `searched` bytes hold none.
fn end_of_head(bytes: &[u8], searched: usize) -> Option<usize> {
    // The end may stand across the border of two reads.
    let from = searched.saturating_sub(3);
    bytes[from..].iter().enumerate().filter(|(_, byte)| **byte == b'\n').find_map(|(at, _)| {
        let rest = &bytes[from + at + 1..];
        let blank = if rest.starts_with(b"\r\n") { 2 } else { usize::from(rest.starts_with(b"\n")) };
        (blank > 0).then_some(from + at + 1 + blank)
    })
}

fn parse(head: &[u8]) -> Result<(Version, StatusCode, HeaderMap), Fault> {
    let malformed = |error: httparse::Error| Fault::Malformed(error.to_string());
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(head).map_err(malformed)?;
    let (Some(code), Some(minor), true) = (response.code, response.version, parsed.is_complete()) else {
        return Err(Fault::Malformed("its head is incomplete".to_owned()));
    };
    let status = StatusCode::from_u16(code).map_err(|_| Fault::Malformed(format!("{code} is not a status")))?;
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for field in response.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Fault::Malformed(format!("its field `{}` is invalid", field.name)));
        };
        headers.append(name, value);
    }
    Ok((if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 }, status, headers))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// The answer in `parts`, one read each.
    async fn read(parts: &[&[u8]]) -> Result<Answer, Fault> {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let script = async move {
            for part in parts {
                far.write_all(part).await.expect("room");
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(read_answer(&mut near), script).0
    }

    #[test]
    fn names_are_spelled_as_devices_expect_them() {
        let spelled = |name: &'static str| spelled(&HeaderName::from_static(name));
        assert_eq!(spelled("content-type"), "Content-Type");
        assert_eq!(spelled("sec-websocket-key"), "Sec-WebSocket-Key");
        assert_eq!(spelled("x-sessioncookie"), "x-sessioncookie");
    }

    #[test]
    fn a_request_is_its_line_its_fields_and_a_blank_line() {
        let headers = HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("127.0.0.1"))]);
        let head = request("GET", "/a?b", Version::HTTP_10, &headers);
        assert_eq!(head, b"GET /a?b HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n");
    }

    #[tokio::test]
    async fn an_answer_is_read_with_what_stands_behind_it_wherever_the_reads_end() {
        let whole = read(&[b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x01a"]).await;
        let whole = whole.expect("an answer");
        assert_eq!((whole.status.as_u16(), &whole.early[..]), (101, &b"\x81\x01a"[..]));
        let torn = read(&[b"HTTP/1.0 401 x\r", b"\nA: 1\r\nA: 2\r\n\r", b"\nbody"]).await.expect("an answer");
        assert_eq!((torn.version, torn.headers.get_all("a").iter().count()), (Version::HTTP_10, 2));
        assert_eq!(torn.early, "body");
        let bare = read(&[b"HTTP/1.1 200 OK\nA: 1\n\nbody"]).await.expect("an answer");
        assert_eq!(bare.early, "body");
    }

    #[tokio::test]
    async fn answers_under_way_are_passed_over() {
        let read =
            read(&[b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: 1\r\n\r\nHTTP/1.1 101 x\r\n\r\n"]);
        assert_eq!(read.await.expect("an answer").status, 101);
    }

    #[tokio::test]
    async fn what_is_no_answer_is_a_fault_with_its_name() {
        for (parts, sentence) in [
            (&[&b"garbage\r\n\r\n"[..]][..], "cannot be forwarded"),
            (&[b"HTTP/1.1 101 x\r\nA : 1\r\n\r\n"], "cannot be forwarded"),
            (&[b"HTTP/1.1 099 x\r\n\r\n"], "99 is not a status"),
            (&[b"HTTP/1.1 101 x\r\n"], "closed the connection without an answer"),
            (&[&[b'a'; HEAD_MAX]], "too large"),
            (&[&b"HTTP/1.1 100 x\r\n\r\n"[..]; 17], "too many 1xx"),
        ] {
            let fault = read(parts).await.expect_err(sentence).to_string();
            assert!(fault.contains(sentence), "{fault}");
        }
    }
}
