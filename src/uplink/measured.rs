//! Counts requests: a handler around the real one.
//!
//! A request counts when its answer's head is there, or as `canceled` when the remote gave it up before; its duration ends
//! with the response body, so an hour of video is an hour.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::metrics::Series;
use crate::base::http::{Body, BodyError, BoxFuture, ConnectRefused, Handler, Refused, Request, Response};

/// A handler whose requests are counted in a series.
pub struct Measured {
    inner: Arc<dyn Handler>,
    series: Arc<Series>,
}

impl Measured {
    /// Wraps a handler.
    pub fn new(inner: Arc<dyn Handler>, series: Arc<Series>) -> Self {
        Self { inner, series }
    }
}

impl Handler for Measured {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let mut clock = Clock { series: Arc::clone(&self.series), start: Instant::now(), answered: false };
        let answer = self.inner.handle(request);
        Box::pin(async move {
            let response = answer.await;
            clock.answered = true;
            clock.series.request(class(response.status()));
            if let Some(refused) = response.extensions().get::<Refused>() {
                clock.series.refused(refused.class);
            }
            if response.extensions().get::<ConnectRefused>().is_some() {
                clock.series.connect_refused();
            }
            response.map(|body| Body::new(MeasuredBody { inner: body, _clock: clock }))
        })
    }
}

/// Runs from the request to its drop.
struct Clock {
    series: Arc<Series>,
    start: Instant,
    answered: bool,
}

impl Drop for Clock {
    fn drop(&mut self) {
        if !self.answered {
            self.series.request("canceled");
        }
        self.series.request_ended(self.start.elapsed().as_secs_f64());
    }
}

struct MeasuredBody {
    inner: Body,
    _clock: Clock,
}

impl HttpBody for MeasuredBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
