//! The uplink configuration service (ONVIF Uplink §6): GetServiceCapabilities, GetUplinks, SetUplink, DeleteUplink.
//!
//! It answers in place of the device at the paths that are seen in the field, and its operations wherever they come to; all else
//! goes on to the device as it came; where the device lists its services, this one is added. Clients of 18.12 are served by the same code: they send and expect less.

mod answers;
mod arguments;
pub mod gate;
mod services;
pub mod store;
mod tree;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};

use self::{gate::Gate, services::Wanted, store::UplinkStore};
use crate::{
    base::{
        gather::{Gathered, gather},
        http::{Body, BoxFuture, Handler, Informational, Request, Response},
    },
    model::access::{
        operations::{Operation, UPLINK},
        path::canonical,
    },
    onvif::{
        level::classify::{Media, Subject, media},
        soap::{
            Version,
            envelope::{self, Envelope},
            fault::Fault,
        },
    },
};

/// Where the service is: the path that GetServices names, and two that clients use without asking.
pub const PATHS: [&str; 3] = ["/onvif/uplink_service", "/onvif/Uplink", "/onvif/uplink"];
/// Longest message in bytes: a Configuration with all that a vendor may add.
const MESSAGE_MAX: usize = 128 * 1024;
/// How long a message may take to arrive.
const DEADLINE: Duration = Duration::from_secs(30);
/// The end of the namespace, by which messages are told that need a closer look.
const MARK: &[u8] = b"/ver10/uplink/wsdl";
/// Namespaces of header blocks that may be marked as to be understood: addressing (one request, one answer) and security (the
/// gate's matter).
const UNDERSTOOD: [&str; 3] = [
    "http://www.w3.org/2005/08/addressing",
    "http://schemas.xmlsoap.org/ws/2004/08/addressing",
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd",
];

/// Answers the service's operations and passes all else on.
pub struct UplinkService {
    inner: Arc<dyn Handler>,
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn UplinkStore>,
    gate: Arc<dyn Gate>,
}

impl UplinkService {
    /// Wraps the handler that reaches the device.
    pub fn new(inner: Arc<dyn Handler>, store: Arc<dyn UplinkStore>, gate: Arc<dyn Gate>) -> Self {
        Self { inner, shared: Arc::new(Shared { store, gate }) }
    }
}

impl Handler for UplinkService {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let kind = media(text(request.headers(), header::CONTENT_TYPE));
        let ours = canonical(request.uri().path()).is_some_and(|path| PATHS.contains(&path.trim_end_matches('/')));
        if ours && let Some(refused) = refuse(&request, &kind) {
            return Box::pin(std::future::ready(refused));
        }
        let encoded = request.headers().contains_key(header::CONTENT_ENCODING);
        if request.method() != Method::POST || !kind.is_soap || encoded {
            return self.inner.handle(request);
        }
        let (inner, shared) = (Arc::clone(&self.inner), Arc::clone(&self.shared));
        Box::pin(async move {
            match shared.look(request, &kind, ours).await {
                Looked::Answered(response) => *response,
                Looked::GoesOn(request, None) => inner.handle(*request).await,
                Looked::GoesOn(request, Some(wanted)) => {
                    let capabilities = shared.store.capabilities();
                    services::completed(inner.handle(*request).await, &wanted, &capabilities).await
                }
            }
        })
    }
}

/// The answer to what cannot be a message of the service at its own path (ONVIF Core, HTTP errors).
fn refuse(request: &Request, kind: &Media) -> Option<Response> {
    let encoded = request.headers().get_all(header::CONTENT_ENCODING).iter().any(|coding| coding != "identity");
    let (sentence, status) = if request.method() != Method::POST {
        ("this service takes SOAP messages by POST", StatusCode::METHOD_NOT_ALLOWED)
    } else if !kind.is_soap || encoded {
        ("send a plain SOAP message as application/soap+xml", StatusCode::UNSUPPORTED_MEDIA_TYPE)
    } else {
        return None;
    };
    Some(Fault::sender(&["InvalidArgs"], sentence).with_status(status).response(Version::Soap12))
}

/// What became of a request.
enum Looked {
    Answered(Box<Response>),
    /// To the device; its answer is completed if it lists services.
    GoesOn(Box<Request>, Option<Wanted>),
}

impl Shared {
    /// Answers what is for the service. `ours`: it came to one of its paths.
    async fn look(&self, request: Request, kind: &Media, ours: bool) -> Looked {
        let (mut parts, body) = request.into_parts();
        if parts.headers.remove(header::EXPECT).is_some()
            && let Some(informational) = parts.extensions.get::<Informational>()
        {
            // Whoever waits for a word before it sends the body would wait for us.
            informational.send(StatusCode::CONTINUE, HeaderMap::new());
        }
        let fault = match gather(body, MESSAGE_MAX, DEADLINE).await {
            Gathered::Whole { bytes, trailers } => {
                return match self.answer(&parts, &bytes, kind, ours).await {
                    Some(response) => Looked::Answered(response),
                    None => {
                        let wanted = Wanted::of(&mut parts, &bytes, kind.charset.as_deref());
                        Looked::GoesOn(Box::new(again(parts, bytes, trailers)), wanted)
                    }
                };
            }
            Gathered::Larger(body) if !ours => return Looked::GoesOn(Box::new(Request::from_parts(parts, body)), None),
            Gathered::Larger(_) => {
                let sentence = format!("the message is longer than {MESSAGE_MAX} bytes");
                Fault::sender(&["InvalidArgs"], sentence).with_status(StatusCode::PAYLOAD_TOO_LARGE)
            }
            Gathered::Broken(_) => Fault::sender(&["WellFormed"], "the message broke off"),
            Gathered::Slow => Fault::sender(&["WellFormed"], "the message did not arrive in time")
                .with_status(StatusCode::REQUEST_TIMEOUT),
        };
        Looked::Answered(Box::new(fault.response(Version::Soap12)))
    }

    /// The answer to a message, or `None` if it is the device's.
    async fn answer(&self, parts: &Parts, message: &Bytes, kind: &Media, ours: bool) -> Option<Box<Response>> {
        // UTF-16 has zeros; there the mark would look otherwise.
        let marked = message.contains(&0) || message.windows(MARK.len()).any(|window| window == MARK);
        if !ours && !marked {
            return None;
        }
        let envelope = match envelope::read(message, kind.charset.as_deref()) {
            Ok(envelope) => envelope,
            Err(malformed) if ours => return Some(Box::new(Fault::from(malformed).response(Version::Soap12))),
            Err(_) => return None,
        };
        if envelope.operation.namespace != UPLINK {
            return None;
        }
        let answered = match self.admit(parts, &envelope).await {
            Ok(()) => self.call(&envelope).await.map_err(|fault| Box::new(fault.response(envelope.version))),
            Err(refused) => Err(refused),
        };
        let body = match answered {
            Ok(body) => body,
            Err(response) => return Some(response),
        };
        Some(Box::new(answers::response(envelope.version, &body)))
    }

    async fn admit(&self, parts: &Parts, envelope: &Envelope<'_>) -> Result<(), Box<Response>> {
        let name = &envelope.operation;
        let Some(operation) = Operation::find(&name.namespace, &name.local) else {
            let sentence = format!("the uplink service has no operation {}", name.local);
            return Err(Box::new(Fault::receiver(&["ActionNotSupported"], sentence).response(envelope.version)));
        };
        let strange = envelope.not_understood(&UNDERSTOOD);
        if !strange.is_empty() {
            return Err(Box::new(Fault::must_understand(&strange).response(envelope.version)));
        }
        let subject = Subject { name: operation.to_string(), operation: Some(operation), class: operation.class() };
        self.gate.admit(parts, envelope, &subject).await
    }

    /// The body of the answer.
    async fn call(&self, envelope: &Envelope<'_>) -> Result<String, Fault> {
        let changed = {
            let operation = tree::operation(envelope)?;
            match envelope.operation.local.as_str() {
                "GetServiceCapabilities" => return Ok(answers::capabilities(&self.store.capabilities())),
                "GetUplinks" => return Ok(answers::uplinks(&self.store.list())),
                "SetUplink" => self.store.set(arguments::set_uplink(&operation)?),
                "DeleteUplink" => self.store.delete(arguments::delete_uplink(&operation)?),
                other => {
                    let sentence = format!("the uplink service does not support {other}");
                    return Err(Fault::receiver(&["ActionNotSupported"], sentence));
                }
            }
        };
        changed.await.map_err(|error| answers::fault(&error))?;
        Ok(format!("<tup:{}Response/>", envelope.operation.local))
    }
}

/// The request as it came.
fn again(mut parts: Parts, message: Bytes, trailers: Option<HeaderMap>) -> Request {
    use http_body_util::BodyExt;
    let body = match trailers {
        None => {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(message.len()));
            Body::full(message)
        }
        Some(trailers) => Body::new(Body::full(message).with_trailers(std::future::ready(Some(Ok(trailers))))),
    };
    Request::from_parts(parts, body)
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
