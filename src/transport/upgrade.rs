//! The HTTP/1.1 upgrade to `h2c-reverse` or to a WebSocket that carries it (ONVIF Uplink §5.1; RFC 9110 §7.8; RFC 6455 §4.1).
//!
//! The request is one write, and nothing follows it before the 101: cloud ends exist that read once and take what they get
//! for the head (quirks Q1, Q4). The answer is read up to its blank line; what came behind it belongs to HTTP/2.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::{
    answer::{self, Parsed, Refusal, Wanted},
    websocket::{self, SUBPROTOCOL},
};
use crate::{
    base::{clock, secret::Secret},
    model::{
        address::RemoteAddress,
        authorization::{Authorization, TokenPlacement},
        failure::{Cause, Failure},
        step::{CLOCK_TOLERANCE, Step, Witness},
        uplink::Uplink,
    },
    tls::refusal,
};

/// How long the remote may take for its whole answer.
const ANSWER: Duration = Duration::from_secs(15);
/// How long the text of a refusal is waited for; it only makes the sentence better.
const EXCERPT: Duration = Duration::from_secs(1);
/// How long an alert is looked for after a write failed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Informational answers before the final one; a server has use for one or two.
const INFORMATIONAL_MAX: usize = 8;
/// One read from the stream.
const READ: usize = 4096;

/// What is asked of a remote, and what must come back.
#[derive(Debug)]
pub struct Ask {
    remote: RemoteAddress,
    /// The whole request head. It may hold a token, so it is a secret.
    head: Secret,
    wanted: Wanted,
}

impl Ask {
    /// The upgrade to HTTP/2 itself.
    ///
    /// # Errors
    /// [`Cause::CredentialInvalid`] for a token that no header can carry.
    pub fn native(uplink: &Uplink, token: Option<&Secret>) -> Result<Self, Failure> {
        let fields = "Connection: Upgrade\r\nUpgrade: h2c-reverse\r\n";
        Self::new(uplink, token, TokenPlacement::Header, fields, Wanted::Native)
    }

    /// The upgrade to a WebSocket with the subprotocol h2c-reverse.
    ///
    /// # Errors
    /// [`Cause::CredentialInvalid`] for a token that no header can carry.
    pub fn websocket(uplink: &Uplink, token: Option<&Secret>) -> Result<Self, Failure> {
        let placement = match &uplink.authorization {
            Authorization::AccessToken(token) => token.placement,
            Authorization::Mtls(_) | Authorization::Unauthenticated => TokenPlacement::Header,
        };
        let key = websocket::new_key();
        let fields = format!(
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n"
        );
        let wanted = Wanted::WebSocket { accept: websocket::accept_key(&key) };
        Self::new(uplink, token, placement, &fields, wanted)
    }

    fn new(
        uplink: &Uplink,
        token: Option<&Secret>,
        placement: TokenPlacement,
        fields: &str,
        wanted: Wanted,
    ) -> Result<Self, Failure> {
        // RFC 6750 §2.1. A line end in a token would end the header and begin another.
        if token.is_some_and(|token| !token.expose().bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Failure::new(
                Cause::CredentialInvalid,
                "the access token has characters that an HTTP header cannot carry; check the authorization server",
            ));
        }
        let remote = uplink.remote.clone();
        let target = uplink.lab.path.as_deref().unwrap_or(remote.path_and_query());
        let authority = remote.authority();
        let authority = uplink.lab.host.as_deref().unwrap_or(&authority);
        let (mut query, mut header) = (String::new(), String::new());
        match (token, placement) {
            (None, _) => {}
            (Some(token), TokenPlacement::Header) => header = format!("Authorization: Bearer {}\r\n", token.expose()),
            (Some(token), TokenPlacement::Query) => {
                let joint = if target.contains('?') { '&' } else { '?' };
                let encoded: String = url::form_urlencoded::byte_serialize(token.expose().as_bytes()).collect();
                query = format!("{joint}access_token={encoded}");
            }
        }
        let head = format!("GET {target}{query} HTTP/1.1\r\nHost: {authority}\r\n{fields}{header}\r\n");
        Ok(Self { remote, head: Secret::new(head), wanted })
    }
}

/// Sends the upgrade request on `stream` and reads the answer. Returns the bytes that came behind the 101.
/// Cancel safe in the sense that `stream` is of no use afterwards.
///
/// # Errors
/// A cause of the phase upgrade; or of the phase tls, when the answer is an alert about our certificate (TLS 1.3).
pub async fn upgrade<S>(stream: &mut S, ask: &Ask, witness: &dyn Witness) -> Result<Bytes, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match timeout(ANSWER, exchange(stream, ask, witness)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::new(
            Cause::UpgradeTimeout,
            format!(
                "{} gave no complete answer to the upgrade within {} s; check that the path is that of its uplink service",
                ask.remote,
                ANSWER.as_secs()
            ),
        )),
    }
}

async fn exchange<S>(stream: &mut S, ask: &Ask, witness: &dyn Witness) -> Result<Bytes, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let remote = &ask.remote;
    let sent = async {
        stream.write_all(ask.head.expose().as_bytes()).await?;
        stream.flush().await
    }
    .await;
    if let Err(error) = sent {
        // A peer that refused our certificate may have closed already; its alert waits to be read.
        let last_words = timeout(LAST_WORDS, stream.read_u8()).await;
        let error = last_words.ok().and_then(Result::err).filter(is_tls).unwrap_or(error);
        return Err(broken(remote, &error));
    }
    let mut received = BytesMut::new();
    let mut informational = 0;
    loop {
        match answer::parse(&received, &ask.wanted) {
            Parsed::Partial => {
                received.reserve(READ);
                match stream.read_buf(&mut received).await {
                    Ok(0) => return Err(closed(remote, !received.is_empty())),
                    Ok(_) => {}
                    Err(error) => return Err(broken(remote, &error)),
                }
            }
            Parsed::Informational { head } if informational < INFORMATIONAL_MAX => {
                informational += 1;
                let _ = received.split_to(head);
            }
            Parsed::Switched { head } => {
                tell_clock(&received, ask, witness);
                // Copied: the few bytes must not keep the buffer of the head for as long as the session lives.
                return Ok(Bytes::copy_from_slice(&received[head..]));
            }
            Parsed::Informational { .. } => {
                return Err(Failure::new(
                    Cause::UpgradeMalformed,
                    format!("{remote} sent more than {INFORMATIONAL_MAX} informational answers and no final one"),
                ));
            }
            Parsed::TooLarge => {
                return Err(Failure::new(
                    Cause::UpgradeHeadTooLarge,
                    format!(
                        "{remote} answered the upgrade with a head of more than 16 KiB or 64 headers; is this an uplink service?"
                    ),
                ));
            }
            Parsed::Malformed(problem) => {
                return Err(Failure::new(
                    Cause::UpgradeMalformed,
                    format!(
                        "{remote} answered the upgrade with something else than an HTTP/1.1 switch to {}: {problem}",
                        ask.wanted.protocol()
                    ),
                ));
            }
            Parsed::Subprotocol(problem) => {
                return Err(Failure::new(
                    Cause::WebSocketSubprotocol,
                    format!(
                        "{remote} accepted the WebSocket {problem}; an uplink needs the subprotocol {SUBPROTOCOL}: check that the path is that of its uplink service"
                    ),
                ));
            }
            Parsed::Refused(refusal) => return Err(refused(stream, ask, received, refusal, witness).await),
        }
    }
}

/// What an answer other than 101 means, with what its text says and what its clock shows.
async fn refused<S: AsyncRead + Unpin>(
    stream: &mut S,
    ask: &Ask,
    mut received: BytesMut,
    refusal: Refusal,
    witness: &dyn Witness,
) -> Failure {
    let clock = tell_clock(&received, ask, witness);
    let body = received.split_off(refusal.head);
    let body = if refusal.text { excerpt_of(stream, body, refusal.length).await } else { BytesMut::new() };
    let mut failure = refusal.into_failure(&ask.remote, &body);
    if let Some(clock) = clock.filter(|_| failure.cause == Cause::Unauthorized) {
        failure.message.push_str("; and ");
        failure.message.push_str(&clock);
    }
    failure
}

/// Tells what time the remote says it is; a sentence if that is not ours, because certificates and tokens depend on it.
fn tell_clock(received: &[u8], ask: &Ask, witness: &dyn Witness) -> Option<String> {
    let offset_seconds = clock::offset_seconds(answer::date(received)?, SystemTime::now());
    let server = ask.remote.authority();
    let off = offset_seconds.unsigned_abs() > CLOCK_TOLERANCE.as_secs();
    let sentence = off.then(|| clock::spoken(offset_seconds, &server));
    witness.saw(Step::Clock { server, offset_seconds });
    sentence
}

/// The first bytes of a text body: as much as is here, or comes soon.
async fn excerpt_of<S: AsyncRead + Unpin>(stream: &mut S, mut body: BytesMut, length: Option<usize>) -> BytesMut {
    let wanted = length.unwrap_or(answer::EXCERPT_MAX).min(answer::EXCERPT_MAX);
    let _ = timeout(EXCERPT, async {
        while body.len() < wanted {
            match stream.read_buf(&mut body).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
    })
    .await;
    body.truncate(wanted);
    body
}

fn is_tls(error: &std::io::Error) -> bool {
    refusal::explain("", error).is_some()
}

fn broken(remote: &RemoteAddress, error: &std::io::Error) -> Failure {
    refusal::explain(&remote.to_string(), error).unwrap_or_else(|| {
        Failure::new(
            Cause::UpgradeClosed,
            format!("the connection to {remote} broke before the upgrade was answered ({error}); it may not accept this device's certificate, its log may say more"),
        )
    })
}

fn closed(remote: &RemoteAddress, half: bool) -> Failure {
    let when = if half { "in the middle of its answer to the upgrade" } else { "without an answer to the upgrade" };
    Failure::new(
        Cause::UpgradeClosed,
        format!("{remote} closed the connection {when}; check that the path is that of its uplink service"),
    )
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
