//! What is known of the ways in which a device wants credentials: which scheme on which path, and the nonces in use.
//!
//! Cameras differ by path: UsernameToken for their services, Digest for pictures, another realm for the web pages. What a
//! path wanted last is remembered for it, and is the first guess for others of its kind. Everything is bounded; what is
//! forgotten is learned again by one more exchange.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::{
    digest::{Qop, Session, Subject},
    username_token::ClockOffset,
};
use crate::base::secret::Secret;

/// Paths that are remembered. A camera has some ten services and pictures.
const PATHS_MAX: usize = 128;
/// Protection spaces whose nonces are remembered. Cameras have one or two.
const REALMS_MAX: usize = 8;
/// After so many nonces in a row that were good for one request only, the next requests ask for theirs.
const SPOILED_MAX: u32 = 2;
/// For so long; then the device may have been set otherwise.
const SPOILED_FOR: Duration = Duration::from_secs(300);

/// A way to show credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP Digest in this realm.
    Digest(String),
    /// HTTP Basic.
    Basic,
    /// WS-Security UsernameToken.
    Token,
}

impl Scheme {
    /// For people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Digest(_) => "HTTP Digest",
            Self::Basic => "HTTP Basic",
            Self::Token => "WS-Security UsernameToken",
        }
    }
}

/// What was learned from a device, with one account.
#[derive(Debug, Default)]
pub struct Learned {
    paths: HashMap<String, Scheme>,
    /// What a SOAP message wanted last, on whatever path.
    message: Option<Scheme>,
    /// What a request wanted last at the level of HTTP.
    http: Option<Scheme>,
    sessions: Vec<Session>,
    spoiled: u32,
    spoiled_until: Option<Instant>,
    /// How far the device's clock is from ours, once it was needed.
    pub clock: Option<ClockOffset>,
}

impl Learned {
    /// What to show before being asked; `soap` for a SOAP message. `None`: nothing is known, or nonces do not last.
    pub fn guess(&self, path: &str, soap: bool, now: Instant) -> Option<Scheme> {
        let of_kind = if soap { self.message.as_ref().or(self.http.as_ref()) } else { self.http.as_ref() };
        let scheme = self.paths.get(path).or(of_kind).filter(|scheme| soap || **scheme != Scheme::Token)?;
        match scheme {
            Scheme::Digest(_) if self.spoiled_until.is_some_and(|until| now < until) => None,
            Scheme::Digest(realm) => self.session(realm).map(|_| scheme.clone()),
            Scheme::Basic | Scheme::Token => Some(scheme.clone()),
        }
    }

    /// Whether the device is known to want this on this path.
    pub fn knows(&self, path: &str, scheme: &Scheme) -> bool {
        self.paths.get(path) == Some(scheme)
    }

    /// Takes over what the device asked for on a path.
    pub fn learn(&mut self, path: &str, soap: bool, scheme: &Scheme) {
        if self.paths.len() >= PATHS_MAX && !self.paths.contains_key(path) {
            self.paths.clear();
        }
        self.paths.insert(path.to_owned(), scheme.clone());
        if soap {
            self.message = Some(scheme.clone());
        }
        if *scheme != Scheme::Token {
            self.http = Some(scheme.clone());
        }
    }

    /// Takes over nonces whose first answer the device has accepted; before, nobody else may use them, because some devices
    /// take each nonce once. `refused` is a nonce that was shown unasked and refused, and not as stale.
    pub fn accepted(&mut self, session: Session, refused: Option<&str>, now: Instant) {
        let current = self.session(session.realm()).map(Session::nonce);
        // Of many requests that met the end of one nonce, the first one counts.
        if refused.is_some() && current == refused {
            self.spoiled += 1;
            if self.spoiled >= SPOILED_MAX {
                (self.spoiled, self.spoiled_until) = (0, Some(now + SPOILED_FOR));
            }
        }
        self.sessions.retain(|known| known.realm() != session.realm());
        if self.sessions.len() >= REALMS_MAX {
            self.sessions.remove(0);
        }
        self.sessions.push(session);
    }

    /// The nonces of a realm.
    fn session(&self, realm: &str) -> Option<&Session> {
        self.sessions.iter().find(|session| session.realm() == realm)
    }

    /// Whether answers in this realm hash the body.
    pub fn hashes_body(&self, realm: &str) -> bool {
        self.session(realm).is_some_and(|session| session.qop() == Qop::AuthInt)
    }

    /// The field Authorization for a request, and the nonce that it uses. `None` when the realm has been forgotten.
    pub fn answer(
        &mut self,
        realm: &str,
        (username, password): (&str, &Secret),
        subject: Subject<'_>,
    ) -> Option<(String, String)> {
        let session = self.sessions.iter_mut().find(|session| session.realm() == realm)?;
        Some((session.answer(username, password, subject), session.nonce().to_owned()))
    }

    /// The device named the nonce that it wants next.
    pub fn next_nonce(&mut self, realm: &str, nonce: String) {
        if let Some(session) = self.sessions.iter_mut().find(|session| session.realm() == realm) {
            session.go_on_with(nonce);
        }
    }

    /// A nonce was good a second time.
    pub fn lasted(&mut self) {
        self.spoiled = 0;
    }

    /// Forgets nonces, because they were answered with another password; what is wanted where stays known.
    pub fn forget_nonces(&mut self) {
        self.sessions.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::challenge::{Offer, best};

    fn session(realm: &str, nonce: &str) -> Session {
        let list = format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\"");
        match best([list.as_str()].into_iter()) {
            Some(Offer::Digest(challenge)) => Session::new(challenge),
            other => panic!("{other:?}"),
        }
    }

    fn realm(name: &str) -> Scheme {
        Scheme::Digest(name.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn each_path_has_its_own_scheme_and_others_of_its_kind_begin_with_the_last_one() {
        let (mut learned, now) = (Learned::default(), Instant::now());
        assert_eq!(learned.guess("/onvif/device_service", true, now), None);
        learned.learn("/onvif/device_service", true, &Scheme::Token);
        learned.learn("/snapshot", false, &realm("pictures"));
        assert_eq!(learned.guess("/snapshot", false, now), None, "no nonce of it has been accepted");
        learned.accepted(session("pictures", "1"), None, now);
        assert_eq!(learned.guess("/onvif/device_service", true, now), Some(Scheme::Token));
        assert_eq!(learned.guess("/onvif/media", true, now), Some(Scheme::Token));
        assert_eq!(learned.guess("/snapshot", false, now), Some(realm("pictures")));
        assert_eq!(learned.guess("/other", false, now), Some(realm("pictures")));
        assert_eq!(learned.guess("/onvif/device_service", false, now), None, "a token has no place in a GET");
        learned.learn("/web", false, &Scheme::Basic);
        assert_eq!(learned.guess("/snapshot", false, now), Some(realm("pictures")));
        assert!(learned.knows("/web", &Scheme::Basic) && !learned.knows("/other", &Scheme::Basic));
    }

    #[tokio::test(start_paused = true)]
    async fn nonces_that_are_good_once_are_not_shown_unasked_for_a_while() {
        let (mut learned, now) = (Learned::default(), Instant::now());
        learned.learn("/a", false, &realm("r"));
        learned.accepted(session("r", "1"), None, now);
        learned.accepted(session("r", "2"), Some("1"), now);
        learned.accepted(session("r", "3"), Some("1"), now);
        assert_eq!(learned.guess("/a", false, now), Some(realm("r")), "the end of one nonce, met twice");
        learned.lasted();
        learned.accepted(session("r", "4"), Some("3"), now);
        assert_eq!(learned.guess("/a", false, now), Some(realm("r")));
        learned.accepted(session("r", "5"), Some("4"), now);
        assert_eq!(learned.guess("/a", false, now), None);
        assert_eq!(learned.guess("/a", false, now + SPOILED_FOR), Some(realm("r")));
    }

    #[tokio::test(start_paused = true)]
    async fn paths_and_realms_are_bounded_and_forgotten_nonces_are_no_guess() {
        let (mut learned, now) = (Learned::default(), Instant::now());
        for number in 0..=PATHS_MAX {
            let name = format!("realm {number}");
            learned.learn(&format!("/{number}"), false, &realm(&name));
            learned.accepted(session(&name, "n"), None, now);
        }
        assert!(learned.paths.len() <= PATHS_MAX && learned.sessions.len() == REALMS_MAX);
        assert_eq!(learned.guess("/0", false, now), Some(realm(&format!("realm {PATHS_MAX}"))));
        learned.forget_nonces();
        assert_eq!(learned.guess("/0", false, now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_goes_on_with_the_nonce_that_the_device_named() {
        let mut learned = Learned::default();
        learned.accepted(session("r", "first"), None, Instant::now());
        let subject = Subject { method: "GET", uri: "/a", body: None };
        let secret = Secret::new("p");
        assert_eq!(learned.answer("r", ("u", &secret), subject).expect("known").1, "first");
        learned.next_nonce("r", "second".to_owned());
        learned.next_nonce("elsewhere", "third".to_owned());
        assert_eq!(learned.answer("r", ("u", &secret), subject).expect("known").1, "second");
        assert!(learned.answer("elsewhere", ("u", &secret), subject).is_none());
    }
}
