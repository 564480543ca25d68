//! HTTP Digest, the client's side (RFC 7616; RFC 2069 for devices without qop; ONVIF Core, Authentication over HTTP).
//!
//! A [`Session`] is what one challenge allows: answers with a counted nonce, as many as the device takes, without asking
//! again. The formula is ours, because it must go on with `nextnonce`, keep the first client nonce for `-sess` and hash
//! bodies for `auth-int`; MD5 is of RustCrypto, the other hashes of ring.

use std::fmt::Write;

use md5::Digest as _;
use ring::{
    digest,
    rand::{SecureRandom, SystemRandom},
};

use crate::base::secret::Secret;

/// Hash of the algorithm (RFC 7616 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// MD5, what cameras have.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512/256.
    Sha512Trunc256,
}

impl Algorithm {
    /// The algorithm of a name, and whether it is the `-sess` form. Cameras do not care for case.
    pub fn parse(name: &str) -> Option<(Self, bool)> {
        let name = name.trim().to_ascii_uppercase();
        let (hash, session) = name.strip_suffix("-SESS").map_or((name.as_str(), false), |hash| (hash, true));
        let algorithm = match hash {
            "MD5" => Self::Md5,
            "SHA-256" => Self::Sha256,
            "SHA-512-256" => Self::Sha512Trunc256,
            _ => return None,
        };
        Some((algorithm, session))
    }

    fn name(self, session: bool) -> &'static str {
        match (self, session) {
            (Self::Md5, false) => "MD5",
            (Self::Md5, true) => "MD5-sess",
            (Self::Sha256, false) => "SHA-256",
            (Self::Sha256, true) => "SHA-256-sess",
            (Self::Sha512Trunc256, false) => "SHA-512-256",
            (Self::Sha512Trunc256, true) => "SHA-512-256-sess",
        }
    }

    /// The hash of bytes in hexadecimal digits.
    fn hex(self, bytes: &[u8]) -> String {
        match self {
            Self::Md5 => hex(&md5::Md5::digest(bytes)),
            Self::Sha256 => hex(digest::digest(&digest::SHA256, bytes).as_ref()),
            Self::Sha512Trunc256 => hex(digest::digest(&digest::SHA512_256, bytes).as_ref()),
        }
    }

    /// The hash of parts with colons between them.
    fn joined(self, parts: &[&str]) -> String {
        self.hex(parts.join(":").as_bytes())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Quality of protection that is used of those that the device offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qop {
    /// The device offers none (RFC 2069): no client nonce, no counter.
    None,
    /// Authentication.
    Auth,
    /// Authentication, and the body is part of what is hashed; used only when the device offers nothing else.
    AuthInt,
}

/// One Digest challenge, quotes and escapes gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Protection space.
    pub realm: String,
    /// The device's nonce.
    pub nonce: String,
    /// Goes back as it came.
    pub opaque: Option<String>,
    /// Hash.
    pub algorithm: Algorithm,
    /// `-sess`.
    pub session: bool,
    /// What is used.
    pub qop: Qop,
    /// Whether the user name is sent as a hash.
    pub user_hash: bool,
    /// The answer before was right, but its nonce too old.
    pub stale: bool,
}

/// What an answer is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Method as it is sent to the device.
    pub method: &'a str,
    /// Request target as it is sent to the device.
    pub uri: &'a str,
    /// Body; only looked at for [`Qop::AuthInt`], for which `None` is an empty one.
    pub body: Option<&'a [u8]>,
}

/// A challenge that can be answered again and again.
#[derive(Clone, Debug)]
pub struct Session {
    challenge: Challenge,
    /// The nonce in use: that of the challenge, or a later `nextnonce`.
    nonce: String,
    /// Answers given with this nonce.
    count: u32,
    /// One for the whole session: for `-sess` it is part of the key (RFC 7616 §3.4.2), and some devices take the first one
    /// for that, others the one of the request. With one only, both are right.
    client_nonce: String,
}

impl Session {
    /// A session with a random client nonce.
    pub fn new(challenge: Challenge) -> Self {
        let mut random = [0; 16];
        // The system's random numbers do not fail after the start; a client nonce of zeros would still be answered.
        let _ = SystemRandom::new().fill(&mut random);
        Self::with_client_nonce(challenge, hex(&random))
    }

    fn with_client_nonce(challenge: Challenge, client_nonce: String) -> Self {
        Self { nonce: challenge.nonce.clone(), challenge, count: 0, client_nonce }
    }

    /// The protection space.
    pub fn realm(&self) -> &str {
        &self.challenge.realm
    }

    /// The nonce in use.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// What is used.
    pub fn qop(&self) -> Qop {
        self.challenge.qop
    }

    /// Goes on with the nonce that the device named (RFC 7616 §3.5).
    pub fn go_on_with(&mut self, nonce: String) {
        if nonce != self.nonce {
            (self.nonce, self.count) = (nonce, 0);
        }
    }

    /// The value of the field Authorization for one request; counts.
    pub fn answer(&mut self, username: &str, password: &Secret, subject: Subject<'_>) -> String {
        self.count = self.count.wrapping_add(1);
        let challenge = &self.challenge;
        let (algorithm, realm) = (challenge.algorithm, challenge.realm.as_str());
        let mut key = algorithm.joined(&[username, realm, password.expose()]);
        if challenge.session {
            key = algorithm.joined(&[&key, &challenge.nonce, &self.client_nonce]);
        }
        let subject_hash = match challenge.qop {
            Qop::AuthInt => {
                let body = algorithm.hex(subject.body.unwrap_or_default());
                algorithm.joined(&[subject.method, subject.uri, &body])
            }
            Qop::None | Qop::Auth => algorithm.joined(&[subject.method, subject.uri]),
        };
        let count = format!("{:08x}", self.count);
        let qop = match challenge.qop {
            Qop::None => None,
            Qop::Auth => Some("auth"),
            Qop::AuthInt => Some("auth-int"),
        };
        let response = match qop {
            None => algorithm.joined(&[&key, &self.nonce, &subject_hash]),
            Some(qop) => algorithm.joined(&[&key, &self.nonce, &count, &self.client_nonce, qop, &subject_hash]),
        };
        let mut answer = String::from("Digest ");
        self.name(&mut answer, username);
        let quoted = [("realm", realm), ("nonce", &self.nonce), ("uri", subject.uri), ("response", &response)];
        quoted.into_iter().for_each(|(name, value)| push_quoted(&mut answer, name, value));
        if qop.is_some() || algorithm != Algorithm::Md5 || challenge.session {
            // Not with the plainest form: devices of RFC 2069 know no such parameter.
            let _ = write!(answer, ", algorithm={}", algorithm.name(challenge.session));
        }
        if let Some(qop) = qop {
            let _ = write!(answer, ", qop={qop}, nc={count}, cnonce=\"{}\"", self.client_nonce);
        } else if challenge.session {
            let _ = write!(answer, ", cnonce=\"{}\"", self.client_nonce);
        }
        if let Some(opaque) = &challenge.opaque {
            push_quoted(&mut answer, "opaque", opaque);
        }
        answer
    }

    /// The user name in the form that fits: hashed when the device wants that, extended when it is not ASCII.
    fn name(&self, answer: &mut String, username: &str) {
        if self.challenge.user_hash {
            let hashed = self.challenge.algorithm.joined(&[username, &self.challenge.realm]);
            let _ = write!(answer, "username=\"{hashed}\", userhash=true");
        } else if username.is_ascii() {
            answer.push_str("username=");
            push_quoted_string(answer, username);
        } else {
            // RFC 8187 §3.2; the hash is over the UTF-8 all the same.
            answer.push_str("username*=UTF-8''");
            answer
                .extend(url::form_urlencoded::byte_serialize(username.as_bytes()).map(|part| part.replace('+', "%20")));
        }
    }
}

fn push_quoted(answer: &mut String, name: &str, value: &str) {
    let _ = write!(answer, ", {name}=");
    push_quoted_string(answer, value);
}

/// RFC 9110 §5.6.4.
fn push_quoted_string(answer: &mut String, value: &str) {
    answer.push('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            answer.push('\\');
        }
        answer.push(c);
    }
    answer.push('"');
}

#[cfg(test)]
#[path = "digest_tests.rs"]
mod tests;
