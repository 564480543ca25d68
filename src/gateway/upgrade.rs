//! The gateway's side of the upgrade (ONVIF Uplink §5.1; RFC 6455 §4.2): one bounded HTTP/1.1 head in, 101 or a readable refusal
//! out. Native and WebSocket uplinks come to the same port; the request says which it is.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    base::secret::Secret,
    transport::websocket::{SUBPROTOCOL, accept_key},
};

/// A device's request head is a few hundred bytes; a token in it may take some kilobytes.
pub const HEAD_MAX: usize = 16 * 1024;
/// No device sends more fields; each costs memory while it is read.
const FIELDS_MAX: usize = 64;

/// Why the upgrade was not made.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The request was read and refused; the device has been told.
    #[error("{1}")]
    Refused(StatusCode, &'static str),
    /// The connection ended or broke.
    #[error("the connection broke before the upgrade: {0}")]
    Io(#[from] std::io::Error),
}

/// What a device asks for.
#[derive(Debug)]
pub struct Asked {
    /// How the session shall be carried.
    pub carrier: Carrier,
    /// The access token, from the header or, with a WebSocket, from the query (RFC 6750 §2.1, §2.3).
    pub bearer: Option<Secret>,
    /// Bytes that came after the head.
    pub early: Bytes,
}

/// How a session is carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// HTTP/2 itself.
    Native,
    /// HTTP/2 within a WebSocket.
    WebSocket {
        /// The value of `Sec-WebSocket-Accept`.
        accept: String,
    },
}

/// Reads the upgrade request. What is no upgrade is answered and the connection closed.
///
/// Not cancel safe: after a cancellation the connection is of no use. The caller sets the deadline.
///
/// # Errors
/// [`UpgradeError`]; a refusal has been written and the connection closed.
pub async fn read<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<Asked, UpgradeError> {
    match read_head(stream).await {
        Err(UpgradeError::Refused(status, sentence)) => {
            let field = match status {
                StatusCode::UPGRADE_REQUIRED => "Upgrade: h2c-reverse, websocket\r\nSec-WebSocket-Version: 13\r\n",
                _ => "",
            };
            refuse(stream, status, field, sentence).await?;
            Err(UpgradeError::Refused(status, sentence))
        }
        other => other,
    }
}

/// Ends HTTP/1.1 on the connection: the 101, as one write.
///
/// # Errors
/// Those of the connection.
pub async fn switch<S: AsyncWrite + Unpin>(stream: &mut S, carrier: &Carrier) -> std::io::Result<()> {
    let fields = match carrier {
        Carrier::Native => "Upgrade: h2c-reverse\r\n".to_owned(),
        Carrier::WebSocket { accept } => {
            format!("Upgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n")
        }
    };
    let answer = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n{fields}\r\n");
    stream.write_all(answer.as_bytes()).await?;
    stream.flush().await
}

/// Writes a final HTTP/1.1 answer, with further `fields` (each with its line end), and closes.
///
/// # Errors
/// Those of the connection.
pub async fn refuse<S: AsyncWrite + Unpin>(
    stream: &mut S,
    status: StatusCode,
    fields: &str,
    sentence: &str,
) -> std::io::Result<()> {
    let connection = if status == StatusCode::UPGRADE_REQUIRED { "Upgrade, close" } else { "close" };
    let answer = format!(
        "HTTP/1.1 {status}\r\nConnection: {connection}\r\n{fields}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{sentence}\n",
        sentence.len() + 1,
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Asked, UpgradeError> {
    let mut received = BytesMut::with_capacity(1024);
    loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        if let Some((length, carrier, bearer)) = check(&received)? {
            return Ok(Asked { carrier, bearer, early: received.split_off(length).freeze() });
        }
        if received.len() >= HEAD_MAX {
            return Err(refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request head is larger than 16 KiB"));
        }
    }
}

/// The length of the head when it is complete, and what it asks for.
fn check(received: &[u8]) -> Result<Option<(usize, Carrier, Option<Secret>)>, UpgradeError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(received) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(refused(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "the request has more than 64 header fields",
            ));
        }
        Err(_) => return Err(refused(StatusCode::BAD_REQUEST, "this is not an HTTP/1.1 request")),
    };
    if request.version != Some(1) {
        return Err(refused(StatusCode::BAD_REQUEST, "an upgrade needs HTTP/1.1"));
    }
    if request.method != Some("GET") {
        return Err(refused(StatusCode::METHOD_NOT_ALLOWED, "an uplink begins with GET and Upgrade: h2c-reverse"));
    }
    let body = |field: &httparse::Header<'_>| {
        field.name.eq_ignore_ascii_case("transfer-encoding")
            || (field.name.eq_ignore_ascii_case("content-length") && field.value.trim_ascii() != b"0")
    };
    if request.headers.iter().any(body) {
        return Err(refused(StatusCode::BAD_REQUEST, "an upgrade request has no body"));
    }
    let carrier = carrier(request.headers)?;
    let bearer = bearer(request.headers).or_else(|| match carrier {
        Carrier::WebSocket { .. } => in_query(request.path.unwrap_or_default()),
        Carrier::Native => None,
    });
    Ok(Some((length, carrier, bearer)))
}

fn value<'h>(fields: &'h [httparse::Header<'_>], name: &str) -> Option<&'h str> {
    let field = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(field.value).ok().map(str::trim)
}

/// Whether a list field has this token (RFC 9110 §5.6.1).
fn has(fields: &[httparse::Header<'_>], name: &str, token: &str) -> bool {
    fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).any(|field| {
        field.value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

fn carrier(fields: &[httparse::Header<'_>]) -> Result<Carrier, UpgradeError> {
    let upgrade = has(fields, "connection", "upgrade");
    if upgrade && has(fields, "upgrade", "h2c-reverse") {
        return Ok(Carrier::Native);
    }
    if !upgrade || !has(fields, "upgrade", "websocket") {
        return Err(refused(
            StatusCode::UPGRADE_REQUIRED,
            "this is the uplink port of a gateway: send Connection: Upgrade and Upgrade: h2c-reverse, or a WebSocket with the subprotocol h2c-reverse",
        ));
    }
    if value(fields, "sec-websocket-version") != Some("13") {
        return Err(refused(StatusCode::UPGRADE_REQUIRED, "the WebSocket version must be 13"));
    }
    if !has(fields, "sec-websocket-protocol", SUBPROTOCOL) {
        return Err(refused(StatusCode::BAD_REQUEST, "an uplink is the WebSocket subprotocol h2c-reverse"));
    }
    let key = value(fields, "sec-websocket-key").unwrap_or_default();
    // RFC 6455 §4.2.1: sixteen bytes in base64.
    if !BASE64_STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16) {
        return Err(refused(StatusCode::BAD_REQUEST, "the Sec-WebSocket-Key is not one of RFC 6455"));
    }
    Ok(Carrier::WebSocket { accept: accept_key(key) })
}

fn bearer(fields: &[httparse::Header<'_>]) -> Option<Secret> {
    let (scheme, token) = value(fields, "authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Secret::new(token.trim()))
}

fn in_query(target: &str) -> Option<Secret> {
    let (_, query) = target.split_once('?')?;
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "access_token").map(|(_, token)| Secret::new(token.into_owned()))
}

fn refused(status: StatusCode, sentence: &'static str) -> UpgradeError {
    UpgradeError::Refused(status, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(request: &[u8]) -> (String, Option<Bytes>) {
        let (mut near, mut far) = tokio::io::duplex(64 * 1024);
        far.write_all(request).await.expect("room");
        far.shutdown().await.expect("open");
        let early = match read(&mut near).await {
            Ok(asked) => {
                switch(&mut near, &asked.carrier).await.expect("open");
                Some(asked.early)
            }
            Err(_) => None,
        };
        drop(near);
        let mut text = String::new();
        far.read_to_string(&mut text).await.expect("text");
        (text, early)
    }

    #[tokio::test]
    async fn an_upgrade_is_accepted_whatever_the_case_and_the_bytes_after_it_are_kept() {
        let (text, early) =
            answer(b"GET /x HTTP/1.1\r\nhost: g\r\nconnection: foo, UPGRADE\r\nupgrade: H2C-Reverse\r\n\r\nPRI").await;
        assert_eq!(text, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c-reverse\r\n\r\n");
        assert_eq!(early.as_deref(), Some(&b"PRI"[..]));
    }

    #[tokio::test]
    async fn a_websocket_is_answered_by_the_vector_of_rfc_6455() {
        let (text, early) = answer(
            b"GET /x HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
              Sec-WebSocket-Protocol: chat, h2c-reverse\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nframe",
        )
        .await;
        assert!(text.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{text}");
        assert!(text.contains("\r\nSec-WebSocket-Protocol: h2c-reverse\r\n"), "{text}");
        assert_eq!(early.as_deref(), Some(&b"frame"[..]));
    }

    #[test]
    fn a_token_is_taken_from_the_header_and_from_the_query_of_a_websocket_only() {
        let bearer = |target: &str, fields: &str| {
            let head = format!("GET {target} HTTP/1.1\r\nConnection: upgrade\r\n{fields}\r\n");
            let (_, _, bearer) = check(head.as_bytes()).expect("an upgrade").expect("complete");
            bearer.map(|token| token.expose().to_owned())
        };
        let websocket = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: h2c-reverse\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let native = "Upgrade: h2c-reverse\r\n";
        assert_eq!(bearer("/", &format!("{native}Authorization: bearer a.b\r\n")).as_deref(), Some("a.b"));
        assert_eq!(bearer("/?x=1&access_token=a%2Eb", websocket).as_deref(), Some("a.b"));
        assert_eq!(bearer("/?access_token=a.b", native), None);
        assert_eq!(bearer("/", &format!("{native}Authorization: Basic eDp5\r\n")), None);
    }

    #[tokio::test]
    async fn anything_else_gets_an_answer_that_says_what_is_wrong() {
        for (request, status) in [
            (&b"GET / HTTP/1.1\r\nHost: g\r\n\r\n"[..], "426"),
            (b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "426"),
            (b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: h2c-reverse\r\nSec-WebSocket-Key: short\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nUpgrade: h2c-reverse\r\n\r\n", "426"),
            (b"POST / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c-reverse\r\n\r\n", "405"),
            (b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: h2c-reverse\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c-reverse\r\nContent-Length: 4\r\n\r\n", "400"),
            (b"\x16\x03\x01garbage\r\n\r\n", "400"),
        ] {
            let (text, early) = answer(request).await;
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
            assert!(early.is_none());
        }
    }

    #[tokio::test]
    async fn an_endless_head_is_cut_off_at_its_bound() {
        let mut request = b"GET / HTTP/1.1\r\nX: ".to_vec();
        request.resize(HEAD_MAX + 1, b'a');
        assert!(answer(&request).await.0.starts_with("HTTP/1.1 431 "));
    }
}
