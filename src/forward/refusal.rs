//! The body of an answer that refuses what a raw connection was made for: short, and read whole before it goes on.
//!
//! Status and fields go back as they are. The body too, if it is all here in time and not too large; else it is left out,
//! because the fields that describe it would not fit a part of it.

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{fault::Fault, head::Answer, headers, limits::Limits};
use crate::base::http::{Body, Response};

/// Fields that describe a body that is not there.
const OF_BODY: [http::HeaderName; 4] =
    [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::CONTENT_ENCODING, header::TRAILER];

/// Read at once, bytes.
const READ: usize = 4 * 1024;

/// How the body ends (RFC 9112 §6.3).
enum End {
    Length(u64),
    Chunked,
    Close,
}

/// The device's refusal as the response to the remote. Reads its body from `stream`, which is of no further use.
///
/// # Errors
/// [`Fault::Malformed`]: the length of the body is in doubt.
pub async fn response<S: AsyncRead + Unpin>(
    mut answer: Answer,
    stream: &mut S,
    limits: &Limits,
) -> Result<Response, Fault> {
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&answer.status);
    let chunked = answer.headers.contains_key(header::TRANSFER_ENCODING);
    let length = headers::to_remote(&mut answer.headers, answer.status, bodiless)
        .map_err(|sentence| Fault::Malformed(sentence.to_owned()))?;
    let end = match length {
        Some(length) => End::Length(length),
        None if chunked => End::Chunked,
        None => End::Close,
    };
    let mut body = BytesMut::from(&answer.early[..]);
    let read = tokio::time::timeout(limits.refusal, read(&mut body, stream, &end, limits.hold_bytes)).await;
    let mut response = Response::new(Body::empty());
    match read.ok().flatten() {
        Some(_) if bodiless => {}
        Some(body) => {
            answer.headers.insert(header::CONTENT_LENGTH, body.len().into());
            *response.body_mut() = Body::full(body);
        }
        None => OF_BODY.iter().for_each(|name| drop(answer.headers.remove(name))),
    }
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

/// The whole body; `None` when it is longer than `most`, broken or cut.
async fn read<S: AsyncRead + Unpin>(bytes: &mut BytesMut, stream: &mut S, end: &End, most: usize) -> Option<Bytes> {
    loop {
        match end {
            End::Length(length) if bytes.len() as u64 >= *length => {
                return Some(bytes.split_to(usize::try_from(*length).ok()?).freeze());
            }
            End::Chunked => match dechunked(bytes) {
                Ok(Some(body)) => return Some(body),
                Ok(None) => {}
                Err(()) => return None,
            },
            End::Length(_) | End::Close => {}
        }
        if bytes.len() > most {
            return None;
        }
        bytes.reserve(READ);
        match stream.read_buf(bytes).await {
            Ok(0) if matches!(end, End::Close) => return Some(bytes.split().freeze()),
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// The body within the chunks (RFC 9112 §7.1) when the last is here; trailers are left out.
fn dechunked(mut bytes: &[u8]) -> Result<Option<Bytes>, ()> {
    let mut body = BytesMut::new();
    loop {
        let (start, size) = match httparse::parse_chunk_size(bytes) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(()),
        };
        if size == 0 {
            return Ok(Some(body.freeze()));
        }
        let end = usize::try_from(size).ok().and_then(|size| start.checked_add(size)).ok_or(())?;
        let Some(chunk) = bytes.get(start..end) else { return Ok(None) };
        body.extend_from_slice(chunk);
        match bytes.get(end..end + 2) {
            Some(b"\r\n") => bytes = &bytes[end + 2..],
            Some(_) => return Err(()),
            None => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::forward::head::read_answer;

    /// What becomes of an answer; `closes` says whether the device closes behind it.
    async fn refused(text: &str, closes: bool) -> Result<(http::response::Parts, Bytes), Fault> {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        far.write_all(text.as_bytes()).await.expect("room");
        let _held = (!closes).then_some(far);
        let answer = read_answer(&mut near).await?;
        let limits = Limits { refusal: Duration::from_secs(1), ..Limits::default() };
        let (parts, body) = response(answer, &mut near, &limits).await?.into_parts();
        Ok((parts, body.collect().await.expect("whole").to_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_keeps_status_fields_and_body_however_its_end_is_told() {
        for (text, closes) in [
            ("HTTP/1.1 401 x\r\nWWW-Authenticate: Digest a\r\nContent-Length: 4\r\n\r\nnope", false),
            ("HTTP/1.1 401 x\r\nWWW-Authenticate: Digest a\r\n\r\nnope", true),
            (
                "HTTP/1.1 401 x\r\nWWW-Authenticate: Digest a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n2\r\npe\r\n0\r\n\r\n",
                false,
            ),
        ] {
            let (parts, body) = refused(text, closes).await.expect("an answer");
            assert_eq!((parts.status.as_u16(), &body[..]), (401, &b"nope"[..]), "{text}");
            assert_eq!(parts.headers["www-authenticate"], "Digest a");
            assert_eq!(parts.headers["content-length"], "4");
            assert!(!parts.headers.contains_key("transfer-encoding"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_too_large_late_or_broken_is_left_out() {
        let large = format!("HTTP/1.1 403 x\r\nContent-Length: 70000\r\n\r\n{}", "a".repeat(69_999));
        for text in [
            large.as_str(),
            "HTTP/1.1 403 x\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nlate",
            "HTTP/1.1 403 x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 403 x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\na",
        ] {
            let (parts, body) = refused(text, false).await.expect("an answer");
            assert_eq!((parts.status.as_u16(), body.len()), (403, 0));
            assert!(!parts.headers.contains_key("content-type"));
        }
    }

    #[tokio::test]
    async fn a_length_in_doubt_is_a_fault() {
        let fault = refused("HTTP/1.1 403 x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", true).await;
        assert!(matches!(fault, Err(Fault::Malformed(_))));
    }
}
