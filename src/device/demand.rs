//! Whether an answer of the device asks for credentials, and in which way (ONVIF Core, Authentication over HTTP and HTTPS).
//!
//! A 401 does, and a device that knows UsernameToken only says it with 400 or 500 and a fault. Only such an answer is read, up
//! to a bound; every other one passes unread.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::WWW_AUTHENTICATE};
use http_body::Body as _;
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;

use super::{
    challenge::{Offer, best},
    envelope::is_not_authorized,
};
use crate::base::http::{Body, Response};

/// Longest answer that is read, bytes. Faults have one or two kilobytes, some pages of a 401 have ten.
const ANSWER_MAX: usize = 64 * 1024;
/// How long such an answer may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

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
    let refusal = status == StatusCode::BAD_REQUEST || status == StatusCode::INTERNAL_SERVER_ERROR;
    let short = response.body().size_hint().upper().is_some_and(|upper| upper <= ANSWER_MAX as u64);
    if !(soap && refusal && short) {
        return (response, None);
    }
    let (parts, body) = response.into_parts();
    let Some(body) = collect(body).await else {
        let sentence = "the device's answer broke off";
        return (super::refusal::refusal(soap, StatusCode::BAD_GATEWAY, sentence, None), None);
    };
    let demand = is_not_authorized(&body).then_some(Demand::Token);
    (Response::from_parts(parts, Body::full(body)), demand)
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
    let collected = timeout(ANSWER_DEADLINE, Limited::new(body, ANSWER_MAX).collect()).await;
    collected.ok()?.ok().map(http_body_util::Collected::to_bytes)
}
