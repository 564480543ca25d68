//! The device's answer on its way to the remote: polled together with its connection, chunk by chunk, nothing read ahead.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::{
    connection::Link,
    headers::clean_trailers,
    pool::{Permit, Pool},
    upload::Signals,
};
use crate::base::http::BodyError;

/// The body of an answer with the connection that it comes on. Dropped before its end it closes the connection.
pub struct Download {
    incoming: Incoming,
    /// Taken out of `incoming` while the answer was held.
    held: VecDeque<Frame<Bytes>>,
    link: Option<Link>,
    pool: Arc<Pool>,
    signals: Arc<Signals>,
    /// Whether the device may be asked again on this connection, as far as the head says.
    reusable: bool,
    permits: Vec<Permit>,
}

impl Download {
    /// `reusable` is false when the answer's head forbids a next request.
    pub fn new(
        incoming: Incoming,
        link: Link,
        pool: Arc<Pool>,
        signals: Arc<Signals>,
        permit: Permit,
        reusable: bool,
    ) -> Self {
        let permits = vec![permit];
        Self { incoming, held: VecDeque::new(), link: Some(link), pool, signals, reusable, permits }
    }

    /// Keeps a further right as long as the answer lasts.
    pub fn keep(&mut self, permit: Permit) {
        self.permits.push(permit);
    }

    /// Puts frames back in front.
    pub fn put_back(&mut self, held: VecDeque<Frame<Bytes>>) {
        self.held = held;
    }

    /// Ends the exchange: the connection goes back unless its head or an early refusal forbids a next request.
    fn finish(&mut self, cx: &mut Context<'_>) {
        if let Some(link) = self.link.take() {
            if self.reusable && !self.signals.stopped.load(std::sync::atomic::Ordering::Relaxed) {
                self.pool.give_back(link, cx);
            }
            self.permits.clear();
        }
    }

    /// Ends the exchange when its answer has no body at all.
    pub fn finish_if_empty(&mut self, cx: &mut Context<'_>) -> bool {
        let empty = self.incoming.is_end_stream();
        if empty {
            self.finish(cx);
        }
        empty
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if let Some(link) = &mut self.link {
            link.drive(cx);
        }
        Pin::new(&mut self.incoming).poll_frame(cx)
    }
}

impl HttpBody for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(frame) = self.held.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match self.poll_incoming(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.finish(cx);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.link = None;
                self.permits.clear();
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    clean_trailers(trailers);
                }
                if self.incoming.is_end_stream() {
                    // A reader that counts stops here and never asks for the end.
                    self.finish(cx);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.held.is_empty() { self.incoming.size_hint() } else { SizeHint::default() }
    }
}
