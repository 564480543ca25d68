//! What a token endpoint answers: a token with its life, or a cause (RFC 6749 §5).

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde::Deserialize;

use super::metadata::{origin, shown};
use crate::{
    base::{clock, secret::Secret},
    model::{
        authorization::AuthorizationServer,
        failure::{Cause, Failure},
        step::CLOCK_TOLERANCE,
    },
};

/// The life of a token whose answer names none (RFC 6749 §5.1 only recommends it).
const UNKNOWN_LIFE: Duration = Duration::from_secs(300);
/// A longer life is not believed: keys are rotated, and a slip of a server must not keep a token for ever.
const LIFE_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Longest `Retry-After` that is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// What was given.
#[derive(Debug)]
pub(super) struct Given {
    /// The token.
    pub(super) token: Secret,
    /// How long it is good, from now.
    pub(super) life: Duration,
}

#[derive(Deserialize)]
struct Good {
    access_token: Option<String>,
    token_type: Option<String>,
    #[serde(default)]
    expires_in: serde_json::Value,
}

#[derive(Deserialize)]
struct Bad {
    error: String,
    error_description: Option<String>,
}

/// Reads the answer of the token endpoint of `server`.
///
/// # Errors
/// A cause of the phase authorize. No sentence quotes a token.
pub(super) fn read(server: &AuthorizationServer, answer: &Response<Bytes>, now: SystemTime) -> Result<Given, Failure> {
    let who = origin(&server.server_uri);
    match answer.status() {
        status if status.is_success() => good(&who, answer.body()),
        status @ (StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            Err(refused(server, &who, status, answer, now))
        }
        status if status.is_redirection() => Err(Failure::new(
            Cause::TokenInvalid,
            format!(
                "the token endpoint of {who} answered {status}, a redirect, which is not followed; check serverUri"
            ),
        )),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Err(Failure::new(
            Cause::AuthorizationServerUnreachable,
            format!("the authorization server {who} answered {status}; it is asked again later"),
        )
        .with_retry_after(retry_after(answer))),
        status => Err(Failure::new(
            Cause::TokenInvalid,
            format!("the token endpoint of {who} answered {status} and no token; its log may say why"),
        )),
    }
}

fn good(who: &str, body: &[u8]) -> Result<Given, Failure> {
    let invalid = |problem: &str| {
        Failure::new(
            Cause::TokenInvalid,
            format!("the authorization server {who} answered without a usable token: {problem}"),
        )
    };
    let answer: Good = serde_json::from_slice(body).map_err(|_| invalid("it is not the JSON of RFC 6749"))?;
    let token =
        answer.access_token.filter(|token| !token.is_empty()).ok_or_else(|| invalid("there is no access_token"))?;
    if !answer.token_type.as_deref().is_none_or(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err(invalid("its token_type is not Bearer"));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid("it has characters that an HTTP header cannot carry"));
    }
    // Servers exist that write the number as text.
    let seconds = match &answer.expires_in {
        serde_json::Value::String(text) => text.parse().ok(),
        number => number.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64),
    };
    let life = seconds.map_or(UNKNOWN_LIFE, Duration::from_secs).min(LIFE_MAX);
    Ok(Given { token: Secret::new(token), life })
}

fn refused(
    server: &AuthorizationServer,
    who: &str,
    status: StatusCode,
    answer: &Response<Bytes>,
    now: SystemTime,
) -> Failure {
    let said = match serde_json::from_slice::<Bad>(answer.body()) {
        Ok(Bad { error, error_description: Some(more) }) => format!(": {} ({})", shown(&error), shown(&more)),
        Ok(Bad { error, .. }) => format!(": {}", shown(&error)),
        Err(_) => String::new(),
    };
    // Assertions have times in them: a wrong clock makes every one of them invalid.
    let date = answer.headers().get(header::DATE).and_then(|date| date.to_str().ok()).and_then(clock::http_date);
    let offset = date.map_or(0, |date| clock::offset_seconds(date, now));
    if offset.unsigned_abs() > CLOCK_TOLERANCE.as_secs() {
        let spoken = clock::spoken(offset, who);
        return Failure::new(
            Cause::ClockSkew,
            format!("the authorization server refused us ({status}{said}), and {spoken}; set the clock of this device"),
        );
    }
    Failure::new(
        Cause::TokenRefused,
        format!(
            "the authorization server {who} refused the client `{}` ({status}{said}); check clientID, clientAuth, its secret, key or certificate, and the scopes",
            server.client_id
        ),
    )
}

fn retry_after(answer: &Response<Bytes>) -> Option<Duration> {
    let seconds: u64 = answer.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}
