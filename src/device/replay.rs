//! A request body that can be sent a second time: it streams on while a bounded beginning of it is remembered.
//!
//! A device may ask for credentials only after it has read the body, or in the middle of it. Nothing is held back for that:
//! the first reader passes on what comes and keeps it, a later reader begins with what was kept and goes on with the rest.
//! Once more than [`BODY_MAX`] has passed, what was kept is dropped, and there is no second time.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::base::{
    gather::{Gathered, gather},
    http::{Body, BodyError},
};

/// Most that is remembered of one body, bytes: ten times the largest usual SOAP message; firmware gets its nonce before.
pub const BODY_MAX: usize = 256 * 1024;
/// How long a body that is needed whole may take to come: a message of [`BODY_MAX`] over 50 kbit/s.
pub const WHOLE_DEADLINE: Duration = Duration::from_secs(60);

/// A body and what is remembered of it. Clones share both.
#[derive(Clone)]
pub struct Replay(Arc<Mutex<Shared>>);

struct Shared {
    source: Body,
    kept: Vec<Piece>,
    bytes: usize,
    keeping: Keeping,
    /// Counts the readers; only the newest one reads.
    reader: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeping {
    /// It can be sent again.
    All,
    /// More has passed than is remembered.
    Lost,
    /// Nobody will send it again.
    Settled,
}

#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Piece {
    fn frame(&self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data.clone()),
            Self::Trailers(trailers) => Frame::trailers(trailers.clone()),
        }
    }

    fn length(&self) -> usize {
        if let Self::Data(data) = self { data.len() } else { 0 }
    }
}

/// Why a body cannot be had whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotWhole {
    /// It is longer than [`BODY_MAX`].
    TooLarge,
    /// It did not come in time.
    TooSlow,
    /// Its sender gave it up.
    Broken,
}

impl Replay {
    /// Takes over the body of a request.
    pub fn new(source: Body) -> Self {
        Self(Arc::new(Mutex::new(Shared { source, kept: Vec::new(), bytes: 0, keeping: Keeping::All, reader: 0 })))
    }

    /// The body from its beginning; a reader that was given before reads nothing more. `None` when it cannot be had again.
    pub fn body(&self) -> Option<Body> {
        let mut shared = self.lock();
        if shared.keeping == Keeping::Lost {
            return None;
        }
        shared.reader += 1;
        let number = shared.reader;
        drop(shared);
        let reader = Reader { shared: self.clone(), number, next: 0 };
        Some(if reader.is_end_stream() { Body::empty() } else { Body::new(reader) })
    }

    /// Nobody will ask again: what was kept is dropped as soon as it was read, and the rest passes without being kept.
    pub fn settle(&self) {
        self.lock().keeping = Keeping::Settled;
    }

    /// Reads the body to its end. Cancel safe: what was read is kept.
    ///
    /// # Errors
    /// [`NotWhole`].
    pub async fn whole(&self) -> Result<Bytes, NotWhole> {
        let body = self.body().ok_or(NotWhole::TooLarge)?;
        match gather(body, BODY_MAX, WHOLE_DEADLINE).await {
            Gathered::Whole { bytes, .. } => Ok(bytes),
            Gathered::Larger(_) => Err(NotWhole::TooLarge),
            Gathered::Slow => Err(NotWhole::TooSlow),
            Gathered::Broken(_) => Err(NotWhole::Broken),
        }
    }

    /// Whether it is known to fit, so that it can be sent a second time whatever happens.
    pub fn fits(&self) -> bool {
        let shared = self.lock();
        shared.keeping == Keeping::All
            && shared.source.size_hint().upper().is_some_and(|left| left + shared.bytes as u64 <= BODY_MAX as u64)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic of a reader leaves what it had kept; the next one reads on.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        if self.keeping != Keeping::All {
            return;
        }
        let piece = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Piece::Data(data.clone()),
            (_, Some(trailers)) => Piece::Trailers(trailers.clone()),
            _ => return,
        };
        self.bytes += piece.length();
        self.kept.push(piece);
        if self.bytes > BODY_MAX {
            self.keeping = Keeping::Lost;
            self.kept = Vec::new();
        }
    }
}

/// One reading of the body.
struct Reader {
    shared: Replay,
    number: u64,
    /// The piece that comes next of those that were kept.
    next: usize,
}

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut shared = this.shared.lock();
        if shared.reader != this.number {
            return Poll::Ready(Some(Err(BodyError::Reset(h2::Reason::CANCEL))));
        }
        if let Some(piece) = shared.kept.get(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(piece.frame())));
        }
        if shared.keeping == Keeping::Settled && !shared.kept.is_empty() {
            shared.kept = Vec::new();
        }
        let frame = ready!(Pin::new(&mut shared.source).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            shared.keep(frame);
            this.next = shared.kept.len();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.shared.lock();
        self.next >= shared.kept.len() && shared.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.shared.lock();
        let waiting: usize = shared.kept.iter().skip(self.next).map(Piece::length).sum();
        let (waiting, rest) = (waiting as u64, shared.source.size_hint());
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + waiting);
        }
        hint.set_lower(rest.lower() + waiting);
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    fn pieces(pieces: &[&'static str]) -> Body {
        let frames: Vec<_> = pieces.iter().map(|piece| Ok::<_, BodyError>(Frame::data(Bytes::from(*piece)))).collect();
        Body::new(StreamBody::new(stream::iter(frames)))
    }

    async fn rest(body: Body) -> Bytes {
        body.collect().await.expect("whole").to_bytes()
    }

    #[tokio::test]
    async fn a_second_reading_begins_again_and_goes_on_where_the_first_stopped() {
        let replay = Replay::new(pieces(&["a", "b", "c"]));
        let mut first = replay.body().expect("new");
        assert_eq!(first.frame().await.expect("one").expect("read").into_data().expect("data"), "a");
        let mut second = replay.body().expect("kept");
        assert_eq!(second.frame().await.expect("one").expect("read").into_data().expect("data"), "a");
        assert!(matches!(first.frame().await, Some(Err(BodyError::Reset(_)))), "only the newest reads");
        assert_eq!(rest(second).await, "bc");
        assert_eq!(rest(replay.body().expect("kept")).await, "abc");
        assert_eq!(replay.whole().await, Ok(Bytes::from("abc")));
    }

    #[tokio::test]
    async fn what_is_longer_than_the_bound_passes_and_cannot_be_had_again() {
        let block = Bytes::from(vec![b'x'; BODY_MAX / 2 + 1]);
        let frames = stream::repeat(block.clone()).take(3).map(|block| Ok::<_, BodyError>(Frame::data(block)));
        let replay = Replay::new(Body::new(StreamBody::new(frames)));
        assert!(!replay.fits());
        assert_eq!(rest(replay.body().expect("new")).await.len(), 3 * block.len());
        assert!(replay.body().is_none());
        assert_eq!(replay.whole().await, Err(NotWhole::TooLarge));
        assert_eq!(replay.lock().kept.len(), 0);
    }

    #[tokio::test]
    async fn a_body_of_announced_length_says_so_in_each_reading() {
        let replay = Replay::new(Body::full("abc"));
        assert!(replay.fits());
        let first = replay.body().expect("new");
        assert_eq!((first.size_hint().exact(), first.is_end_stream()), (Some(3), false));
        assert_eq!(rest(first).await, "abc");
        assert_eq!(replay.body().expect("kept").size_hint().exact(), Some(3));
        assert!(Replay::new(Body::empty()).body().expect("new").is_end_stream());
    }

    #[tokio::test]
    async fn trailers_come_again_too() {
        let trailers = HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
        let frames = [Frame::data(Bytes::from("a")), Frame::trailers(trailers.clone())].map(Ok::<_, BodyError>);
        let replay = Replay::new(Body::new(StreamBody::new(stream::iter(frames))));
        for _ in 0..2 {
            let collected = replay.body().expect("kept").collect().await.expect("whole");
            assert_eq!(collected.trailers(), Some(&trailers));
        }
    }

    #[tokio::test]
    async fn after_the_answer_nothing_is_kept_and_the_rest_still_passes() {
        let replay = Replay::new(pieces(&["a", "b", "c"]));
        let mut body = replay.body().expect("new");
        body.frame().await.expect("one").expect("read");
        replay.settle();
        assert_eq!(rest(body).await, "bc");
        assert!(replay.lock().kept.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_needed_whole_does_not_take_for_ever() {
        let silent = stream::pending::<Result<Frame<Bytes>, BodyError>>();
        assert_eq!(Replay::new(Body::new(StreamBody::new(silent))).whole().await, Err(NotWhole::TooSlow));
    }
}
