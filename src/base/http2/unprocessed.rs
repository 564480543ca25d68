//! Requests that the peer did not process may be sent again (RFC 9113 §8.7): which errors say so, and whether the body is
//! still whole.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::Reason;
use http_body::{Body as HttpBody, Frame};

use crate::base::http::{Body, BodyError};

/// RFC 9113 §8.7: REFUSED_STREAM, or a stream beyond the last one that a GOAWAY names.
pub fn is_unprocessed(error: &h2::Error) -> bool {
    let reason = error.reason();
    error.is_remote()
        && ((error.is_reset() && reason == Some(Reason::REFUSED_STREAM))
            || (error.is_go_away() && reason == Some(Reason::NO_ERROR)))
}

/// Remembers whether anything was read of a body, and gives it back if not.
pub struct Untouched(Arc<Mutex<Option<Body>>>);

impl Untouched {
    /// Lends `body`: the second is to be sent, the first gives the whole back while nothing was read of it.
    pub fn wrap(body: Body) -> (Self, Body) {
        let shared = Arc::new(Mutex::new(Some(body)));
        (Self(Arc::clone(&shared)), Body::new(Lent { shared, body: None }))
    }

    /// The whole body; `None` when something was read.
    pub fn take(&self) -> Option<Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A body that takes the real one at the first read that gives something.
struct Lent {
    shared: Arc<Mutex<Option<Body>>>,
    body: Option<Body>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(body) = &mut this.body {
            return Pin::new(body).poll_frame(cx);
        }
        let mut shared = this.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(body) = shared.as_mut() else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        this.body = shared.take();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_some_and(HttpBody::is_end_stream)
    }
}
