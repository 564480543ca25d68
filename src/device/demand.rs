//! Whether an answer of the device asks for credentials, and in which way (ONVIF Core, Authentication over HTTP and HTTPS).
//!
//! A 401 does, and a device that knows UsernameToken only says it with a fault and 400 or 500, or wrongly with 200. Only what may
//! be such an answer is read, up to a bound; every other one passes unread.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_TYPE, WWW_AUTHENTICATE},
};
use http_body_util::BodyExt;

use super::{
    challenge::{Offer, best},
    envelope::is_not_authorized,
    refusal::refusal,
};
use crate::base::{
    gather::{Gathered, gather},
    http::{Body, Response},
};

/// Longest answer that is read, bytes. Faults have one or two kilobytes, some pages of a 401 have ten.
const ANSWER_MAX: usize = 64 * 1024;
/// How long such an answer may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// Longest answer with 200 that is read, bytes: a fault and no more, because most of these answers are none.
const GOOD_ANSWER_MAX: usize = 8 * 1024;
/// How long that may take: as long as answers whose addresses are rewritten, because what is no fault may be slow.
const GOOD_ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// Most characters of the names of schemes in a sentence.
const WORDS_MAX: usize = 100;

/// What the device asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Demand {
    /// A challenge that can be answered.
    Offer(Offer),
    /// UsernameToken, or credentials in general without saying which.
    Token,
    /// Something else, in words.
    Unknown(String),
}

impl Demand {
    /// Whether what was shown was right, but with a nonce that is too old.
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Offer(Offer::Digest(challenge)) if challenge.stale)
    }
}

/// What an answer asks for, and the answer, whole again. `soap` when the request was a SOAP message.
pub async fn demand(response: Response, soap: bool) -> (Response, Option<Demand>) {
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED {
        let demand = challenged(response.headers(), soap);
        let (parts, body) = response.into_parts();
        // Read to its end, so that the connection can go on; a nonce may hang on it.
        let body = collect(body).await.unwrap_or_default();
        return (Response::from_parts(parts, Body::full(body)), Some(demand));
    }
    let (max, deadline) = match status {
        StatusCode::BAD_REQUEST | StatusCode::INTERNAL_SERVER_ERROR if soap => (ANSWER_MAX, ANSWER_DEADLINE),
        StatusCode::OK if soap && is_xml(response.headers()) => (GOOD_ANSWER_MAX, GOOD_ANSWER_DEADLINE),
        _ => return (response, None),
    };
    let (parts, body) = response.into_parts();
    match gather(body, max, deadline).await {
        Gathered::Whole { bytes, trailers } => {
            let demand = is_not_authorized(&bytes).then_some(Demand::Token);
            let body = match trailers {
                None => Body::full(bytes),
                Some(trailers) => Body::new(Body::full(bytes).with_trailers(std::future::ready(Some(Ok(trailers))))),
            };
            (Response::from_parts(parts, body), demand)
        }
        Gathered::Larger(body) => (Response::from_parts(parts, body), None),
        Gathered::Broken(_) | Gathered::Slow => {
            let sentence = "the device's answer broke off";
            (refusal(soap, StatusCode::BAD_GATEWAY, sentence, None), None)
        }
    }
}

/// Whether an answer may be a SOAP message.
fn is_xml(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(|kind| kind.contains("xml"))
}

/// What the head of a 401 asks for.
fn challenged(headers: &HeaderMap, soap: bool) -> Demand {
    let values: Vec<_> = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).collect();
    match best(values.iter().copied()) {
        Some(offer) => Demand::Offer(offer),
        None if soap => Demand::Token,
        None if values.is_empty() => Demand::Unknown("401 without a challenge".to_owned()),
        None => {
            let schemes: Vec<_> = values.iter().map(|value| value.split(' ').next().unwrap_or_default()).collect();
            Demand::Unknown(schemes.join(", ").chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect())
        }
    }
}

/// A short body; `None` when it is too long, too slow, or breaks off.
pub async fn collect(body: Body) -> Option<Bytes> {
    match gather(body, ANSWER_MAX, ANSWER_DEADLINE).await {
        Gathered::Whole { bytes, .. } => Some(bytes),
        Gathered::Larger(_) | Gathered::Broken(_) | Gathered::Slow => None,
    }
}
