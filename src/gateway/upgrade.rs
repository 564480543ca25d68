//! The gateway's side of the upgrade (ONVIF Uplink §5.1): one bounded HTTP/1.1 head in, 101 or a readable refusal out.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A device's request head is a few hundred bytes; a token in it may take some kilobytes.
pub const HEAD_MAX: usize = 16 * 1024;
/// No device sends more fields; each costs memory while it is read.
const FIELDS_MAX: usize = 64;

/// The whole answer that ends HTTP/1.1 on the connection; one write.
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c-reverse\r\n\r\n";

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

/// Reads the upgrade request and answers it. Returns bytes that came after the head: they belong to HTTP/2.
///
/// Not cancel safe: after a cancellation the connection is of no use. The caller sets the deadline.
///
/// # Errors
/// [`UpgradeError`]; a refusal has been written and the connection closed.
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<Bytes, UpgradeError> {
    match read_head(stream).await {
        Ok(early) => {
            stream.write_all(SWITCHING).await?;
            stream.flush().await?;
            Ok(early)
        }
        Err(UpgradeError::Refused(status, sentence)) => {
            refuse(stream, status, sentence).await?;
            Err(UpgradeError::Refused(status, sentence))
        }
        Err(error) => Err(error),
    }
}

/// Writes a final HTTP/1.1 answer and closes.
///
/// # Errors
/// Those of the connection.
pub async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, status: StatusCode, sentence: &str) -> std::io::Result<()> {
    let upgrade = if status == StatusCode::UPGRADE_REQUIRED { "Upgrade: h2c-reverse\r\n" } else { "" };
    let connection = if upgrade.is_empty() { "close" } else { "Upgrade, close" };
    let answer = format!(
        "HTTP/1.1 {status}\r\nConnection: {connection}\r\n{upgrade}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{sentence}\n",
        sentence.len() + 1,
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Bytes, UpgradeError> {
    let mut received = BytesMut::with_capacity(1024);
    loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        if let Some(length) = check(&received)? {
            return Ok(received.split_off(length).freeze());
        }
        if received.len() >= HEAD_MAX {
            return Err(refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request head is larger than 16 KiB"));
        }
    }
}

/// The length of the head when it is complete and asks for what the gateway offers.
fn check(received: &[u8]) -> Result<Option<usize>, UpgradeError> {
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
    let has = |name: &str, token: &str| {
        request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).any(|field| {
            field.value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
        })
    };
    let body = |field: &httparse::Header<'_>| {
        field.name.eq_ignore_ascii_case("transfer-encoding")
            || (field.name.eq_ignore_ascii_case("content-length") && field.value.trim_ascii() != b"0")
    };
    if request.headers.iter().any(body) {
        return Err(refused(StatusCode::BAD_REQUEST, "an upgrade request has no body"));
    }
    if !has("connection", "upgrade") || !has("upgrade", "h2c-reverse") {
        return Err(refused(
            StatusCode::UPGRADE_REQUIRED,
            "this is the uplink port of a gateway: send Connection: Upgrade and Upgrade: h2c-reverse",
        ));
    }
    Ok(Some(length))
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
        let early = accept(&mut near).await.ok();
        drop(near);
        let mut text = String::new();
        far.read_to_string(&mut text).await.expect("text");
        (text, early)
    }

    #[tokio::test]
    async fn an_upgrade_is_accepted_whatever_the_case_and_the_bytes_after_it_are_kept() {
        let (text, early) =
            answer(b"GET /x HTTP/1.1\r\nhost: g\r\nconnection: foo, UPGRADE\r\nupgrade: H2C-Reverse\r\n\r\nPRI").await;
        assert_eq!(text.as_bytes(), SWITCHING);
        assert_eq!(early.as_deref(), Some(&b"PRI"[..]));
    }

    #[tokio::test]
    async fn anything_else_gets_an_answer_that_says_what_is_wrong() {
        for (request, status) in [
            (&b"GET / HTTP/1.1\r\nHost: g\r\n\r\n"[..], "426"),
            (b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "426"),
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
