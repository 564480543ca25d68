//! One request on one session: head and body out, response back, and what happens when either side gives up.
//!
//! The upload runs beside the response, so an early answer reaches the client while the body still goes. Dropping the response
//! body (the client went away) drops every handle of the stream, which resets it with CANCEL at once.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::ext::Protocol;
use http::{HeaderMap, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::{sync::Notify, time::timeout};

use super::session::{Core, Session, Stop};
use crate::base::{
    activity::OpenStream,
    http::{Body, BodyError, Response},
    http2::{
        pump::pump,
        receive::ReceiveBody,
        unprocessed::{Untouched, is_unprocessed},
    },
    owned::AbortOnDrop,
};

/// How long a request waits for the device to allow one more stream.
const SLOT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a body waits for the device's 100 (RFC 9110 §10.1.1: no client waits for ever, and neither do we).
const EXPECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Streams that a session can have in its life: the odd numbers below 2^31 (RFC 9113 §5.1.1), less some for requests under way.
const STREAMS_MAX: u64 = (1 << 30) - 1024;

/// Whether a session has had all of its streams: after months of many requests a second.
fn is_used_up(streams: u64) -> bool {
    streams >= STREAMS_MAX
}

/// Why there is no response.
#[derive(Debug)]
pub enum ExchangeError {
    /// The device did not process the request; it may be sent again, with its body untouched.
    NotProcessed(Retry),
    /// The device has as many streams open as it allows.
    NoSlot,
    /// The request is an extended CONNECT and the device did not announce that it takes any (RFC 8441 §3).
    NoExtendedConnect,
    /// The stream or the session broke.
    Broken(h2::Error),
}

/// What is needed to send a request again.
#[derive(Debug)]
pub struct Retry {
    /// The head.
    pub head: http::Request<()>,
    /// The body, of which nothing has been read.
    pub body: Body,
}

/// Sends one request and waits for the head of its response. Cancel safe: dropping the future resets the stream.
///
/// # Errors
/// [`ExchangeError`].
pub async fn exchange(session: &Session, head: http::Request<()>, body: Body) -> Result<Response, ExchangeError> {
    let core = session.core();
    if is_used_up(core.activity.requests()) {
        // Its numbers are gone; the device dials again when the last streams have ended.
        core.stop(Stop::Drain);
        return Err(ExchangeError::NotProcessed(Retry { head, body }));
    }
    let Ok(mut sender) = session.sender().ready().await else {
        return Err(ExchangeError::NotProcessed(Retry { head, body }));
    };
    if head.extensions().get::<Protocol>().is_some() && !sender.is_extended_connect_protocol_enabled() {
        return Err(ExchangeError::NoExtendedConnect);
    }
    let copy = copy_of(&head);
    let expects = head.headers().contains_key(header::EXPECT);
    let ended = body.is_end_stream();
    let (mut response, mut stream) = match sender.send_request(head, ended) {
        Ok(sent) => sent,
        Err(error) if error.is_io() || error.is_go_away() => {
            return Err(ExchangeError::NotProcessed(Retry { head: copy, body }));
        }
        Err(error) => return Err(ExchangeError::Broken(error)),
    };
    let open = core.activity.stream_opened();
    // The library queues what exceeds the device's limit of streams; its readiness says when this one went out.
    // An error of the session shows at the response.
    if timeout(SLOT_TIMEOUT, sender.ready()).await.is_err() {
        return Err(ExchangeError::NoSlot);
    }
    let (untouched, body) = Untouched::wrap(body);
    let go = Arc::new(Notify::new());
    let upload = (!ended).then(|| {
        let (share, go) = (Arc::clone(&core.share), Arc::clone(&go));
        AbortOnDrop::new(core.uploads.spawn(async move {
            if expects {
                let _ = timeout(EXPECT_TIMEOUT, go.notified()).await;
            }
            if let Err(error) = pump(body, &mut stream, &share).await {
                tracing::debug!(%error, "an upload ended early");
            }
        }))
    });
    match answer(&mut response, &go).await {
        Ok(response) => Ok(respond(response, upload, open, &go)),
        Err(error) if is_unprocessed(&error) => {
            drop(upload);
            match untouched.take() {
                Some(body) => Err(ExchangeError::NotProcessed(Retry { head: copy, body })),
                None => Err(ExchangeError::Broken(error)),
            }
        }
        Err(error) => Err(ExchangeError::Broken(error)),
    }
}

/// The final response. A 100 lets the body go; other 1xx answers end here, because hyper's server cannot send them.
async fn answer(
    response: &mut h2::client::ResponseFuture,
    go: &Notify,
) -> Result<http::Response<h2::RecvStream>, h2::Error> {
    poll_fn(|cx| {
        while let Poll::Ready(Some(Ok(informational))) = response.poll_informational(cx) {
            if informational.status() == StatusCode::CONTINUE {
                go.notify_one();
            }
        }
        Pin::new(&mut *response).poll(cx)
    })
    .await
}

fn respond(
    response: http::Response<h2::RecvStream>,
    upload: Option<AbortOnDrop>,
    open: OpenStream,
    go: &Notify,
) -> Response {
    let (parts, stream) = response.into_parts();
    go.notify_one();
    // The end is END_STREAM alone: a content-length must not hide the trailers.
    let body = ReceiveBody::new(stream, None);
    http::Response::from_parts(parts, Body::new(Answer { body, upload, ended: false, _open: open }))
}

fn copy_of(head: &http::Request<()>) -> http::Request<()> {
    let mut copy = http::Request::new(());
    *copy.method_mut() = head.method().clone();
    *copy.uri_mut() = head.uri().clone();
    *copy.version_mut() = head.version();
    *copy.headers_mut() = HeaderMap::clone(head.headers());
    if let Some(protocol) = head.extensions().get::<Protocol>() {
        copy.extensions_mut().insert(protocol.clone());
    }
    copy
}

/// The response body, with the upload that runs beside it.
struct Answer {
    body: ReceiveBody,
    upload: Option<AbortOnDrop>,
    ended: bool,
    _open: OpenStream,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.ended |= frame.is_none();
        Poll::Ready(frame)
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
        // A complete answer does not end the upload (RFC 9113 §8.1); a client that went away does.
        if (self.ended || self.body.is_end_stream())
            && let Some(upload) = &mut self.upload
        {
            upload.release();
        }
    }
}

/// The sentence for a client whose request met a broken stream or session.
pub fn broken_sentence(core: &Core, error: &h2::Error) -> String {
    match error.reason().filter(|_| error.is_reset()) {
        Some(reason) => format!("the device {} gave the request up ({reason:?})", core.device),
        None => format!("the connection to the device {} broke while it worked on the request; try again", core.device),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_used_up_before_its_stream_numbers_are() {
        assert!(!is_used_up(1_000_000_000));
        assert!(is_used_up(u64::from(u32::MAX / 4)));
    }
}
