//! A body read whole up to a bound, for parts that must see a message before it goes on; a larger one goes on as it came.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::http::{Body, BodyError};

/// What became of a body.
#[derive(Debug)]
pub enum Gathered {
    /// All of it.
    Whole {
        /// Its bytes.
        bytes: Bytes,
        /// Its trailers.
        trailers: Option<HeaderMap>,
    },
    /// It is larger than the bound: the same body from its beginning.
    Larger(Body),
    /// It broke.
    Broken(BodyError),
    /// It did not end in time.
    Slow,
}

/// Reads `body`, `max` bytes at most, for as long as `deadline`. Not cancel safe: what was read is lost.
pub async fn gather(mut body: Body, max: usize, deadline: Duration) -> Gathered {
    if body.size_hint().lower() > max as u64 {
        return Gathered::Larger(body);
    }
    let mut read = VecDeque::new();
    let mut length = 0;
    let mut trailers = None;
    let whole = timeout(deadline, async {
        while let Some(frame) = body.frame().await {
            match frame?.into_data() {
                Ok(data) => {
                    length += data.len();
                    read.push_back(data);
                    if length > max {
                        return Ok(false);
                    }
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        Ok(true)
    });
    match whole.await {
        Ok(Ok(true)) => {
            let mut bytes = BytesMut::with_capacity(length);
            read.iter().for_each(|data: &Bytes| bytes.extend_from_slice(data));
            Gathered::Whole { bytes: bytes.freeze(), trailers }
        }
        Ok(Ok(false)) => Gathered::Larger(Body::new(Begun { read, rest: body })),
        Ok(Err(error)) => Gathered::Broken(error),
        Err(_) => Gathered::Slow,
    }
}

/// A body of which something was read already.
struct Begun {
    read: VecDeque<Bytes>,
    rest: Body,
}

impl HttpBody for Begun {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.read.pop_front() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read: u64 = self.read.iter().map(|data| data.len() as u64).sum();
        let rest = self.rest.size_hint();
        match rest.exact() {
            Some(rest) => SizeHint::with_exact(read + rest),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    fn pieces(pieces: &'static [&'static str]) -> Body {
        let frames = pieces.iter().map(|piece| Ok::<_, BodyError>(Frame::data(Bytes::from_static(piece.as_bytes()))));
        Body::new(StreamBody::new(futures_util::stream::iter(frames)))
    }

    const SOON: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn a_body_within_the_bound_is_had_whole() {
        let Gathered::Whole { bytes, trailers: None } = gather(pieces(&["ab", "cd"]), 4, SOON).await else {
            panic!("four bytes")
        };
        assert_eq!(bytes, "abcd");
    }

    #[tokio::test]
    async fn a_larger_body_goes_on_from_its_beginning() {
        for body in [pieces(&["ab", "cd", "ef"]), Body::full("abcdef")] {
            let Gathered::Larger(body) = gather(body, 3, SOON).await else { panic!("six bytes") };
            assert_eq!(body.collect().await.expect("sound").to_bytes(), "abcdef");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_waited_for_until_the_deadline() {
        let endless = Body::new(StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, BodyError>>()));
        assert!(matches!(gather(endless, 3, SOON).await, Gathered::Slow));
    }
}
