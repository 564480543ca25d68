//! Which answers get a `content-length` that the device did not give (quirk Q11: some remotes need one).
//!
//! The rule: an answer of unknown length whose type is not one of a stream (multipart, event stream, video, audio) is held until
//! it ends, until more than 64 KiB have come or until 50 ms have passed since its head, whichever is first. If it ended it
//! goes out whole with its length; else what was held goes out at once and the rest follows chunk by chunk. So a
//! stream's first bytes are never held when it says that it is one, and at most 50 ms when it does not.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header::CONTENT_LENGTH};
use http_body::Frame;
use http_body_util::BodyExt;

use super::{download::Download, limits::Limits};
use crate::base::http::{Body, BodyError};

/// What became of an answer of unknown length.
pub enum Held {
    /// It is all here and its length stands in the header.
    Whole(Body),
    /// It goes on; nothing of it is lost.
    GoesOn(Box<Download>),
}

/// Holds the answer as the rule says.
///
/// # Errors
/// The body broke while it was held: the head has not gone out, so the answer can still become a 502.
pub async fn hold(mut download: Download, headers: &mut HeaderMap, limits: &Limits) -> Result<Held, BodyError> {
    let mut frames = VecDeque::new();
    let mut bytes = 0;
    let collected = tokio::time::timeout(limits.hold, async {
        while bytes <= limits.hold_bytes {
            let Some(frame) = download.frame().await.transpose()? else { return Ok(true) };
            bytes += frame.data_ref().map_or(0, Bytes::len);
            frames.push_back(frame);
        }
        Ok(false)
    })
    .await;
    if !matches!(collected, Ok(Ok(true))) {
        if let Ok(Err(error)) = collected {
            return Err(error);
        }
        download.put_back(frames);
        return Ok(Held::GoesOn(Box::new(download)));
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    if frames.iter().any(Frame::is_trailers) {
        let frames = frames.into_iter().map(Ok::<_, BodyError>);
        return Ok(Held::Whole(Body::new(http_body_util::StreamBody::new(futures_util::stream::iter(frames)))));
    }
    Ok(Held::Whole(Body::full(join(frames, bytes))))
}

/// One chunk stays what it is; several are small and joined once.
fn join(mut frames: VecDeque<Frame<Bytes>>, bytes: usize) -> Bytes {
    if frames.len() == 1 {
        return frames.pop_front().and_then(|frame| frame.into_data().ok()).unwrap_or_default();
    }
    let mut joined = BytesMut::with_capacity(bytes);
    for data in frames.into_iter().filter_map(|frame| frame.into_data().ok()) {
        joined.extend_from_slice(&data);
    }
    joined.freeze()
}
