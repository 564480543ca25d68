//! Credentials mediation: the remote shows none, the device gets ours (ONVIF Uplink §5.3; ONVIF Core, Authentication).
//!
//! A handler around the one that reaches the device. It takes out what the remote brought along, shows what the device is known
//! to want, answers its challenge once, and keeps challenges from the remote. What is sent a second time comes from a
//! bounded buffer; for a larger body a nonce is fetched before it is sent.

use std::sync::Arc;

use http::{
    HeaderMap, Method,
    header::{AUTHORIZATION, COOKIE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, WWW_AUTHENTICATE},
};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::{account::Account, exchange::Exchange, payload::Payload};
use crate::{
    base::http::{Body, BoxFuture, Handler, Request, Response},
    model::uplink::UplinkKey,
};

/// Fields of the device that are about credentials, beside those that the `http` crate names.
const ABOUT_CREDENTIALS: [&str; 3] = ["authentication-info", "proxy-authentication-info", "set-cookie2"];

/// The mediation for one uplink.
pub struct Mediation {
    shared: Arc<Shared>,
}

/// What the exchanges of one uplink share.
struct Shared {
    account: Arc<Account>,
    /// Reaches the device.
    inner: Arc<dyn Handler>,
    /// Whether what the remote brings along reaches the device.
    pass_through: bool,
    key: UplinkKey,
}

impl Mediation {
    /// Mediates what goes to `inner` for the uplink `key` by means of `account`.
    pub fn new(account: Arc<Account>, inner: Arc<dyn Handler>, key: UplinkKey, pass_through: bool) -> Self {
        account.enlist(&key);
        Self { shared: Arc::new(Shared { account, inner, pass_through, key }) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.account.leave(&self.key);
    }
}

impl Handler for Mediation {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let shared = &self.shared;
        let own = shared.pass_through && request.headers().contains_key(AUTHORIZATION);
        // A CONNECT without a protocol carries no request to the device, only bytes (RFC 9110 §9.3.6).
        if own || is_bytes(&request) {
            return shared.inner.handle(request);
        }
        let shared = Arc::clone(shared);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let pass_through = shared.pass_through;
            strip_request(&mut parts.headers, pass_through);
            let taken = match Payload::take(&mut parts, body).await {
                Ok(taken) => taken,
                Err(answer) => return *answer,
            };
            if let Some(message) = taken.with_own_credentials.filter(|_| pass_through) {
                return shared.inner.handle(Request::from_parts(parts, Body::full(message))).await;
            }
            strip_response(
                Exchange::new(&shared.account, &*shared.inner, parts, taken.payload).run().await,
                pass_through,
            )
        })
    }
}

fn is_bytes(request: &Request) -> bool {
    request.method() == Method::CONNECT && request.extensions().get::<h2::ext::Protocol>().is_none()
}

/// Takes out what the remote shows.
fn strip_request(fields: &mut HeaderMap, keep_cookies: bool) {
    fields.remove(AUTHORIZATION);
    fields.remove(PROXY_AUTHORIZATION);
    if !keep_cookies {
        fields.remove(COOKIE);
    }
}

/// Takes out what the device says of credentials, in the head and in trailers.
fn strip_response(mut response: Response, keep_cookies: bool) -> Response {
    strip_fields(response.headers_mut(), keep_cookies);
    if response.body().is_end_stream() || response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|body| {
        Body::new(body.map_frame(move |mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                strip_fields(trailers, keep_cookies);
            }
            frame
        }))
    })
}

fn strip_fields(fields: &mut HeaderMap, keep_cookies: bool) {
    fields.remove(WWW_AUTHENTICATE);
    fields.remove(PROXY_AUTHENTICATE);
    for name in ABOUT_CREDENTIALS {
        fields.remove(name);
    }
    if !keep_cookies {
        fields.remove(SET_COOKIE);
    }
}

#[cfg(test)]
#[path = "mediation_tests.rs"]
mod tests;
