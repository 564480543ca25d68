//! Who may use the emulator's web service, as cameras decide it (ONVIF Core, Authentication over HTTP and HTTPS).
//!
//! Digest, Basic, or UsernameToken for messages with Digest for everything else; what ONVIF allows to everybody needs no
//! credentials. After some wrong passwords in a row the account is locked, also for the right one.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use quick_xml::{events::Event, reader::Reader};
use ring::digest;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::Instant;

use crate::base::{
    digest::{Algorithm, Settings, Verdict, Verifier},
    http::{Response, text_response},
    secret::Secret,
};

/// How long a locked account stays locked.
pub const LOCKED_FOR: Duration = Duration::from_secs(300);
/// A token is good so near to the camera's time.
const TOKEN_WINDOW: Duration = Duration::from_secs(5);
/// Nonces of tokens that are remembered, far more than come within the window.
const TOKEN_NONCES: usize = 1024;
/// A Digest nonce that was not used for so long is stale.
const NONCE_LIFE: Duration = Duration::from_secs(60);
/// Operations of the device service that anybody may use (access class PRE_AUTH).
const FOR_EVERYBODY: [&str; 3] = ["GetSystemDateAndTime", "GetCapabilities", "GetServices"];

/// How the camera wants credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP Digest with MD5, what most cameras have.
    Digest,
    /// HTTP Digest with SHA-256, and MD5 for those who know nothing better.
    DigestSha256,
    /// HTTP Basic.
    Basic,
    /// WS-Security UsernameToken for messages, HTTP Digest for the rest.
    UsernameToken,
}

/// What the guard is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// The only account.
    pub account: (String, Secret),
    /// How credentials are wanted.
    pub scheme: Scheme,
    /// Wrong passwords in a row that lock the account; never, if not given.
    pub lock_out: Option<u32>,
}

/// Stands before the web service.
#[derive(Debug)]
pub struct Guard {
    options: Options,
    verifier: Verifier,
    tries: Mutex<Tries>,
}

#[derive(Debug, Default)]
struct Tries {
    wrong: u32,
    locked_until: Option<Instant>,
    token_nonces: VecDeque<String>,
}

/// The fields of a UsernameToken.
#[derive(Debug, Default)]
struct Token {
    username: String,
    password: String,
    nonce: String,
    created: String,
}

impl Guard {
    /// A guard of the camera `name`.
    pub fn new(options: Options, name: &str) -> Self {
        let algorithms = match options.scheme {
            Scheme::DigestSha256 => vec![Algorithm::Sha256, Algorithm::Md5],
            Scheme::Digest | Scheme::Basic | Scheme::UsernameToken => vec![Algorithm::Md5],
        };
        let settings =
            Settings { realm: name.to_owned(), algorithms, qop: true, same_uri: true, nonce_life: NONCE_LIFE };
        let verifier = Verifier::new(settings, [options.account.clone()]);
        Self { options, verifier, tries: Mutex::default() }
    }

    /// Whether a request that is no message may pass.
    ///
    /// # Errors
    /// The refusal.
    pub fn admit(&self, fields: &HeaderMap, method: &str, target: &str) -> Result<(), Box<Response>> {
        let shown = fields.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let verdict = match self.options.scheme {
            Scheme::Basic => self.basic(shown),
            Scheme::Digest | Scheme::DigestSha256 | Scheme::UsernameToken => {
                self.verifier.verify(shown, method, target)
            }
        };
        let stale = verdict == Verdict::Stale;
        if self.judge(verdict) { Ok(()) } else { Err(Box::new(self.challenge(stale))) }
    }

    /// Whether a message with this operation may pass at the level of HTTP; one of a camera with UsernameToken always does.
    ///
    /// # Errors
    /// The refusal.
    pub fn admit_message(
        &self,
        operation: Option<&str>,
        fields: &HeaderMap,
        method: &str,
        target: &str,
    ) -> Result<(), Box<Response>> {
        let free = operation.is_some_and(|operation| FOR_EVERYBODY.contains(&operation));
        if free || self.options.scheme == Scheme::UsernameToken {
            return Ok(());
        }
        self.admit(fields, method, target)
    }

    /// Whether the credentials within a message suffice at this time of the camera, if they are wanted there.
    pub fn admits_token(&self, operation: Option<&str>, message: &[u8], now: SystemTime) -> bool {
        let free = operation.is_some_and(|operation| FOR_EVERYBODY.contains(&operation));
        if free || self.options.scheme != Scheme::UsernameToken {
            return true;
        }
        let verdict = Token::read(message).map_or(Verdict::Missing, |token| self.token(&token, now));
        self.judge(verdict)
    }

    fn basic(&self, shown: Option<&str>) -> Verdict {
        let Some(encoded) = shown.and_then(|shown| shown.strip_prefix("Basic ")) else { return Verdict::Missing };
        let (user, password) = &self.options.account;
        let expected = format!("{user}:{}", password.expose());
        match STANDARD.decode(encoded.trim()) {
            Ok(decoded) if decoded == expected.as_bytes() => Verdict::Granted(user.clone()),
            _ => Verdict::Refused("user or password is wrong"),
        }
    }

    fn token(&self, token: &Token, now: SystemTime) -> Verdict {
        let (user, password) = &self.options.account;
        let created = OffsetDateTime::parse(&token.created, &Rfc3339).map(SystemTime::from);
        let apart = created.ok().map(|created| now.duration_since(created).unwrap_or_else(|error| error.duration()));
        if apart.is_none_or(|apart| apart > TOKEN_WINDOW) {
            return Verdict::Refused("the token is not of this time");
        }
        let mut hashed = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        hashed.update(&STANDARD.decode(&token.nonce).unwrap_or_default());
        hashed.update(token.created.as_bytes());
        hashed.update(password.expose().as_bytes());
        if token.username != *user || token.password != STANDARD.encode(hashed.finish()) {
            return Verdict::Refused("user or password is wrong");
        }
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.token_nonces.contains(&token.nonce) {
            return Verdict::Refused("the token was used before");
        }
        tries.token_nonces.truncate(TOKEN_NONCES - 1);
        tries.token_nonces.push_front(token.nonce.clone());
        Verdict::Granted(user.clone())
    }

    /// Counts, and says whether it may pass.
    fn judge(&self, verdict: Verdict) -> bool {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if tries.locked_until.is_some_and(|until| now < until) {
            return false;
        }
        match verdict {
            Verdict::Granted(_) => {
                (tries.wrong, tries.locked_until) = (0, None);
                true
            }
            Verdict::Missing | Verdict::Stale => false,
            Verdict::Refused(sentence) => {
                tries.wrong += 1;
                tracing::info!(tries = tries.wrong, "the camera refuses credentials: {sentence}");
                if self.options.lock_out.is_some_and(|most| tries.wrong >= most) {
                    tracing::warn!("the camera locks the account for {} s", LOCKED_FOR.as_secs());
                    (tries.wrong, tries.locked_until) = (0, Some(now + LOCKED_FOR));
                }
                false
            }
        }
    }

    fn challenge(&self, stale: bool) -> Response {
        let mut response = text_response(StatusCode::UNAUTHORIZED, "This camera wants user and password.");
        let challenges = match self.options.scheme {
            Scheme::Basic => vec!["Basic realm=\"camera\"".to_owned()],
            Scheme::Digest | Scheme::DigestSha256 | Scheme::UsernameToken => self.verifier.challenges(stale),
        };
        for challenge in challenges {
            if let Ok(challenge) = HeaderValue::try_from(challenge) {
                response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
            }
        }
        response
    }
}

impl Token {
    /// The first UsernameToken of a message.
    fn read(message: &[u8]) -> Option<Self> {
        let mut reader = Reader::from_str(std::str::from_utf8(message).ok()?);
        let (mut token, mut within, mut name) = (Self::default(), false, String::new());
        loop {
            match reader.read_event().ok()? {
                Event::Start(tag) => {
                    name = tag.local_name().as_ref().to_owned();
                    within |= name == "UsernameToken";
                }
                Event::End(tag) if tag.local_name().as_ref() == "UsernameToken" => return Some(token),
                Event::End(_) => name.clear(),
                Event::Text(text) if within => {
                    let text = text.xml10_content();
                    match name.as_str() {
                        "Username" => token.username.push_str(&text),
                        "Password" => token.password.push_str(&text),
                        "Nonce" => token.nonce.push_str(&text),
                        "Created" => token.created.push_str(&text),
                        _ => {}
                    }
                }
                Event::Eof => return None,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(scheme: Scheme, lock_out: Option<u32>) -> Guard {
        let account = ("admin".to_owned(), Secret::new("pw"));
        Guard::new(Options { account, scheme, lock_out }, "porch")
    }

    fn basic(text: &str) -> HeaderMap {
        let value = format!("Basic {}", STANDARD.encode(text));
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::try_from(value).expect("valid"))])
    }

    fn challenges(refusal: &Response) -> Vec<String> {
        let values = refusal.headers().get_all(header::WWW_AUTHENTICATE).iter();
        values.map(|value| value.to_str().expect("text").to_owned()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn each_scheme_asks_in_its_own_way() {
        for (scheme, expected) in [
            (Scheme::Digest, &["algorithm=MD5"][..]),
            (Scheme::DigestSha256, &["algorithm=SHA-256", "algorithm=MD5"]),
            (Scheme::Basic, &["Basic realm"]),
            (Scheme::UsernameToken, &["algorithm=MD5"]),
        ] {
            let refusal = guard(scheme, None).admit(&HeaderMap::new(), "GET", "/").expect_err("no credentials");
            let challenges = challenges(&refusal);
            assert_eq!((refusal.status(), challenges.len()), (StatusCode::UNAUTHORIZED, expected.len()));
            assert!(challenges.iter().zip(expected).all(|(found, part)| found.contains(part)), "{challenges:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_onvif_allows_to_everybody_needs_no_credentials() {
        let guard = guard(Scheme::Digest, None);
        let admit = |operation| guard.admit_message(operation, &HeaderMap::new(), "POST", "/").is_ok();
        assert!(admit(Some("GetSystemDateAndTime")) && !admit(Some("GetDeviceInformation")) && !admit(None));
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_passwords_in_a_row_lock_the_account_for_the_right_one_too() {
        let guard = guard(Scheme::Basic, Some(3));
        let admit = |text: &str| guard.admit(&basic(text), "GET", "/").is_ok();
        assert!(!admit("admin:no") && !admit("admin:no") && admit("admin:pw"), "not in a row");
        assert!(!admit("admin:no") && !admit("admin:no") && !admit("root:pw") && !admit("admin:pw"));
        tokio::time::advance(LOCKED_FOR).await;
        assert!(admit("admin:pw"));
    }

    fn token(password: &str, nonce: &str, at: SystemTime) -> String {
        let created = OffsetDateTime::from(at).format(&Rfc3339).expect("a date");
        let mut hashed = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        [nonce.as_bytes(), created.as_bytes(), password.as_bytes()].iter().for_each(|part| hashed.update(part));
        let (nonce, hash) = (STANDARD.encode(nonce), STANDARD.encode(hashed.finish()));
        format!(
            "<H><w:UsernameToken xmlns:w=\"urn:w\"><w:Username>admin</w:Username><w:Password>{hash}</w:Password>\
             <w:Nonce>{nonce}</w:Nonce><w:Created>{created}</w:Created></w:UsernameToken></H>"
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_good_once_at_its_time_with_the_right_password() {
        let (guard, now) =
            (guard(Scheme::UsernameToken, None), SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000));
        let admits = |message: &str| guard.admits_token(Some("GetDeviceInformation"), message.as_bytes(), now);
        assert!(admits(&token("pw", "1", now)));
        assert!(!admits(&token("pw", "1", now)), "used");
        assert!(admits(&token("pw", "2", now - TOKEN_WINDOW)) && admits(&token("pw", "3", now + TOKEN_WINDOW)));
        assert!(!admits(&token("pw", "4", now - TOKEN_WINDOW - Duration::from_secs(1))), "old");
        assert!(!admits(&token("no", "5", now)) && !admits("<H/>"));
        assert!(guard.admits_token(Some("GetServices"), b"<H/>", now));
    }
}
