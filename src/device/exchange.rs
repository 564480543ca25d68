//! One request of the remote and the tries that it takes until the device has answered it.
//!
//! Three tries at most: what is known to be wanted, an answer to a challenge, and one more if the nonce was too old. What the
//! device says to an answer of its own fresh challenge counts: then the password is right or wrong. What it says to a
//! guess does not, because nonces end and paths differ.

use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, Request as HttpRequest, StatusCode, header, request::Parts};
use tokio::time::Instant;

use super::{
    account::{Account, Blocked},
    basic,
    challenge::{Offer, next_nonce},
    demand::{Demand, collect, demand},
    digest::{Qop, Session, Subject},
    learned::{Learned, Scheme},
    payload::{Early, Payload, media_type},
    refusal::{self, refusal},
    username_token::{self, ClockOffset},
};
use crate::base::http::{Body, Handler, Informational, Request, Response};

/// Most tries for one request of the remote.
const TRIES_MAX: u32 = 3;
/// Where every ONVIF device has its device service (ONVIF Core, Services overview).
const DEVICE_SERVICE: &str = "/onvif/device_service";
/// Needs credentials on every device, and changes nothing (access class READ_SYSTEM).
const ASK_INFORMATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><s:Envelope \
    xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Body><GetDeviceInformation \
    xmlns=\"http://www.onvif.org/ver10/device/wsdl\"/></s:Body></s:Envelope>";
/// Bodies of this type are RTSP within HTTP, which the device authenticates at the level of RTSP (ONVIF Core).
const RTSP_TUNNELLED: &str = "application/x-rtsp-tunnelled";

/// What was shown in a try.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    /// No credentials.
    Nothing,
    /// What the device was believed to want. A nonce, if it was one.
    Guess(Scheme, Option<String>),
    /// What the device had just asked for.
    Answer(Scheme),
}

/// A request on its way.
pub struct Exchange<'s> {
    account: &'s Account,
    /// Reaches the device.
    inner: &'s dyn Handler,
    parts: Parts,
    payload: Payload,
    shown: Shown,
    /// What the last try showed, ready to be sent.
    authorization: Option<HeaderValue>,
    token: Option<String>,
    /// The newest challenge of this exchange, of nobody else's use until an answer to it has been accepted.
    session: Option<Session>,
    /// A nonce that was guessed and refused, and not as stale.
    refused_guess: Option<String>,
}

impl<'s> Exchange<'s> {
    /// An exchange that has sent nothing yet. `parts` are without what the remote shows.
    pub fn new(account: &'s Account, inner: &'s dyn Handler, parts: Parts, payload: Payload) -> Self {
        let (shown, authorization, token) = (Shown::Nothing, None, None);
        Self { account, inner, parts, payload, shown, authorization, token, session: None, refused_guess: None }
    }

    /// Sends it as often as it takes, and gives the answer for the remote.
    pub async fn run(mut self) -> Response {
        let account = self.account;
        account.refresh().await;
        if let Err(answer) = self.prepare().await {
            return *answer;
        }
        for _ in 0..TRIES_MAX {
            let Some(request) = self.request() else {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                return refusal(self.payload.is_message(), status, refusal::SEND_AGAIN, Some(Duration::ZERO));
            };
            let certain = account.proven() && self.refused_guess.is_none();
            let _turn = if certain || self.shown == Shown::Nothing { None } else { account.turn().await };
            if let (true, Err(blocked)) = (self.shown != Shown::Nothing, account.password()) {
                return self.blocked(blocked);
            }
            let (response, demanded) = demand(self.inner.handle(request).await, self.payload.is_message()).await;
            let Some(demanded) = demanded else { return self.answered(response) };
            if let Err(answer) = self.answer_demand(demanded, response).await {
                return *answer;
            }
        }
        account.not_understood("it takes each of its own nonces for too old");
        refusal(self.payload.is_message(), StatusCode::BAD_GATEWAY, refusal::ALWAYS_STALE, None)
    }

    /// Chooses what is shown in the first try.
    async fn prepare(&mut self) -> Result<(), Early> {
        let account = self.account;
        if account.password().is_err() {
            // What needs no credentials still works, and a request without any is no wrong try.
            return Ok(());
        }
        if self.needs_fresh_nonce()
            && let Some((scheme, asked)) = self.fetch_nonce().await
        {
            return self.show(scheme, asked).await;
        }
        let guess =
            account.learned(|learned| learned.guess(self.parts.uri.path(), self.payload.is_message(), Instant::now()));
        // A guess with a password that nothing has proven could be a second wrong try for one request.
        match guess.filter(|_| account.proven() || !self.payload.can_go_again()) {
            Some(scheme) => self.show(scheme, false).await,
            None => Ok(()),
        }
    }

    /// The device has answered without asking for credentials.
    fn answered(mut self, response: Response) -> Response {
        let account = self.account;
        self.payload.settle();
        self.publish();
        let scheme = match &self.shown {
            Shown::Nothing => return response,
            Shown::Guess(scheme, _) => {
                if account.learned(|learned| learned.knows(self.parts.uri.path(), scheme)) {
                    account.learned(Learned::lasted);
                    account.accepted();
                }
                scheme
            }
            Shown::Answer(scheme) => {
                account.accepted();
                scheme
            }
        };
        let info = response.headers().get("authentication-info").and_then(|info| info.to_str().ok());
        if let (Scheme::Digest(realm), Some(nonce)) = (scheme, info.and_then(next_nonce)) {
            account.learned(|learned| learned.next_nonce(realm, nonce));
        }
        response
    }

    /// The challenge of this exchange has been answered and that was accepted: others may go on with its nonce.
    fn publish(&mut self) {
        if let (Shown::Answer(_), Some(session)) = (&self.shown, self.session.take()) {
            let refused = self.refused_guess.as_deref();
            self.account.learned(|learned| learned.accepted(session, refused, Instant::now()));
        }
    }

    /// Prepares the answer to what the device demands.
    async fn answer_demand(&mut self, demanded: Demand, response: Response) -> Result<(), Early> {
        let account = self.account;
        let stale = demanded.is_stale();
        let scheme = match demanded {
            Demand::Offer(offer) => self.take_up(offer),
            Demand::Token if self.is_known_at_http() => {
                // At the level of HTTP it was content: this is about what the account may do, and the remote's to know.
                account.accepted();
                self.publish();
                return Err(Box::new(response));
            }
            Demand::Token => Scheme::Token,
            Demand::Unknown(what) => {
                account.not_understood(&what);
                return Err(Box::new(refusal(
                    self.payload.is_message(),
                    StatusCode::BAD_GATEWAY,
                    refusal::UNKNOWN,
                    None,
                )));
            }
        };
        account.learned(|learned| learned.learn(self.parts.uri.path(), self.payload.is_message(), &scheme));
        let was_proven = account.proven();
        if self.is_refusal(&scheme, stale).await {
            let pause = account.refused(scheme.name());
            if was_proven && scheme == Scheme::Token {
                // A fault, not a challenge, and the account has worked before: most likely it may not do this.
                return Err(Box::new(response));
            }
            return Err(Box::new(refusal(self.payload.is_message(), StatusCode::BAD_GATEWAY, refusal::REFUSED, pause)));
        }
        if let Err(blocked) = account.password() {
            return Err(Box::new(self.blocked(blocked)));
        }
        self.show(scheme, true).await
    }

    /// Takes a challenge as that of this exchange.
    fn take_up(&mut self, offer: Offer) -> Scheme {
        match offer {
            Offer::Basic => Scheme::Basic,
            Offer::Digest(challenge) => {
                let realm = challenge.realm.clone();
                self.session = Some(Session::new(challenge));
                Scheme::Digest(realm)
            }
        }
    }

    /// Whether the device says with its demand that the credentials of the last try are wrong.
    async fn is_refusal(&mut self, demanded: &Scheme, stale: bool) -> bool {
        match &self.shown {
            Shown::Nothing => false,
            // A guessed nonce may have ended, and a realm may be another one.
            Shown::Guess(Scheme::Digest(_), nonce) => {
                self.refused_guess = nonce.clone().filter(|_| !stale);
                false
            }
            Shown::Guess(Scheme::Token, _) | Shown::Answer(Scheme::Token) if *demanded != Scheme::Token => false,
            Shown::Guess(Scheme::Token, _) | Shown::Answer(Scheme::Token) => !self.clock_was_wrong().await,
            Shown::Guess(Scheme::Basic, _) => *demanded == Scheme::Basic,
            Shown::Answer(_) => !stale,
        }
    }

    /// Whether the last try showed what the device is known to want of this path at the level of HTTP.
    fn is_known_at_http(&self) -> bool {
        match &self.shown {
            Shown::Nothing | Shown::Guess(Scheme::Token, _) | Shown::Answer(Scheme::Token) => false,
            Shown::Guess(scheme, _) => self.account.learned(|learned| learned.knows(self.parts.uri.path(), scheme)),
            Shown::Answer(_) => true,
        }
    }

    /// Makes what is shown in the next try.
    async fn show(&mut self, scheme: Scheme, asked: bool) -> Result<(), Early> {
        let account = self.account;
        let password = account.password().map_err(|blocked| Box::new(self.blocked(blocked)))?;
        (self.authorization, self.token) = (None, None);
        let mut nonce = None;
        match &scheme {
            Scheme::Basic => self.authorization = sensitive(basic::answer(account.username(), &password)),
            Scheme::Token => {
                let clock = self.clock().await;
                let block = username_token::security(account.username(), &password, clock.apply(SystemTime::now()));
                self.token = Some(block);
            }
            Scheme::Digest(realm) => {
                let own = self.session.take().filter(|session| session.realm() == realm);
                let hashes_body = match &own {
                    Some(session) => session.qop() == Qop::AuthInt,
                    None => account.learned(|learned| learned.hashes_body(realm)),
                };
                let body = if hashes_body { Some(self.payload.whole().await?) } else { None };
                let subject = Subject { method: self.method(), uri: self.target(), body: body.as_deref() };
                let login = (account.username(), &password);
                if let Some(mut session) = own {
                    self.authorization = sensitive(session.answer(login.0, login.1, subject));
                    self.session = Some(session);
                } else if let Some((answer, used)) = account.learned(|learned| learned.answer(realm, login, subject)) {
                    (self.authorization, nonce) = (sensitive(answer), Some(used));
                }
            }
        }
        self.shown = if asked { Shown::Answer(scheme) } else { Shown::Guess(scheme, nonce) };
        Ok(())
    }

    /// The request of one try; `None` when its body has gone by.
    fn request(&self) -> Option<Request> {
        let mut parts = self.parts.clone();
        if let Some(authorization) = &self.authorization {
            parts.headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        self.payload.request(parts, self.token.as_deref())
    }

    /// The method that the device sees: an extended CONNECT becomes a GET with Upgrade (RFC 8441 §5).
    fn method(&self) -> &str {
        if self.parts.method == Method::CONNECT { "GET" } else { self.parts.method.as_str() }
    }

    /// The request target that the device sees.
    fn target(&self) -> &str {
        let asterisk = if self.parts.method == Method::OPTIONS { "*" } else { "/" };
        self.parts.uri.path_and_query().map_or(asterisk, http::uri::PathAndQuery::as_str)
    }

    fn blocked(&self, blocked: Blocked) -> Response {
        let (sentence, pause) = match blocked {
            Blocked::Refused(pause) => (refusal::REFUSED, Some(pause)),
            Blocked::Unreadable => (refusal::UNREADABLE, None),
        };
        refusal(self.payload.is_message(), StatusCode::BAD_GATEWAY, sentence, pause)
    }

    fn needs_fresh_nonce(&self) -> bool {
        let tunnelled = media_type(&self.parts.headers).eq_ignore_ascii_case(RTSP_TUNNELLED);
        !self.payload.can_go_again() && !tunnelled && self.parts.method != Method::CONNECT
    }

    /// Asks for the same path without a body and without credentials, which has no effect (RFC 9110 §9.3.2), for what the
    /// device says of the credentials that it wants: a nonce that nothing has used. A path that knows no HEAD says nothing of
    /// them; then the device service is asked. Gives the scheme, and whether this very path asked for it.
    async fn fetch_nonce(&mut self) -> Option<(Scheme, bool)> {
        let mut parts = self.parts.clone();
        parts.method = Method::HEAD;
        for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::EXPECT, header::TRAILER] {
            parts.headers.remove(name);
        }
        parts.extensions.remove::<Informational>();
        let response = self.inner.handle(Request::from_parts(parts, Body::empty())).await;
        if let (_, Some(Demand::Offer(offer))) = demand(response, false).await {
            let scheme = self.take_up(offer);
            self.account.learned(|learned| learned.learn(self.parts.uri.path(), false, &scheme));
            return Some((scheme, true));
        }
        let response = self.inner.handle(to_device_service(ASK_INFORMATION)?).await;
        let (_, Some(Demand::Offer(offer))) = demand(response, true).await else { return None };
        Some((self.take_up(offer), false))
    }

    /// How far the device's clock is from ours; asked once, then known.
    async fn clock(&self) -> ClockOffset {
        match self.account.learned(|learned| learned.clock) {
            Some(clock) => clock,
            None => {
                let clock = self.measure_clock().await.unwrap_or_default();
                // A device that does not tell its time is not asked each time; a refusal asks it again.
                self.account.learned(|learned| *learned.clock.get_or_insert(clock))
            }
        }
    }

    /// Asks for the time anew. Whether it is so different that it explains a refusal.
    async fn clock_was_wrong(&self) -> bool {
        let before = self.clock().await;
        self.measure_clock().await.is_some_and(|now| now.differs(before))
    }

    async fn measure_clock(&self) -> Option<ClockOffset> {
        let response = self.inner.handle(to_device_service(username_token::ASK_TIME)?).await;
        let ours = SystemTime::now();
        let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        let told = collect(response.into_body()).await.and_then(|answer| username_token::read_time(&answer));
        // A device that does not tell its time says it in the head of most answers.
        let theirs = told.or_else(|| crate::base::clock::http_date(&date?))?;
        let clock = ClockOffset::between(theirs, ours);
        self.account.learned(|learned| learned.clock = Some(clock));
        Some(clock)
    }
}

/// A message of our own.
fn to_device_service(message: &'static str) -> Option<Request> {
    HttpRequest::post(DEVICE_SERVICE)
        .header(header::CONTENT_TYPE, "application/soap+xml; charset=utf-8")
        .body(Body::full(message))
        .ok()
}

fn sensitive(value: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some(value)
}
