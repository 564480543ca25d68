//! One stream: a request of the remote, its way through the handler, its answer (ONVIF Uplink §5.5; RFC 9113 §8).
//!
//! The handler and the answer's body are dropped the moment the remote resets the stream, which closes whatever they hold
//! at the device. Once the answer is complete and the request's half is still open, the library resets it with NO_ERROR
//! (RFC 9113 §8.1): a remote that never ends its request (quirk Q10) is not waited for.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, StatusCode, header};
use http_body::Body as _;

use crate::base::{
    activity::Activity,
    http::{Body, Handler, Informational, Request, Response, SessionInfo, StreamKind},
    http2::{
        pump::{Meter, PumpError, pump_measured},
        receive::ReceiveBody,
        share::Share,
    },
};

/// What serving one stream needs of its session.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) info: SessionInfo,
    pub(super) share: Arc<Share>,
    pub(super) activity: Arc<Activity>,
}

/// The answering half of a stream; shared with whoever sends 1xx answers while the handler runs.
type Responder = Arc<Mutex<SendResponse<Bytes>>>;

pub(super) async fn serve(session: Session, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
    let respond: Responder = Arc::new(Mutex::new(respond));
    let asked = StreamKind::asked(&request);
    let request = receive(&session, request, &respond);
    let Some(response) = until_reset(session.handler.handle(request), &respond).await else {
        tracing::debug!("the remote gave the request up before it was answered");
        return;
    };
    let kind = asked.of(&response);
    let (parts, body) = response.into_parts();
    let Some(mut stream) = send_head(parts, &body, &respond) else { return };
    drop(respond);
    if body.is_end_stream() {
        return;
    }
    let meter = Meter { activity: &session.activity, kind };
    match pump_measured(body, &mut stream, &session.share, Some(meter)).await {
        Ok(()) => {}
        Err(PumpError::Abandoned(error)) => tracing::debug!(%error, "the remote gave the answer up"),
        Err(PumpError::Body(error)) => tracing::debug!(%error, "the answer's body broke"),
    }
}

fn receive(session: &Session, request: http::Request<RecvStream>, respond: &Responder) -> Request {
    let (parts, stream) = request.into_parts();
    // The library has checked it already: one number, or the stream was reset.
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut request = Request::from_parts(parts, ReceiveBody::new(stream, length).into_body());
    let respond = Arc::clone(respond);
    let extensions = request.extensions_mut();
    extensions.insert(session.info.clone());
    extensions.insert(Informational::new(move |status, headers| send_informational(&respond, status, headers)));
    request
}

fn send_informational(respond: &Responder, status: StatusCode, headers: HeaderMap) {
    let mut response = http::Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    if let Err(error) = lock(respond).send_informational(response) {
        tracing::debug!(%error, %status, "an informational answer could not be sent");
    }
}

/// The handler's answer; `None` when the remote reset the stream first.
async fn until_reset(answer: impl Future<Output = Response>, respond: &Responder) -> Option<Response> {
    let mut answer = std::pin::pin!(answer);
    poll_fn(|cx| {
        // Asked first: the reset also breaks the request's body, and what a handler makes of that is of no interest.
        if lock(respond).poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        answer.as_mut().poll(cx).map(Some)
    })
    .await
}

fn send_head(parts: http::response::Parts, body: &Body, respond: &Responder) -> Option<SendStream<Bytes>> {
    let mut respond = lock(respond);
    match respond.send_response(http::Response::from_parts(parts, ()), body.is_end_stream()) {
        Ok(stream) => Some(stream),
        Err(error) => {
            tracing::debug!(%error, "the answer's head could not be sent");
            respond.send_reset(Reason::INTERNAL_ERROR);
            None
        }
    }
}

fn lock(respond: &Responder) -> std::sync::MutexGuard<'_, SendResponse<Bytes>> {
    // Held for one call that cannot panic half way; the stream's task owns the other handle.
    respond.lock().unwrap_or_else(PoisonError::into_inner)
}
