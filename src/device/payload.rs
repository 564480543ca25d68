//! What a request carries to the device: a SOAP message, read before it is sent, or any other body, passed on as it comes.
//!
//! A message is read because credentials stand in it: those of the remote are cut out, and ours are put in where a device
//! wants them there. Everything else of it goes on byte for byte.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};

use super::{
    envelope::Envelope,
    refusal::{self, refusal},
    replay::{BODY_MAX, NotWhole, Replay, WHOLE_DEADLINE},
};
use crate::base::{
    gather::{Gathered, gather},
    http::{Body, Informational, Request, Response},
};

/// Media types of SOAP 1.2 and 1.1, and what careless remotes write.
const SOAP_TYPES: [&str; 3] = ["application/soap+xml", "text/xml", "application/xml"];

/// An answer that ends an exchange early. Boxed: it is the exception, and large.
pub type Early = Box<Response>;

/// What is sent.
pub enum Payload {
    /// A SOAP message, without credentials of the remote.
    Message(Bytes),
    /// Anything else.
    Stream(Replay),
}

/// A payload and what there is to know of it.
pub struct Taken {
    /// What is sent.
    pub payload: Payload,
    /// The message as it came, if the remote had put credentials of its own into it.
    pub with_own_credentials: Option<Bytes>,
}

impl Payload {
    /// Takes the body of a request; reads it, if it is or may be a SOAP message.
    ///
    /// # Errors
    /// The answer to the remote: the message cannot be read, is too long, or does not come.
    pub async fn take(parts: &mut Parts, body: Body) -> Result<Taken, Early> {
        let stream = |body| Taken { payload: Self::Stream(Replay::new(body)), with_own_credentials: None };
        let Some(declared) = may_be_message(parts) else { return Ok(stream(body)) };
        say_continue(parts);
        let whole = match gather(body, BODY_MAX, WHOLE_DEADLINE).await {
            Gathered::Whole { bytes, .. } => bytes,
            Gathered::Larger(body) if !declared => return Ok(stream(body)),
            Gathered::Larger(_) => return Err(not_whole(true, NotWhole::TooLarge)),
            Gathered::Slow => return Err(not_whole(true, NotWhole::TooSlow)),
            Gathered::Broken(_) => return Err(not_whole(true, NotWhole::Broken)),
        };
        match Envelope::read(&whole) {
            Ok(envelope) if envelope.has_security() => {
                let payload = Self::Message(envelope.with(None).into());
                Ok(Taken { payload, with_own_credentials: Some(whole) })
            }
            Ok(_) => Ok(Taken { payload: Self::Message(whole), with_own_credentials: None }),
            Err(sentence) if declared => Err(Box::new(refusal::malformed(sentence))),
            Err(_) => Ok(stream(Body::full(whole))),
        }
    }

    /// Whether it is a SOAP message.
    pub fn is_message(&self) -> bool {
        matches!(self, Self::Message(_))
    }

    /// Whether it is there a second time, whatever happens.
    pub fn can_go_again(&self) -> bool {
        match self {
            Self::Message(_) => true,
            Self::Stream(replay) => replay.fits(),
        }
    }

    /// The whole of it.
    ///
    /// # Errors
    /// The answer to the remote: it is too long, or does not come.
    pub async fn whole(&self) -> Result<Bytes, Early> {
        match self {
            Self::Message(message) => Ok(message.clone()),
            Self::Stream(replay) => replay.whole().await.map_err(|why| not_whole(false, why)),
        }
    }

    /// A request with it, and with a WS-Security block if there is one; `None` when it has gone by.
    pub fn request(&self, mut parts: Parts, block: Option<&str>) -> Option<Request> {
        let message: Bytes = match (self, block) {
            (Self::Stream(replay), _) => return Some(Request::from_parts(parts, replay.body()?)),
            (Self::Message(message), None) => message.clone(),
            // It was an envelope when it was taken.
            (Self::Message(message), Some(block)) => Envelope::read(message).ok()?.with(Some(block)).into(),
        };
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(message.len()));
        Some(Request::from_parts(parts, Body::full(message)))
    }

    /// Nobody will ask for it again.
    pub fn settle(&self) {
        if let Self::Stream(replay) = self {
            replay.settle();
        }
    }
}

/// The media type of a message, without parameters; empty when it is not told.
pub fn media_type(headers: &HeaderMap) -> &str {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim()
}

/// Whether a request is a SOAP message for certain (`true`), perhaps (`false`), or not at all.
fn may_be_message(parts: &Parts) -> Option<bool> {
    let kind = media_type(&parts.headers);
    let declared = SOAP_TYPES.iter().any(|soap| kind.eq_ignore_ascii_case(soap));
    (parts.method == Method::POST && (declared || kind.is_empty())).then_some(declared)
}

/// A message is read before the device can ask for it, so the 100 for which its sender may wait is ours.
fn say_continue(parts: &mut Parts) {
    if parts.headers.remove(header::EXPECT).is_some()
        && let Some(informational) = parts.extensions.get::<Informational>()
    {
        informational.send(StatusCode::CONTINUE, HeaderMap::new());
    }
}

fn not_whole(soap: bool, why: NotWhole) -> Early {
    let (status, sentence) = match why {
        NotWhole::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, refusal::TOO_LARGE),
        NotWhole::TooSlow => (StatusCode::REQUEST_TIMEOUT, refusal::TOO_SLOW),
        // Nobody reads it.
        NotWhole::Broken => (StatusCode::BAD_REQUEST, refusal::TOO_SLOW),
    };
    Box::new(refusal(soap, status, sentence, None))
}
