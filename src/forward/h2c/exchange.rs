//! One request on the shared connection: head and body out, answer back, and whether it may be sent again.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{RecvStream, client::ResponseFuture};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::connection::Shared;
use crate::{
    base::{
        http::{Body, BodyError, Informational},
        http2::{
            pump::pump,
            receive::ReceiveBody,
            unprocessed::{Untouched, is_unprocessed},
        },
        owned::AbortOnDrop,
    },
    forward::{
        fault::Fault,
        headers::{self, clean_trailers},
        limits::INFORMATIONAL_MAX,
        neighbour::Neighbour,
        patience::Patience,
        pool::Permit,
        upload::{Signals, Upload},
    },
};

/// What the head of an answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// As an answer over HTTP/1.1 is: an upload that moves is no reason to give the device up.
    Answer,
    /// From now on, whatever the remote sends: the answer to a CONNECT.
    Now,
    /// Without end: gRPC calls that tell of events may be silent for weeks, and have a deadline of their own.
    Never,
}

/// Why there is no answer.
pub enum Failed {
    /// For good.
    Fault(Fault),
    /// The device did not process it; here is the body, of which nothing was read.
    Unprocessed(Body),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The head of the answer, and its body with what belongs to it.
pub type Answered = (http::response::Parts, Answer);

/// Sends one request and waits for the head of its answer. `safe` says that it has no effect and no body.
///
/// Cancel safe: dropping the future resets the stream.
///
/// # Errors
/// [`Failed`].
pub async fn exchange(
    shared: Shared,
    head: http::Request<()>,
    body: Body,
    informational: Option<Informational>,
    deadline: Deadline,
    safe: bool,
    neighbour: &Neighbour,
) -> Result<Answered, Failed> {
    let Shared { mut sender, share, slots, reused } = shared;
    let slot = timeout(neighbour.limits.wait, slots.acquire_owned()).await;
    let slot = Arc::new(slot.ok().and_then(Result::ok).ok_or(Fault::Busy)?);
    let ended = body.is_end_stream();
    let (response, mut stream) = match sender.send_request(head, ended) {
        Ok(sent) => sent,
        Err(error) if error.is_io() || error.is_go_away() => return Err(Failed::Unprocessed(body)),
        Err(error) => return Err(Fault::Malformed(error.to_string()).into()),
    };
    // If the device has lowered its limit of streams meanwhile, the library queues; an error shows at the answer.
    if timeout(neighbour.limits.wait, sender.ready()).await.is_err() {
        return Err(Fault::Busy.into());
    }
    let signals = Arc::new(Signals::default());
    signals.whole.store(ended, Relaxed);
    let (untouched, body) = Untouched::wrap(body);
    let upload = Upload::new(body, None, Arc::clone(&signals));
    let upload = (!ended).then(|| {
        let slot = Arc::clone(&slot);
        AbortOnDrop::new(neighbour.tasks.spawn(async move {
            if let Err(error) = pump(Body::new(upload), &mut stream, &share).await {
                tracing::debug!(%error, "an upload to the device ended early");
            }
            drop(slot);
        }))
    });
    let patience = match deadline {
        Deadline::Answer => Some((Patience::new(&neighbour.limits), signals)),
        // Signals that never change: only the device is waited for.
        Deadline::Now => Some((Patience::new(&neighbour.limits), Arc::default())),
        Deadline::Never => None,
    };
    match await_head(response, informational, patience).await {
        Ok(response) => {
            let (parts, stream) = response.into_parts();
            let body = ReceiveBody::new(stream, None);
            Ok((parts, Answer { body, upload, ended: false, slot: Some(slot), permits: Vec::new() }))
        }
        Err(Lost::Fault(fault)) => Err(fault.into()),
        Err(Lost::Broken(error)) if is_unprocessed(&error) => {
            drop(upload);
            // A body of which a part is gone cannot be sent again.
            Err(untouched.take().map_or(Failed::Fault(Fault::Unprocessed), Failed::Unprocessed))
        }
        // The device had closed the connection before the request came.
        Err(Lost::Broken(error)) if error.is_io() && reused && safe => Err(Failed::Unprocessed(Body::empty())),
        Err(Lost::Broken(error)) => Err(fault(&error).into()),
    }
}

enum Lost {
    Fault(Fault),
    Broken(h2::Error),
}

async fn await_head(
    mut response: ResponseFuture,
    informational: Option<Informational>,
    mut patience: Option<(Patience, Arc<Signals>)>,
) -> Result<http::Response<RecvStream>, Lost> {
    let mut passed = 0;
    poll_fn(|cx| {
        while let Poll::Ready(Some(Ok(answer))) = response.poll_informational(cx) {
            passed += 1;
            if passed > INFORMATIONAL_MAX {
                return Poll::Ready(Err(Lost::Fault(Fault::Malformed("too many 1xx answers".to_owned()))));
            }
            let (mut parts, ()) = answer.into_parts();
            if let Some(informational) = &informational
                && headers::to_remote(&mut parts.headers, parts.status, true).is_ok()
            {
                informational.send(parts.status, parts.headers);
            }
        }
        if let Poll::Ready(result) = Pin::new(&mut response).poll(cx) {
            return Poll::Ready(result.map_err(Lost::Broken));
        }
        match &mut patience {
            Some((patience, signals)) => patience.poll_over(signals, cx).map(|fault| Err(Lost::Fault(fault))),
            None => Poll::Pending,
        }
    })
    .await
}

fn fault(error: &h2::Error) -> Fault {
    match error.reason().filter(|_| error.is_reset()) {
        Some(reason) if error.is_remote() => Fault::StreamReset(reason),
        // We reset it: the request's body broke.
        Some(_) => Fault::Upload("it ended early"),
        None if error.is_io() || error.is_remote() => Fault::Closed,
        None => Fault::Malformed(error.to_string()),
    }
}

/// The body of an answer, with the upload that runs beside it.
pub struct Answer {
    body: ReceiveBody,
    upload: Option<AbortOnDrop>,
    ended: bool,
    /// Its stream; given back when both directions have ended.
    slot: Option<Arc<OwnedSemaphorePermit>>,
    permits: Vec<Permit>,
}

impl Answer {
    /// Keeps a right as long as the answer lasts.
    pub fn keep(&mut self, permit: Permit) {
        self.permits.push(permit);
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) {
            self.ended = true;
            self.slot = None;
            self.permits.clear();
        }
        polled.map_ok(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                clean_trailers(trailers);
            }
            frame
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // A complete answer does not end the upload (RFC 9113 §8.1); a remote that gave up does.
        if (self.ended || self.body.is_end_stream())
            && let Some(upload) = &mut self.upload
        {
            upload.release();
        }
    }
}
