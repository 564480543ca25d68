//! An HTTP/2 stream as a body: its window is given back chunk by chunk as the reader takes them, which is the back-pressure.
//!
//! With an announced content-length the body ends when that many bytes have come, whether or not END_STREAM came with
//! them: some remotes never send it (quirk Q10).

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::base::http::{Body, BodyError};

/// The receiving half of a stream, as a body.
pub struct ReceiveBody {
    stream: RecvStream,
    /// Bytes still to come, when announced.
    announced: Option<u64>,
    data_ended: bool,
}

impl ReceiveBody {
    /// Wraps a stream. `content_length` is what the message head announced, if it did.
    pub fn new(stream: RecvStream, content_length: Option<u64>) -> Self {
        let data_ended = stream.is_end_stream();
        Self { stream, announced: content_length, data_ended }
    }

    /// The same as a [`Body`].
    pub fn into_body(self) -> Body {
        if self.is_end_stream() { Body::empty() } else { Body::new(self) }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let Some(data) = ready!(self.stream.poll_data(cx)) else {
                self.data_ended = true;
                return Poll::Ready(None);
            };
            let data = data.map_err(to_body_error)?;
            // The reader has it now; the peer may send as much again.
            let _ = self.stream.flow_control().release_capacity(data.len());
            if let Some(left) = &mut self.announced {
                *left = left.saturating_sub(data.len() as u64);
            }
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }
}

impl HttpBody for ReceiveBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.announced == Some(0) {
            return Poll::Ready(None);
        }
        if !self.data_ended
            && let Some(data) = ready!(self.poll_data(cx))
        {
            return Poll::Ready(Some(data));
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(None) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(to_body_error(error)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.announced == Some(0) || self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.announced {
            Some(left) => SizeHint::with_exact(left),
            None if self.stream.is_end_stream() => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}

fn to_body_error(error: h2::Error) -> BodyError {
    match error.reason() {
        Some(reason) if error.is_reset() => BodyError::Reset(reason),
        _ => BodyError::Transport(Box::new(error)),
    }
}
