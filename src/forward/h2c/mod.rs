//! The handler for a device that speaks HTTP/2 with prior knowledge on loopback (`http: h2c://…`; RFC 9113 §3.3): gRPC
//! services and modern recorders.
//!
//! All requests share one connection, trailers and 1xx pass both ways, and so do WebSockets when the device announces that it
//! takes extended CONNECT. What the device says it has not processed is sent once more.

mod connection;
mod exchange;

use std::sync::Arc;

use h2::ext::Protocol;
use http::{
    HeaderMap, Method, StatusCode, Uri,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST},
    request::Parts,
    uri::{Authority, Scheme},
};
use http_body::Body as _;

use self::{
    connection::Connections,
    exchange::{Answered, Deadline, Failed, exchange},
};
use super::{
    fault::Fault,
    headers,
    neighbour::Neighbour,
    pool::Permit,
    target::{Refusal, target},
};
use crate::base::http::{Body, BoxFuture, Handler, Informational, Request, Response, SessionInfo, text_response};

/// Forwards requests to one neighbour over HTTP/2.
#[derive(Clone)]
pub struct H2c {
    neighbour: Arc<Neighbour>,
    connections: Arc<Connections>,
}

/// A request in the form that the device gets.
struct Outgoing {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    protocol: Option<Protocol>,
    informational: Option<Informational>,
    deadline: Deadline,
    /// It has no effect and no body.
    safe: bool,
}

impl H2c {
    /// A handler that shares the neighbour with others. Takes all requests but a CONNECT without `:protocol`.
    pub(super) fn of(neighbour: Arc<Neighbour>) -> Self {
        Self { neighbour, connections: Arc::default() }
    }

    async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let outgoing = match self.outgoing(parts, &body) {
            Ok(outgoing) => outgoing,
            Err(refusal) => return text_response(refusal.status, refusal.sentence),
        };
        match self.forward(outgoing, body).await {
            Ok(response) => {
                self.neighbour.answered();
                response
            }
            Err(fault) => self.neighbour.fault(fault),
        }
    }

    /// The request for the device.
    fn outgoing(&self, mut parts: Parts, body: &Body) -> Result<Outgoing, Refusal> {
        let protocol = parts.extensions.remove::<Protocol>();
        let method = if protocol.is_some() { &Method::GET } else { &parts.method };
        let target = target(method, &parts.uri)?;
        let asked = parts.uri.authority().map(Authority::as_str);
        let remote = parts.extensions.get::<SessionInfo>().map(|session| session.remote);
        let framing = headers::to_device(&mut parts.headers, &self.neighbour.own, asked, remote)?;
        if body.is_end_stream() && framing.length.is_some_and(|length| length > 0) {
            return Err(Refusal::bad_request("the request announced a body and has none"));
        }
        // HTTP/2 has no connection fields, and the host is the authority (RFC 9113 §8.2.2, §8.3.1).
        parts.headers.remove(CONNECTION);
        parts.headers.remove(HOST);
        let grpc = |kind: &http::HeaderValue| kind.as_bytes().starts_with(b"application/grpc");
        let deadline = match &protocol {
            Some(_) => Deadline::Now,
            None if parts.headers.get(CONTENT_TYPE).is_some_and(grpc) => Deadline::Never,
            None => Deadline::Answer,
        };
        let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&parts.method) && body.is_end_stream();
        Ok(Outgoing {
            uri: self.uri(&target)?,
            method: parts.method,
            headers: parts.headers,
            protocol,
            informational: parts.extensions.remove(),
            deadline,
            safe,
        })
    }

    fn uri(&self, target: &Uri) -> Result<Uri, Refusal> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Authority::try_from(self.neighbour.own.as_bytes()).ok();
        parts.path_and_query = target.path_and_query().cloned();
        Uri::from_parts(parts).map_err(|_| Refusal::bad_request("the path cannot be forwarded"))
    }

    async fn forward(&self, outgoing: Outgoing, mut body: Body) -> Result<Response, Fault> {
        let permit = self.neighbour.pool.permit().await?;
        for _ in 0..2 {
            let shared = self.connections.ready(&self.neighbour).await?;
            if outgoing.protocol.is_some() && !shared.sender.is_extended_connect_protocol_enabled() {
                return Err(Fault::NoExtendedConnect);
            }
            let (head, informational) = (outgoing.head(), outgoing.informational.clone());
            let (deadline, safe) = (outgoing.deadline, outgoing.safe);
            match exchange(shared, head, body, informational, deadline, safe, &self.neighbour).await {
                Ok(answered) => return self.incoming(answered, &outgoing.method, permit),
                Err(Failed::Fault(fault)) => return Err(fault),
                Err(Failed::Unprocessed(untouched)) => body = untouched,
            }
        }
        Err(Fault::Unprocessed)
    }

    /// From the head of the answer to the response.
    fn incoming(&self, answered: Answered, method: &Method, permit: Permit) -> Result<Response, Fault> {
        let (mut parts, mut body) = answered;
        let status = parts.status;
        let bodiless =
            *method == Method::HEAD || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        headers::to_remote(&mut parts.headers, status, bodiless)
            .map_err(|sentence| Fault::Malformed(sentence.to_owned()))?;
        if !body.is_end_stream() {
            body.keep(permit);
            if !parts.headers.contains_key(CONTENT_LENGTH) {
                body.keep(self.neighbour.pool.endless_permit()?);
            }
        }
        let mut response = Response::new(Body::new(body));
        *response.status_mut() = status;
        *response.headers_mut() = parts.headers;
        Ok(response)
    }
}

impl Outgoing {
    fn head(&self) -> http::Request<()> {
        let mut head = http::Request::new(());
        *head.method_mut() = self.method.clone();
        *head.uri_mut() = self.uri.clone();
        *head.version_mut() = http::Version::HTTP_2;
        *head.headers_mut() = self.headers.clone();
        if let Some(protocol) = &self.protocol {
            head.extensions_mut().insert(protocol.clone());
        }
        head
    }
}

impl Handler for H2c {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let this = self.clone();
        Box::pin(async move { this.answer(request).await })
    }
}
