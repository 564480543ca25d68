//! Bulk data for demonstrations and tests: a source of any size and a sink that counts.
//!
//! `GET /download/N` gives N bytes of a pattern in which every offset can be checked: byte i is i mod 251 (a prime, so that
//! no block size hides a shift). Single ranges are served (RFC 9110 §14), so that downloads can be resumed. `/firmware`
//! swallows what is put there, as a camera's firmware upload would, and says how much it was.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use tokio::time::timeout;

use crate::base::http::{Body, BodyError, Request, Response, text_response};

/// The most that is given or taken at once: 16 GiB, more than any recording that a camera hands out in one piece.
pub const MAX_BYTES: u64 = 16 << 30;
/// The pattern's period.
const PERIOD: u64 = 251;
/// Bytes per chunk, a multiple of the period: about 128 KiB, what the forwarder reads at once (datapath.md).
const CHUNK: u64 = PERIOD * 522;
/// How long an upload may pause.
const UPLOAD_PAUSE: Duration = Duration::from_secs(60);

/// The byte of the pattern at an offset.
pub fn pattern(offset: u64) -> u8 {
    (offset % PERIOD) as u8
}

/// Answers a GET or HEAD of `/download/N`; `size` is the text after the last slash.
pub fn download(request: &Request, size: &str) -> Response {
    let Some(size) = size.bytes().all(|byte| byte.is_ascii_digit()).then(|| size.parse::<u64>().ok()).flatten() else {
        return text_response(StatusCode::NOT_FOUND, "Ask for /download/N, N being a number of bytes.");
    };
    if size > MAX_BYTES {
        return text_response(StatusCode::NOT_FOUND, "A download is limited to 17179869184 bytes (16 GiB).");
    }
    let range = request.headers().get(header::RANGE).and_then(|value| value.to_str().ok());
    let (status, from, until) = match range.map_or(Range::Whole, |range| Range::parse(range, size)) {
        Range::Whole => (StatusCode::OK, 0, size),
        Range::Part { from, until } => (StatusCode::PARTIAL_CONTENT, from, until),
        Range::Unsatisfiable => {
            let mut response = text_response(StatusCode::RANGE_NOT_SATISFIABLE, "The range lies beyond the end.");
            set(&mut response, header::CONTENT_RANGE, format!("bytes */{size}"));
            return response;
        }
    };
    let mut response = Response::new(Body::new(StreamBody::new(source(from, until))));
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_TYPE, "application/octet-stream".to_owned());
    set(&mut response, header::CONTENT_LENGTH, (until - from).to_string());
    set(&mut response, header::ACCEPT_RANGES, "bytes".to_owned());
    if status == StatusCode::PARTIAL_CONTENT {
        // `until > from` for every part, so the subtraction holds.
        set(&mut response, header::CONTENT_RANGE, format!("bytes {from}-{}/{size}", until - 1));
    }
    response
}

/// Swallows a body and answers `{"bytes":N}`.
pub async fn upload(request: Request) -> Response {
    debug_assert!(request.method() == Method::POST || request.method() == Method::PUT);
    let mut body = request.into_body();
    let too_large = || text_response(StatusCode::PAYLOAD_TOO_LARGE, "An upload is limited to 16 GiB.");
    if body.size_hint().lower() > MAX_BYTES {
        return too_large();
    }
    let mut bytes = 0u64;
    loop {
        match timeout(UPLOAD_PAUSE, body.frame()).await {
            Ok(Some(Ok(frame))) => bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            Ok(Some(Err(_))) => return text_response(StatusCode::BAD_REQUEST, "The upload broke off."),
            Ok(None) => break,
            Err(_) => return text_response(StatusCode::REQUEST_TIMEOUT, "The upload paused for more than 60 seconds."),
        }
        if bytes > MAX_BYTES {
            return too_large();
        }
    }
    let json = format!("{{\"bytes\":{bytes}}}\n");
    let length = json.len();
    let mut response = Response::new(Body::full(json));
    set(&mut response, header::CONTENT_TYPE, "application/json".to_owned());
    set(&mut response, header::CONTENT_LENGTH, length.to_string());
    response
}

fn set(response: &mut Response, name: header::HeaderName, value: String) {
    let value = HeaderValue::try_from(value).expect("made of ASCII letters, digits and signs");
    response.headers_mut().insert(name, value);
}

fn source(from: u64, until: u64) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, BodyError>> + Send + 'static {
    // One period more than a chunk, so that a chunk can begin anywhere in the pattern without a copy.
    let block: Bytes = (0..CHUNK + PERIOD).map(pattern).collect();
    futures_util::stream::unfold(from, move |at| {
        let begin = (at % PERIOD) as usize;
        let length = CHUNK.min(until.saturating_sub(at));
        let chunk = block.slice(begin..begin + length as usize);
        async move { (length > 0).then(|| (Ok(Frame::data(chunk)), at + length)) }
    })
}

/// A `Range` header against a size: one range is honoured, everything else is ignored as RFC 9110 §14.2 allows.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    Part { from: u64, until: u64 },
    Unsatisfiable,
}

impl Range {
    fn parse(value: &str, size: u64) -> Self {
        let Some((first, last)) = value.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
            return Self::Whole;
        };
        let (from, until) = match (number(first), number(last)) {
            (Some(from), Some(last)) if from <= last => (from, last.saturating_add(1).min(size)),
            (Some(from), None) if last.is_empty() => (from, size),
            (None, Some(tail)) if first.is_empty() => (size - tail.min(size), size),
            _ => return Self::Whole,
        };
        if from < until { Self::Part { from, until } } else { Self::Unsatisfiable }
    }
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(range: Option<&str>, size: &str) -> Response {
        let mut request = Request::new(Body::empty());
        if let Some(range) = range {
            request.headers_mut().insert(header::RANGE, HeaderValue::from_str(range).unwrap());
        }
        download(&request, size)
    }

    #[tokio::test]
    async fn a_download_is_the_pattern_of_the_asked_length() {
        let response = get(None, "300000");
        assert_eq!(response.headers()[header::CONTENT_LENGTH], "300000");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len(), 300_000);
        assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == pattern(at as u64)));
    }

    #[tokio::test]
    async fn a_range_is_the_same_bytes_as_in_the_whole() {
        let response = get(Some("bytes=1000-250999"), "300000");
        assert_eq!(response.status(), 206);
        assert_eq!(response.headers()[header::CONTENT_RANGE], "bytes 1000-250999/300000");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len(), 250_000);
        assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == pattern(1000 + at as u64)));
    }

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        let part = |from, until| Range::Part { from, until };
        for (text, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=90-", part(90, 100)),
            ("bytes=-10", part(90, 100)),
            ("bytes=-1000", part(0, 100)),
            ("bytes=50-18446744073709551615", part(50, 100)),
            ("bytes=100-", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=9-1", Range::Whole),
            ("bytes=0-1,5-6", Range::Whole),
            ("bytes=+1-2", Range::Whole),
            ("pages=1-2", Range::Whole),
            ("bytes=-", Range::Whole),
        ] {
            assert_eq!(Range::parse(text, 100), expected, "{text}");
        }
        assert_eq!(get(Some("bytes=5-"), "5").headers()[header::CONTENT_RANGE], "bytes */5");
    }

    #[test]
    fn a_size_that_is_no_number_or_too_large_is_not_found() {
        assert_eq!(get(None, &MAX_BYTES.to_string()).status(), 200);
        for size in ["", "x", "-1", "+1", "1/2", "17179869185", "99999999999999999999999"] {
            assert_eq!(get(None, size).status(), 404, "{size}");
        }
    }

    #[tokio::test]
    async fn an_upload_is_counted() {
        let mut request = Request::new(Body::new(StreamBody::new(source(0, 1_000_003))));
        *request.method_mut() = Method::PUT;
        let response = upload(request).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "{\"bytes\":1000003}\n");
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_stands_still_is_given_up() {
        let mut request =
            Request::new(Body::new(StreamBody::new(futures_util::stream::pending::<Result<_, BodyError>>())));
        *request.method_mut() = Method::POST;
        assert_eq!(upload(request).await.status(), 408);
    }
}
