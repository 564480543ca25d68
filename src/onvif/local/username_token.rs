//! WS-Security UsernameToken with PasswordDigest, checked as a device does (ONVIF Core, Authentication; OASIS Username Token Profile
//! 1.0): nonce and time must be there, the time near ours, and a nonce counts once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use quick_xml::{
    escape::unescape,
    events::Event,
    name::{Namespace, ResolveResult},
    reader::NsReader,
};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::Instant;

use crate::{base::secret::Secret, onvif::soap::envelope::Envelope};

/// WS-Security.
pub const SECURITY: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const UTILITY: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
/// How far the time of a token may be from ours, either way; the profile recommends five minutes.
const WINDOW: Duration = Duration::from_secs(300);
/// Nonces that are remembered for as long as their time would be taken. Only those with the right password get here.
const NONCES_MAX: usize = 4096;
/// Longest nonce in bytes; toolkits send 16 to 20.
const NONCE_MAX: usize = 128;

/// A token as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsernameToken {
    /// Username.
    pub username: String,
    password: String,
    is_digest: bool,
    nonce: String,
    created: String,
}

impl UsernameToken {
    /// The token in the header of a message; `None` if there is none.
    pub fn of(envelope: &Envelope<'_>) -> Option<Self> {
        let block = envelope.block(SECURITY, "Security")?;
        let mut reader = NsReader::from_str(&envelope.text);
        let (mut token, mut at, mut found) = (Self::default(), None, false);
        loop {
            let before = usize::try_from(reader.buffer_position()).ok()?;
            // The envelope was read strictly before; what is not understood here is no token.
            let event = reader.read_event().ok()?;
            if before < block.range.start {
                continue;
            }
            if before >= block.range.end {
                return found.then_some(token);
            }
            match event {
                Event::Start(tag) => {
                    let (namespace, local) = reader.resolver().resolve_element(tag.name());
                    let namespace = match namespace {
                        ResolveResult::Bound(Namespace(namespace)) => namespace,
                        _ => "",
                    };
                    let local: &str = local.into_inner();
                    found |= (namespace, local) == (SECURITY, "UsernameToken");
                    at = match (namespace, local) {
                        (SECURITY, "Username") => Some(Field::Username),
                        (SECURITY, "Password") => {
                            let kind = tag.try_get_attribute("Type").ok().flatten();
                            token.is_digest = kind.is_some_and(|kind| kind.value.ends_with("#PasswordDigest"));
                            Some(Field::Password)
                        }
                        (SECURITY, "Nonce") => Some(Field::Nonce),
                        (UTILITY, "Created") => Some(Field::Created),
                        _ => None,
                    };
                }
                Event::Text(text) => token.append(at, &text),
                Event::CData(text) => token.append(at, &text),
                Event::GeneralRef(reference) => token.append(at, &unescape(&format!("&{};", &*reference)).ok()?),
                Event::End(_) => at = None,
                Event::Eof => return None,
                _ => {}
            }
        }
    }

    fn append(&mut self, at: Option<Field>, text: &str) {
        match at {
            Some(Field::Username) => self.username.push_str(text),
            Some(Field::Password) => self.password.push_str(text),
            Some(Field::Nonce) => self.nonce.push_str(text),
            Some(Field::Created) => self.created.push_str(text),
            None => {}
        }
    }
}

#[derive(Clone, Copy)]
enum Field {
    Username,
    Password,
    Nonce,
    Created,
}

/// The nonces that counted already.
#[derive(Debug, Default)]
pub struct Tokens(Mutex<HashMap<Vec<u8>, Instant>>);

impl Tokens {
    /// Checks a token at the time `now`; `password` is asked at most once, for its user.
    ///
    /// # Errors
    /// Why it is not taken, a sentence for the one who sent it, and whether its password was right.
    pub fn verify(
        &self,
        token: &UsernameToken,
        now: SystemTime,
        password: impl FnOnce(&str) -> Option<Secret>,
    ) -> Result<(), (&'static str, bool)> {
        if !token.is_digest {
            return Err(("the UsernameToken has no password of the type PasswordDigest", false));
        }
        let nonce =
            STANDARD.decode(token.nonce.trim()).map_err(|_| ("the Nonce of the UsernameToken is not base64", false))?;
        if nonce.is_empty() || nonce.len() > NONCE_MAX {
            return Err(("the UsernameToken has no Nonce, or one that is too long", false));
        }
        let created = token.created.trim();
        let time = OffsetDateTime::parse(created, &Rfc3339)
            .map_err(|_| ("the UsernameToken has no Created, or it is no time (RFC 3339)", false))?;
        let expected = STANDARD
            .decode(token.password.trim())
            .map_err(|_| ("the password of the UsernameToken is not base64", false))?;
        let secret = password(token.username.trim());
        let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        context.update(&nonce);
        context.update(created.as_bytes());
        context.update(secret.as_ref().map_or("", Secret::expose).as_bytes());
        let right = same(context.finish().as_ref(), &expected) && secret.is_some();
        if !right {
            return Err(("user or password of the UsernameToken is wrong", false));
        }
        let time = SystemTime::from(time);
        let distance = now.duration_since(time).unwrap_or_else(|ahead| ahead.duration());
        if distance > WINDOW {
            return Err((
                "the UsernameToken was created more than five minutes from this clock; set both clocks",
                true,
            ));
        }
        if self.spend(nonce) { Ok(()) } else { Err(("the Nonce of the UsernameToken was used before", true)) }
    }

    fn spend(&self, nonce: Vec<u8>) -> bool {
        let now = Instant::now();
        let mut nonces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Its time may be as far ahead of ours as behind.
        nonces.retain(|_, spent| now - *spent < 2 * WINDOW);
        nonces.len() < NONCES_MAX && nonces.insert(nonce, now).is_none()
    }
}

/// Compares in a time that tells nothing of where the two differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
#[path = "username_token_tests.rs"]
mod tests;
