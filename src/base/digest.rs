//! HTTP Digest as a server checks it (RFC 7616; RFC 2617 and 2069 for what players send), for RTSP and HTTP alike.
//!
//! A [`Verifier`] knows the users and gives out nonces. Each has an age and a count: an old one is answered with `stale`, so
//! that the peer tries again without asking anybody, and with `qop=auth` a request that was heard cannot be sent again. The
//! fields are read by the `http-auth` parser: credentials are written like a challenge (RFC 9110 §11.4).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http_auth::parser::ChallengeParser;
use md5::{Digest as _, Md5};
use ring::digest::{SHA256, digest};
use tokio::time::Instant;

use super::{
    random::{hex, random_hex},
    secret::Secret,
};

/// Nonces that are remembered; the one unused for longest is forgotten and is stale from then on. Far more than the
/// connections of a camera.
pub const NONCES_MAX: usize = 1024;

/// A hash that the camera offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// What every client speaks.
    Md5,
    /// RFC 7616; ONVIF calls it optional.
    Sha256,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// The hash in lower-case hexadecimal.
    pub fn hash(self, text: &str) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(text.as_bytes())),
            Self::Sha256 => hex(digest(&SHA256, text.as_bytes()).as_ref()),
        }
    }
}

/// What is checked how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Named in the challenge and part of the hash.
    pub realm: String,
    /// Offered in this order; the first that the peer knows is taken (RFC 7616 §3.7).
    pub algorithms: Vec<Algorithm>,
    /// Offer and demand `qop=auth`. Cameras leave it out for RTSP, where most players do not know it.
    pub qop: bool,
    /// Demand that the `uri` of the credentials is that of the request (RFC 7616 §3.4). Cameras seldom do for RTSP, and what
    /// stands between may have changed it.
    pub same_uri: bool,
    /// A nonce that was not used for so long is stale.
    pub nonce_life: Duration,
}

/// What [`Verifier::verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is this user.
    Granted(String),
    /// The password is right and the nonce is not of use any more: challenge with `stale`.
    Stale,
    /// No credentials, or of another scheme: challenge.
    Missing,
    /// Credentials that are wrong; the sentence is for a log. Challenge.
    Refused(&'static str),
}

#[derive(Debug)]
struct Nonce {
    used: Instant,
    /// The highest `nc` so far.
    count: u32,
}

/// Checks credentials against its users.
#[derive(Debug)]
pub struct Verifier {
    settings: Settings,
    users: HashMap<String, Secret>,
    nonces: Mutex<HashMap<String, Nonce>>,
}

impl Verifier {
    /// For these users with their passwords. Quotes and backslashes of the realm are left out: clients disagree on whether
    /// they count escaped.
    pub fn new(mut settings: Settings, users: impl IntoIterator<Item = (String, Secret)>) -> Self {
        settings.realm.retain(|letter| !matches!(letter, '"' | '\\'));
        Self { settings, users: users.into_iter().collect(), nonces: Mutex::default() }
    }

    /// The values of the `WWW-Authenticate` fields of a refusal: one with a new nonce for each algorithm.
    pub fn challenges(&self, stale: bool) -> Vec<String> {
        let challenge = |algorithm: &Algorithm| {
            let mut text = format!(
                "Digest realm=\"{}\", nonce=\"{}\", algorithm={}",
                self.settings.realm,
                self.new_nonce(),
                algorithm.name(),
            );
            text.push_str(if self.settings.qop { ", qop=\"auth\"" } else { "" });
            text.push_str(if stale { ", stale=true" } else { "" });
            text
        };
        self.settings.algorithms.iter().map(challenge).collect()
    }

    /// Checks the `Authorization` of a request with this method and target.
    pub fn verify(&self, authorization: Option<&str>, method: &str, uri: &str) -> Verdict {
        self.verify_by(authorization, method, uri, |user| self.users.get(user).cloned())
    }

    /// The same for users that are known elsewhere: `password` is asked at most once, for the user of the credentials.
    pub fn verify_by(
        &self,
        authorization: Option<&str>,
        method: &str,
        uri: &str,
        password: impl FnOnce(&str) -> Option<Secret>,
    ) -> Verdict {
        let Some(authorization) = authorization else { return Verdict::Missing };
        match Credentials::read(authorization) {
            Ok(Some(credentials)) => self.check(&credentials, method, uri, password).unwrap_or_else(Verdict::Refused),
            Ok(None) => Verdict::Missing,
            Err(sentence) => Verdict::Refused(sentence),
        }
    }

    fn check(
        &self,
        credentials: &Credentials,
        method: &str,
        uri: &str,
        password: impl FnOnce(&str) -> Option<Secret>,
    ) -> Result<Verdict, &'static str> {
        let algorithm = match credentials.get("algorithm") {
            // RFC 7616 §3.3: without a name it is MD5.
            None => Algorithm::Md5,
            Some(name) => {
                let offered = self.settings.algorithms.iter().find(|offer| offer.name().eq_ignore_ascii_case(name));
                *offered.ok_or("the algorithm was not offered")?
            }
        };
        if !self.settings.algorithms.contains(&algorithm) {
            return Err("the algorithm was not offered");
        }
        if credentials.get("realm") != Some(self.settings.realm.as_str()) {
            return Err("the realm is another one");
        }
        let target = credentials.need("uri")?;
        if self.settings.same_uri && target != uri {
            return Err("the uri is not that of the request");
        }
        let (user, nonce) = (credentials.need("username")?, credentials.need("nonce")?);
        let count = self.count(credentials)?;
        // An unknown user costs as much time as a wrong password.
        let password = password(user);
        let exposed = password.as_ref().map_or("", Secret::expose);
        let a1 = algorithm.hash(&format!("{user}:{}:{exposed}", self.settings.realm));
        let a2 = algorithm.hash(&format!("{method}:{target}"));
        let expected = match count {
            None => algorithm.hash(&format!("{a1}:{nonce}:{a2}")),
            Some(_) => {
                let (nc, cnonce) = (credentials.need("nc")?, credentials.need("cnonce")?);
                algorithm.hash(&format!("{a1}:{nonce}:{nc}:{cnonce}:auth:{a2}"))
            }
        };
        let response = credentials.need("response")?.to_ascii_lowercase();
        if !same(expected.as_bytes(), response.as_bytes()) || password.is_none() {
            return Err("user or password is wrong");
        }
        Ok(if self.spend(nonce, count) { Verdict::Granted(user.to_owned()) } else { Verdict::Stale })
    }

    /// The `nc` of credentials with `qop=auth`; `None` for those without qop.
    fn count(&self, credentials: &Credentials) -> Result<Option<u32>, &'static str> {
        match credentials.get("qop") {
            Some("auth") => {
                let count = u32::from_str_radix(credentials.need("nc")?, 16).map_err(|_| "nc is no number")?;
                Ok(Some(count))
            }
            Some(_) => Err("qop is not auth"),
            None if self.settings.qop => Err("qop is missing"),
            None => Ok(None),
        }
    }

    fn new_nonce(&self) -> String {
        let nonce = random_hex::<16>();
        let mut nonces = self.nonces();
        if nonces.len() >= NONCES_MAX
            && let Some(oldest) = nonces.iter().min_by_key(|(_, known)| known.used).map(|(nonce, _)| nonce.clone())
        {
            nonces.remove(&oldest);
        }
        nonces.insert(nonce.clone(), Nonce { used: Instant::now(), count: 0 });
        nonce
    }

    /// Uses a nonce once; `false` when it is unknown, too old, or its count did not rise.
    fn spend(&self, nonce: &str, count: Option<u32>) -> bool {
        let now = Instant::now();
        let mut nonces = self.nonces();
        nonces.retain(|_, known| now - known.used < self.settings.nonce_life);
        let Some(known) = nonces.get_mut(nonce) else { return false };
        if let Some(count) = count {
            if count <= known.count {
                return false;
            }
            known.count = count;
        }
        known.used = now;
        true
    }

    fn nonces(&self) -> MutexGuard<'_, HashMap<String, Nonce>> {
        // A panic while it was held leaves at worst a nonce too few.
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fields of Digest credentials, unescaped.
struct Credentials(Vec<(String, String)>);

impl Credentials {
    /// `None` when the scheme is another one.
    fn read(authorization: &str) -> Result<Option<Self>, &'static str> {
        let scheme = authorization.split(' ').next().unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("Digest") {
            return Ok(None);
        }
        let mut found = ChallengeParser::new(authorization);
        let (Some(Ok(digest)), None) = (found.next(), found.next()) else {
            return Err("the credentials cannot be read");
        };
        let fields: Vec<(String, String)> =
            digest.params.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_unescaped())).collect();
        let twice =
            fields.iter().enumerate().any(|(at, (name, _))| fields[..at].iter().any(|(other, _)| other == name));
        if twice { Err("a field of the credentials stands twice") } else { Ok(Some(Self(fields))) }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    fn need(&self, name: &str) -> Result<&str, &'static str> {
        self.get(name).ok_or("a field of the credentials is missing")
    }
}

/// Compares in a time that tells nothing of where the two differ; both lengths are public.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
#[path = "digest_tests.rs"]
mod tests;
