//! The POST of RTSP over HTTP: what the remote says, on its way to the device as it comes (ONVIF Uplink, RTSP over HTTP).
//!
//! It is answered at its end. At the device's web service each POST has a connection of its own, with the head that every
//! player writes; an answer that comes early does not end it, a refusal does. Its length is a fiction there: 32767 is what
//! every player announces and so what every camera has been tried with; only a remote that announces more is believed.
//! On HTTP/2 a length is no fiction: the library ends the stream of a remote that does not keep to it (RFC 9113 §8.1.1).

use std::{io, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, Version, header};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::tcp::OwnedReadHalf,
    time::timeout,
};

use super::{
    Failed, Outgoing, Rtsp,
    control::{TunnelledControl, Violation},
    pair::{End, Pair, Sink},
    request::{SessionCookie, TUNNELLED},
};
use crate::{
    base::http::{Body, BodyError, Request, Response, text_response},
    forward::{dial::dial, fault::Fault, head, limits::Limits, refusal, target::Refusal},
};

/// What players announce.
const CUSTOMARY_LENGTH: u64 = 32_767;
/// What players add, so that no cache keeps the POST (Apple's note on RTSP over HTTP).
const CUSTOMARY_EXPIRES: &str = "Sun, 9 Jan 1972 00:00:00 GMT";
/// After its end a POST's connection may still bring a refusal for this long.
const LAST_WORD: Duration = Duration::from_secs(1);

/// How a POST ended.
enum Outcome {
    /// The remote has said all, or the conversation is over.
    Done,
    /// What it said cannot be carried.
    Violated(Violation),
    /// The device took no more.
    Broken,
    /// The remote gave the POST up, or a part in front of us stopped it.
    Stopped(BodyError),
    /// The device refused this POST. The conversation may go on with another.
    Refused(Response),
}

impl Rtsp {
    /// Joins the conversation of the cookie and carries the body until its end.
    pub(super) async fn post(&self, cookie: &SessionCookie, request: Request) -> Result<Response, Failed> {
        let (parts, mut body) = request.into_parts();
        let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let length = announced.unwrap_or(CUSTOMARY_LENGTH).max(CUSTOMARY_LENGTH).to_string();
        let customary = [
            (header::CONTENT_TYPE, TUNNELLED),
            (header::CONTENT_LENGTH, length.as_str()),
            (header::EXPIRES, CUSTOMARY_EXPIRES),
        ];
        let outgoing = self.outgoing(parts, cookie, &customary)?;
        let pair = self.pairs.join(cookie, self.times.post).await?;
        let mut open = pair.post();
        let Ok(mut sink) = timeout(self.times.post, pair.sink.lock()).await else {
            open.ends_with(None);
            let sentence = "another POST with this x-sessioncookie is still open";
            return Err(Refusal { status: StatusCode::CONFLICT, sentence }.into());
        };
        let outcome = match &mut *sink {
            Sink::Bridge(bridge) => {
                let (writer, control) = &mut **bridge;
                carry(&pair, &mut body, writer, Some(control)).await
            }
            Sink::Mediated(mediated) if mediated.to_device.is_attached() => {
                carry(&pair, &mut body, &mut mediated.to_device, Some(&mut mediated.control)).await
            }
            sink => match self.devices_post(&pair, &outgoing, &mut body, sink).await {
                Ok(outcome) => outcome,
                Err(fault) => {
                    open.ends_with(Some(End::Broken));
                    return Err(fault.into());
                }
            },
        };
        let (end, response) = self.ended(outcome);
        open.ends_with(end);
        Ok(response)
    }

    /// What the end of a POST means for its conversation, and its answer.
    fn ended(&self, outcome: Outcome) -> (Option<End>, Response) {
        match outcome {
            Outcome::Done => (None, text_free(StatusCode::OK)),
            Outcome::Refused(response) => (None, response),
            // Nobody reads that answer.
            Outcome::Stopped(BodyError::Reset(_)) => (Some(End::Whole), text_free(StatusCode::BAD_REQUEST)),
            Outcome::Stopped(error) => {
                let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                (Some(End::Violated), text_response(StatusCode::BAD_REQUEST, &why))
            }
            Outcome::Violated(violation) => {
                let device = self.neighbour.name.as_str();
                tracing::info!(device, "a conversation ended: {violation}");
                (Some(End::Violated), text_response(StatusCode::BAD_REQUEST, &violation.to_string()))
            }
            Outcome::Broken => {
                let sentence = "the device closed the connection of this conversation";
                (Some(End::Broken), text_response(StatusCode::BAD_GATEWAY, sentence))
            }
        }
    }

    /// A POST to the device's web service. That of a mediated conversation stays open behind it, for the POSTs that follow and
    /// for what the mediator says.
    async fn devices_post(
        &self,
        pair: &Pair,
        outgoing: &Outgoing,
        body: &mut Body,
        sink: &mut Sink,
    ) -> Result<Outcome, Fault> {
        let limits = &self.neighbour.limits;
        let permits = self.neighbour.endless_permits().await?;
        let (mut reader, mut writer) = dial(self.way.web, limits).await?.into_split();
        let head = head::request("POST", &outgoing.target, Version::HTTP_11, &outgoing.headers);
        writer.write_all(&head).await.map_err(|_| Fault::Closed)?;
        let mut refused = std::pin::pin!(refusal_of(&mut reader, limits));
        if let Sink::Mediated(mediated) = sink {
            mediated.to_device.attach(writer);
            mediated.permits = permits;
            return Ok(tokio::select! {
                biased;
                refused = &mut refused => {
                    mediated.to_device.detach();
                    Outcome::Refused(refused)
                }
                outcome = carry(pair, body, &mut mediated.to_device, Some(&mut mediated.control)) => outcome,
            });
        }
        let _permits = permits;
        let outcome = tokio::select! {
            biased;
            refused = &mut refused => Outcome::Refused(refused),
            outcome = carry(pair, body, &mut writer, None) => outcome,
        };
        if matches!(outcome, Outcome::Done) && pair.ended().is_none() {
            let _ = writer.shutdown().await;
            if let Ok(refused) = timeout(LAST_WORD, refused).await {
                return Ok(Outcome::Refused(refused));
            }
        }
        Ok(outcome)
    }
}

/// Carries the body until it or the conversation ends. With `control` it is decoded and checked.
async fn carry(
    pair: &Pair,
    body: &mut Body,
    writer: &mut (impl AsyncWrite + Unpin),
    mut control: Option<&mut TunnelledControl>,
) -> Outcome {
    let mut over = std::pin::pin!(pair.end_of());
    loop {
        let frame = tokio::select! {
            biased;
            () = &mut over => return Outcome::Done,
            frame = body.frame() => frame,
        };
        let data: Bytes = match frame {
            None => return Outcome::Done,
            Some(Err(error)) => {
                tracing::debug!(%error, "a POST of RTSP over HTTP broke");
                return Outcome::Stopped(error);
            }
            // Trailers have no place in a byte stream.
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        let data = match &mut control {
            None => data,
            Some(control) => match control.take(&data) {
                Ok(whole) => whole,
                Err(violation) => return Outcome::Violated(violation),
            },
        };
        let written = tokio::select! {
            biased;
            () = &mut over => return Outcome::Done,
            written = write(writer, &data) => written,
        };
        if let Err(error) = written {
            tracing::debug!(%error, "the device takes nothing more of a conversation");
            return Outcome::Broken;
        }
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), data: &[u8]) -> io::Result<()> {
    writer.write_all(data).await?;
    writer.flush().await
}

/// Waits for a refusal of the POST. An answer that is none, or the end of the connection's other half, says nothing: servers
/// exist that answer 200 at once and close that half.
async fn refusal_of(reader: &mut OwnedReadHalf, limits: &Limits) -> Response {
    if let Ok(answer) = head::read_answer(reader).await {
        if !answer.status.is_success() {
            match refusal::response(answer, reader, limits).await {
                Ok(response) => return response,
                Err(fault) => return fault.response(),
            }
        }
        // Whatever else it says there is thrown away, so that it never waits for us.
        let mut rest = [0; 1024];
        while matches!(reader.read(&mut rest).await, Ok(1..)) {}
    }
    std::future::pending().await
}

/// An answer without a body.
fn text_free(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}
