//! The request's body on its way to the device: exactly as long as announced, held for `Expect`, stopped by an early refusal.
//!
//! Trailers reach the device when the request's `Trailer` field names them and the body is chunked. Others are left out, as
//! RFC 9110 §6.5.1 allows: HTTP/2 needs no announcement, but in HTTP/1.1 the head is on its way before their names are known.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;

use super::headers::clean_trailers;
use crate::base::http::{Body, BodyError, Informational};

/// What the exchange and the body of its request tell each other. All of it happens within one task.
#[derive(Debug, Default)]
pub struct Signals {
    /// The device said 100: the body may go.
    pub continued: AtomicBool,
    /// The device has refused: nobody wants the rest of the body.
    pub stopped: AtomicBool,
    /// Bytes taken from the body so far.
    pub sent: AtomicU64,
    /// The whole body has been taken: a refusal has nothing to stop and the connection stays of use.
    pub whole: AtomicBool,
    /// The HTTP/1.1 side has asked for more of the body and the remote has not sent it: the device owes us nothing.
    pub starved: AtomicBool,
    /// 1xx answers so far.
    pub informational: AtomicU32,
}

/// The body that the HTTP/1.1 side polls; only when the socket takes what was there before, so nothing is read ahead.
pub struct Upload {
    body: Option<Body>,
    left: Option<u64>,
    signals: Arc<Signals>,
    hold: Option<Hold>,
}

/// Waiting for the device's 100.
struct Hold {
    until: Pin<Box<Sleep>>,
    informational: Option<Informational>,
}

impl Upload {
    /// A body of `length` bytes, or of unknown length.
    pub fn new(body: Body, length: Option<u64>, signals: Arc<Signals>) -> Self {
        Self { body: Some(body), left: length, signals, hold: None }
    }

    /// No body.
    pub fn none() -> Self {
        Self { body: None, left: Some(0), signals: Arc::default(), hold: None }
    }

    /// Holds the body until the device's 100 or for `patience`. Then the sender, which waits too, gets its 100 from us.
    #[must_use]
    pub fn held(mut self, patience: Duration, informational: Option<Informational>) -> Self {
        self.hold = Some(Hold { until: Box::pin(tokio::time::sleep(patience)), informational });
        self
    }

    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(hold) = &mut self.hold {
            if !self.signals.continued.load(Relaxed) {
                ready!(hold.until.as_mut().poll(cx));
                if let Some(informational) = &hold.informational {
                    informational.send(StatusCode::CONTINUE, HeaderMap::new());
                }
            }
            self.hold = None;
        }
        Poll::Ready(())
    }

    fn count(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.signals.sent.fetch_add(bytes as u64, Relaxed);
        if let Some(left) = &mut self.left {
            // Checked before the bytes are handed on: not one of them may become the start of a next request.
            *left = left.checked_sub(bytes as u64).ok_or(BodyError::Length("more bytes came than were announced"))?;
            self.signals.whole.store(*left == 0, Relaxed);
        }
        Ok(())
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.signals.stopped.load(Relaxed) {
            // The connection ends with the answer; until then no byte more is read.
            self.body = None;
            return Poll::Pending;
        }
        ready!(self.poll_hold(cx));
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        self.signals.starved.store(polled.is_pending(), Relaxed);
        let frame = match ready!(polled) {
            Some(frame) => frame?,
            None if self.left.is_some() => {
                return Poll::Ready(Some(Err(BodyError::Length("fewer bytes came than were announced"))));
            }
            None => {
                self.signals.whole.store(true, Relaxed);
                return Poll::Ready(None);
            }
        };
        match frame.into_data() {
            Ok(data) => {
                self.count(data.len())?;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Err(_) if self.left.is_some() => {
                Poll::Ready(Some(Err(BodyError::Length("trailers came before the announced bytes"))))
            }
            Err(frame) => Poll::Ready(frame.into_trailers().ok().map(|mut trailers| {
                clean_trailers(&mut trailers);
                Ok(Frame::trailers(trailers))
            })),
        }
    }

    /// The request ends at the announced byte, whether or not END_STREAM ever comes (quirk Q10).
    fn is_end_stream(&self) -> bool {
        self.left == Some(0) || self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    fn chunks(chunks: &'static [&'static str]) -> Body {
        let frames = chunks.iter().map(|chunk| Ok::<_, BodyError>(Frame::data(Bytes::from_static(chunk.as_bytes()))));
        Body::new(StreamBody::new(futures_util::stream::iter(frames)))
    }

    async fn sent(upload: Upload) -> Result<Bytes, BodyError> {
        Ok(upload.collect().await?.to_bytes())
    }

    #[tokio::test]
    async fn a_body_ends_at_the_announced_byte_without_being_asked_for_its_end() {
        let mut upload = Upload::new(chunks(&["ab", "cd", ""]), Some(4), Arc::default());
        for _ in 0..2 {
            assert!(!upload.is_end_stream());
            upload.frame().await.expect("a frame").expect("in length");
        }
        assert!(upload.is_end_stream());
    }

    #[tokio::test]
    async fn a_body_of_another_length_than_announced_breaks() {
        for (length, parts) in [(3, &["ab", "cd"][..]), (5, &["ab", "cd"][..])] {
            let error = sent(Upload::new(chunks(parts), Some(length), Arc::default())).await.expect_err("length");
            assert!(matches!(error, BodyError::Length(_)), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_held_body_goes_after_its_patience_and_its_sender_is_told() {
        let start = tokio::time::Instant::now();
        let told = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&told);
        let informational = Informational::new(move |_, _| {
            count.fetch_add(1, Relaxed);
        });
        let upload =
            Upload::new(chunks(&["ab"]), None, Arc::default()).held(Duration::from_secs(1), Some(informational));
        assert_eq!(sent(upload).await.expect("sent"), "ab");
        assert_eq!((start.elapsed(), told.load(Relaxed)), (Duration::from_secs(1), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_held_body_goes_at_once_after_the_devices_100() {
        let signals = Arc::new(Signals::default());
        signals.continued.store(true, Relaxed);
        let start = tokio::time::Instant::now();
        let upload = Upload::new(chunks(&["ab"]), None, signals).held(Duration::from_secs(1), None);
        assert_eq!(sent(upload).await.expect("sent"), "ab");
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_body_is_not_read_any_more() {
        let signals = Arc::new(Signals::default());
        let mut upload = Upload::new(chunks(&["ab"]), None, Arc::clone(&signals));
        signals.stopped.store(true, Relaxed);
        assert!(tokio::time::timeout(Duration::from_secs(60), upload.frame()).await.is_err());
        assert!(upload.body.is_none());
    }
}
