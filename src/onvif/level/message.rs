//! SOAP messages on their way to the device: collected within bounds, classified, and passed on as the same bytes.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};

use super::{
    Admitted, Shared,
    classify::{Media, media, names, subjects},
    text,
};
use crate::{
    base::{
        gather::{Gathered, gather},
        http::{Body, Informational, Request, Response},
    },
    onvif::soap::{Version, fault::Fault},
};

/// Longest message in bytes of one who is no Administrator. Requests of ONVIF's services are some kilobytes; a session with a
/// hundred streams holds 13 MB at most.
const MESSAGE_MAX: usize = 128 * 1024;
/// How long a message may take to arrive.
const DEADLINE: Duration = Duration::from_secs(30);

const SOAP_ACTION: HeaderName = HeaderName::from_static("soapaction");

impl Shared {
    /// Admits a message whose path is one of a service.
    pub(super) async fn message(&self, mut parts: Parts, body: Body) -> Admitted {
        let kind = media(text(&parts.headers, &header::CONTENT_TYPE));
        check_encapsulation(&parts, &kind)?;
        if parts.headers.remove(header::EXPECT).is_some()
            && let Some(informational) = parts.extensions.get::<Informational>()
        {
            // Whoever waits for the device's word before it sends the body would wait for us.
            informational.send(StatusCode::CONTINUE, HeaderMap::new());
        }
        let message = collect(body).await?;
        let read = subjects(&message, kind.charset.as_deref(), &self.access);
        let (envelope, subjects) = read.map_err(|malformed| self.refuser.malformed(&parts, malformed))?;
        if let Some(refused) = subjects.iter().find(|subject| !subject.allowed(&self.rights)) {
            let sentence = format!("the user level of this uplink does not allow {refused}");
            return Err(self.refuser.operation(&parts, refused, &sentence, &self.access, envelope.version));
        }
        drop_contradictions(&mut parts, &kind, &envelope.operation.local);
        drop(envelope);
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(message.len()));
        // The body has no trailers any more.
        parts.headers.remove(header::TRAILER);
        Ok(Request::from_parts(parts, Body::full(message)))
    }
}

fn check_encapsulation(parts: &Parts, kind: &Media) -> Result<(), Box<Response>> {
    let encoded = parts.headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| coding != "identity");
    let sentence = match (kind.is_multipart_soap, encoded) {
        (true, _) => "a SOAP message is sent plainly here, not as multipart",
        (_, true) => "a SOAP message is sent plainly here, without content-encoding",
        _ => return Ok(()),
    };
    Err(answer(&Fault::sender(&["InvalidArgs"], sentence).with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)))
}

async fn collect(body: Body) -> Result<Bytes, Box<Response>> {
    let fault = match gather(body, MESSAGE_MAX, DEADLINE).await {
        Gathered::Whole { bytes, .. } => return Ok(bytes),
        Gathered::Larger(_) => {
            let fault = Fault::sender(&["InvalidArgs"], format!("the message is longer than {MESSAGE_MAX} bytes"));
            fault.with_status(StatusCode::PAYLOAD_TOO_LARGE)
        }
        Gathered::Broken(_) => Fault::sender(&["WellFormed"], "the message broke off"),
        Gathered::Slow => Fault::sender(&["WellFormed"], "the message did not arrive in time")
            .with_status(StatusCode::REQUEST_TIMEOUT),
    };
    Err(answer(&fault))
}

fn answer(fault: &Fault) -> Box<Response> {
    Box::new(fault.response(Version::Soap12))
}

/// Takes out actions that name another operation than the body; the body decides (SOAP 1.2 part 2 §6.5.3: an action is a hint).
fn drop_contradictions(parts: &mut Parts, kind: &Media, local: &str) {
    let contradicts = |action: &str| !action.is_empty() && !names(action, local);
    let agrees = parts.headers.get_all(SOAP_ACTION).iter().all(|value| {
        let action = value.to_str().map(|action| action.trim().trim_matches('"'));
        action.is_ok_and(|action| !contradicts(action))
    });
    if !agrees {
        parts.headers.remove(SOAP_ACTION);
    }
    if kind.action.as_deref().is_some_and(contradicts) {
        let value = match &kind.charset {
            Some(charset) => format!("application/soap+xml; charset={charset}"),
            None => "application/soap+xml".to_owned(),
        };
        if let Ok(value) = HeaderValue::try_from(value) {
            parts.headers.insert(header::CONTENT_TYPE, value);
        }
    }
}
