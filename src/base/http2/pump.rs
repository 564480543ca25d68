//! A body into an HTTP/2 stream: chunk by chunk, as the peer's window and the session's share allow.
//!
//! Nothing is read from the body ahead of what can be sent, so back-pressure reaches whoever makes the body. Each chunk
//! goes out as it comes: a picture of an MJPEG stream never waits for the next one. Frames have the size that fills one TLS record.

use std::{future::poll_fn, task::Poll};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::share::{Allowance, FRAME_PAYLOAD, Share};
use crate::base::{
    activity::Activity,
    http::{Body, BodyError, StreamKind},
};

/// How a pump ended before the body did.
#[derive(Debug, thiserror::Error)]
pub enum PumpError {
    /// The peer reset the stream or the connection ended: nobody wants the rest.
    #[error("the peer gave the stream up: {0}")]
    Abandoned(h2::Error),
    /// The body failed; the stream has been reset with this reason.
    #[error("the body broke")]
    Body(#[source] BodyError),
}

/// Where a stream's waits for the peer's windows are counted.
#[derive(Clone, Copy, Debug)]
pub struct Meter<'a> {
    /// The session's counters.
    pub activity: &'a Activity,
    /// What the stream carries.
    pub kind: StreamKind,
}

/// Sends `body` with its trailers and ends the stream.
///
/// Cancel safety: dropping the future drops the stream's sending half, which resets the stream.
///
/// # Errors
/// [`PumpError`]; in both cases the stream has ended.
pub async fn pump(body: Body, stream: &mut SendStream<Bytes>, share: &Share) -> Result<(), PumpError> {
    pump_measured(body, stream, share, None).await
}

/// The same, with the time counted in which the peer's windows let nothing through.
///
/// # Errors
/// Those of [`pump`].
pub async fn pump_measured(
    mut body: Body,
    stream: &mut SendStream<Bytes>,
    share: &Share,
    meter: Option<Meter<'_>>,
) -> Result<(), PumpError> {
    let mut allowance = Allowance::default();
    loop {
        let frame = match next_frame(&mut body, stream).await? {
            None => break,
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                stream.send_reset(reset_reason(&error));
                return Err(PumpError::Body(error));
            }
        };
        match frame.into_data() {
            Ok(data) => {
                let last = body.is_end_stream();
                send_chunk(data, last, stream, share, &mut allowance, meter).await?;
                if last {
                    return Ok(());
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return stream.send_trailers(trailers).map_err(PumpError::Abandoned);
                }
            }
        }
    }
    stream.send_data(Bytes::new(), true).map_err(PumpError::Abandoned)
}

/// The next frame of the body, unless the peer resets the stream first.
async fn next_frame(
    body: &mut Body,
    stream: &mut SendStream<Bytes>,
) -> Result<Option<Result<http_body::Frame<Bytes>, BodyError>>, PumpError> {
    let mut frame = std::pin::pin!(body.frame());
    poll_fn(|cx| {
        if let Poll::Ready(frame) = frame.as_mut().poll(cx) {
            return Poll::Ready(Ok(frame));
        }
        stream.poll_reset(cx).map(|reset| Err(abandoned(reset)))
    })
    .await
}

async fn send_chunk(
    mut data: Bytes,
    last: bool,
    stream: &mut SendStream<Bytes>,
    share: &Share,
    allowance: &mut Allowance,
    meter: Option<Meter<'_>>,
) -> Result<(), PumpError> {
    if data.is_empty() && last {
        return stream.send_data(data, true).map_err(PumpError::Abandoned);
    }
    while !data.is_empty() {
        let wanted = data.len().min(FRAME_PAYLOAD);
        let allowed = poll_fn(|cx| {
            if let Poll::Ready(reset) = stream.poll_reset(cx) {
                return Poll::Ready(Err(abandoned(reset)));
            }
            share.poll_allowance(allowance, cx).map(Ok)
        })
        .await?;
        let size = capacity(stream, wanted.min(allowed), meter).await?.min(wanted);
        allowance.used(size);
        let frame = data.split_to(size);
        stream.send_data(frame, last && data.is_empty()).map_err(PumpError::Abandoned)?;
    }
    Ok(())
}

/// Waits until the peer's windows let at least one byte through; at most `wanted`.
///
/// It is the windows that are waited for and not the link: the allowance comes first, and it is given only when everything
/// that the windows let through before has been written out.
async fn capacity(stream: &mut SendStream<Bytes>, wanted: usize, meter: Option<Meter<'_>>) -> Result<usize, PumpError> {
    stream.reserve_capacity(wanted);
    // poll_capacity wakes only when the capacity grows: what is there already must be looked at first.
    let here = stream.capacity();
    if here >= wanted {
        return Ok(wanted);
    }
    if here > 0 {
        return Ok(here);
    }
    // Begins with the first poll that finds nothing, and ends with this future.
    let mut stall = None;
    poll_fn(|cx| {
        if let Poll::Ready(reset) = stream.poll_reset(cx) {
            return Poll::Ready(Err(abandoned(reset)));
        }
        loop {
            return match stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(0))) => continue,
                Poll::Ready(Some(Ok(size))) => Poll::Ready(Ok(size.min(wanted))),
                Poll::Ready(Some(Err(error))) => Poll::Ready(Err(PumpError::Abandoned(error))),
                Poll::Ready(None) => Poll::Ready(Err(PumpError::Abandoned(Reason::STREAM_CLOSED.into()))),
                Poll::Pending => {
                    if let (Some(meter), None) = (meter, &stall) {
                        stall = Some(meter.activity.flow().stall(meter.kind));
                    }
                    Poll::Pending
                }
            };
        }
    })
    .await
}

fn abandoned(reset: Result<Reason, h2::Error>) -> PumpError {
    PumpError::Abandoned(match reset {
        Ok(reason) => reason.into(),
        Err(error) => error,
    })
}

/// What the peer is told when the body breaks (RFC 9113 §7).
fn reset_reason(error: &BodyError) -> Reason {
    match error {
        BodyError::Reset(reason) => *reason,
        // Not the peer's fault: the other side of the forwarding broke.
        BodyError::Length(_) | BodyError::Transport(_) => Reason::INTERNAL_ERROR,
    }
}
