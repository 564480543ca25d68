//! Who may use the uplink configuration service on the local listener: the accounts of the configuration, by HTTP Digest or
//! WS-UsernameToken (ONVIF Core, Authentication over HTTP and HTTPS).
//!
//! HTTP is looked at first, then WS-Security. Whoever shows nothing gets challenges for MD5 and SHA-256. What needs no
//! authentication gets none. Wrong passwords lock an account for a while ([`lockout`]).

mod lockout;
pub mod username_token;

use std::{
    cell::RefCell,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderValue, StatusCode, header, request::Parts};

use self::{
    lockout::Lockout,
    username_token::{Tokens, UsernameToken},
};
use super::{
    level::classify::Subject,
    soap::{Version, envelope::Envelope, fault::Fault},
    uplink_service::gate::Gate,
};
use crate::{
    base::{
        digest::{Algorithm, Settings, Verdict, Verifier},
        http::{BoxFuture, Response},
        secret::Secret,
    },
    model::{
        access::{Access, AccessClass, Rights},
        user_level::UserLevel,
    },
};

/// Part of every digest; a change would make all clients ask for the password again.
const REALM: &str = "onvif-uplink";
/// How long a nonce may be unused: as long as a person thinks between two requests.
const NONCE_LIFE: Duration = Duration::from_secs(300);

/// The accounts. `find` may block: passwords are read anew each time.
pub trait Accounts: Send + Sync + 'static {
    /// Level and password of an account; `None` if there is none of this name, or its password cannot be read.
    fn find(&self, username: &str) -> Option<(UserLevel, Secret)>;
}

/// The target of a request as it was sent, when its path was changed on the way; a request extension. Digests are of this one.
#[derive(Clone, Debug)]
pub struct Target(pub String);

/// [`Gate`] for the local listener.
pub struct LocalGate(Arc<Shared>);

struct Shared {
    accounts: Arc<dyn Accounts>,
    digest: Verifier,
    tokens: Tokens,
    lockout: Lockout,
}

impl LocalGate {
    /// For these accounts.
    pub fn new(accounts: Arc<dyn Accounts>) -> Self {
        let settings = Settings {
            realm: REALM.to_owned(),
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            qop: true,
            same_uri: true,
            nonce_life: NONCE_LIFE,
        };
        let digest = Verifier::new(settings, []);
        Self(Arc::new(Shared { accounts, digest, tokens: Tokens::default(), lockout: Lockout::default() }))
    }
}

/// What a request shows.
struct Shown {
    authorization: Option<String>,
    method: String,
    target: String,
    token: Option<UsernameToken>,
}

impl Shown {
    fn of(parts: &Parts, envelope: &Envelope<'_>) -> Self {
        let sent = || parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        Self {
            authorization: authorization.map(str::to_owned),
            method: parts.method.to_string(),
            target: parts.extensions.get::<Target>().map_or_else(sent, |target| target.0.clone()),
            token: UsernameToken::of(envelope),
        }
    }
}

/// Why a request is from nobody.
enum Denied {
    /// Challenge.
    Digest { stale: bool, sentence: &'static str },
    /// The token is not taken; a challenge is no help.
    Token(&'static str),
}

impl Shared {
    /// Whose request it is. Blocks while a password is read.
    fn identify(&self, shown: &Shown) -> Result<(String, UserLevel), Denied> {
        let found = RefCell::new(None);
        let password = |user: &str| {
            let (level, secret) = self.accounts.find(user)?;
            if !self.lockout.may_try(user) {
                tracing::warn!(target: "audit", user, "an account is locked after wrong passwords");
                return None;
            }
            found.replace(Some((user.to_owned(), level)));
            Some(secret)
        };
        let verdict = self.digest.verify_by(shown.authorization.as_deref(), &shown.method, &shown.target, password);
        let denied = match verdict {
            Verdict::Granted(_) => None,
            Verdict::Stale => {
                Some((Denied::Digest { stale: true, sentence: "the nonce is not of use any more" }, true))
            }
            Verdict::Refused(sentence) => Some((Denied::Digest { stale: false, sentence }, false)),
            Verdict::Missing => match &shown.token {
                None => Some((Denied::Digest { stale: false, sentence: "this operation needs an account" }, false)),
                Some(token) => self
                    .tokens
                    .verify(token, SystemTime::now(), password)
                    .err()
                    .map(|(sentence, right)| (Denied::Token(sentence), right)),
            },
        };
        let known = found.into_inner();
        if let Some((user, _)) = &known
            && denied.as_ref().is_none_or(|(_, right)| *right)
        {
            self.lockout.right(user);
        } else if let Some((user, _)) = &known {
            tracing::warn!(target: "audit", user, "a wrong password at the local ONVIF listener");
        }
        match (denied, known) {
            (None, Some(known)) => Ok(known),
            (Some((denied, _)), _) => Err(denied),
            (None, None) => Err(Denied::Digest { stale: false, sentence: "this operation needs an account" }),
        }
    }

    fn refusal(&self, denied: &Denied, version: Version) -> Response {
        let (stale, sentence) = match denied {
            Denied::Token(sentence) => return Fault::sender(&["NotAuthorized"], *sentence).response(version),
            Denied::Digest { stale, sentence } => (*stale, *sentence),
        };
        let fault = Fault::sender(&["NotAuthorized"], sentence).with_status(StatusCode::UNAUTHORIZED);
        let mut response = fault.response(version);
        let headers = response.headers_mut();
        headers.remove(header::WWW_AUTHENTICATE);
        for challenge in self.digest.challenges(stale) {
            if let Ok(value) = HeaderValue::try_from(challenge) {
                headers.append(header::WWW_AUTHENTICATE, value);
            }
        }
        response
    }
}

impl Gate for LocalGate {
    fn admit<'a>(
        &'a self,
        parts: &'a Parts,
        envelope: &'a Envelope<'a>,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<(), Box<Response>>> {
        if subject.class == Some(AccessClass::PreAuth) {
            return Box::pin(std::future::ready(Ok(())));
        }
        let (shown, shared) = (Shown::of(parts, envelope), Arc::clone(&self.0));
        Box::pin(async move {
            let identified = tokio::task::spawn_blocking(move || shared.identify(&shown)).await;
            let nobody = Err(Denied::Digest { stale: false, sentence: "reading the accounts was interrupted" });
            match identified.unwrap_or(nobody) {
                Err(denied) => Err(Box::new(self.0.refusal(&denied, envelope.version))),
                Ok((_, level)) if subject.allowed(&Rights::of(std::slice::from_ref(&level), &Access::default())) => {
                    Ok(())
                }
                Ok((user, level)) => {
                    tracing::warn!(target: "audit", user, %level, operation = %subject, "refused at the local ONVIF listener");
                    let sentence = format!("the level {level} of this account does not allow {subject}");
                    Err(Box::new(Fault::sender(&["NotAuthorized"], sentence).response(envelope.version)))
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
