//! Credentials in RTSP (RFC 2326 §14; ONVIF Streaming: the device authenticates RTSP, not the HTTP that carries it).
//!
//! One conversation: what the remote shows is taken out, the device's 401 is answered with our account by the same request
//! under another CSeq, and the remote sees only the answer to that, under its own CSeq. As long as no 401 came, the numbers of
//! both sides are the same and a message differs in its Authorization only. Pure: messages in, messages out.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    account::Account,
    basic,
    challenge::{Offer, best, next_nonce},
    digest::{Session, Subject},
    learned::Scheme,
};
use crate::base::{
    http::BoxFuture,
    mediator::{Mediator, Mediators, Passed},
    rtsp::{Kind, Message},
};

/// Requests that may wait for their answers. Players send one after the other; some send their SETUPs together. Some devices
/// leave requests without an answer: the oldest are forgotten.
const PENDING_MAX: usize = 32;
/// The same in bytes, beside the newest one.
const PENDING_BYTES_MAX: usize = 128 * 1024;
/// Tries for one request: without, with an answer, and with another one if the nonce was too old.
const TRIES_MAX: u32 = 3;
/// Fields of the device that are about credentials.
const ABOUT_CREDENTIALS: [&str; 4] =
    ["WWW-Authenticate", "Proxy-Authenticate", "Authentication-Info", "Proxy-Authentication-Info"];

/// The mediators of one uplink.
pub struct Conversations {
    account: Arc<Account>,
}

impl Conversations {
    /// Mediators that show `account`.
    pub fn new(account: Arc<Account>) -> Self {
        Self { account }
    }
}

impl Mediators for Conversations {
    fn conversation(&self) -> BoxFuture<'static, Box<dyn Mediator>> {
        let account = Arc::clone(&self.account);
        Box::pin(async move {
            account.refresh().await;
            // Players that come together must not be so many wrong tries.
            let unproven = !account.proven() && account.password().is_ok();
            let turn = if unproven { account.turn().await.filter(|_| !account.proven()) } else { None };
            let conversation = Conversation { account, next: None, shown: None, pending: VecDeque::new(), turn };
            Box::new(conversation) as Box<dyn Mediator>
        })
    }
}

/// How this conversation shows the account, once the device has asked for it.
enum Way {
    Digest(Session),
    Basic,
}

impl Way {
    fn name(&self) -> &'static str {
        match self {
            Self::Digest(session) => Scheme::Digest(session.realm().to_owned()).name(),
            Self::Basic => Scheme::Basic.name(),
        }
    }
}

/// A request that the device has not answered.
struct Pending {
    /// CSeq towards the device.
    ours: u32,
    /// CSeq of the remote as it was written, if there was one.
    theirs: Option<String>,
    /// As the remote sent it, without what it showed.
    request: Message,
    tries: u32,
    /// Whether the last try answered a challenge that came for this very request.
    asked: bool,
}

/// One conversation between a remote and the device.
struct Conversation {
    account: Arc<Account>,
    /// The next number towards the device; the first one is the remote's.
    next: Option<u32>,
    shown: Option<Way>,
    pending: VecDeque<Pending>,
    /// The right to try a password that nothing has proven, until the device has said what it thinks of it.
    turn: Option<OwnedSemaphorePermit>,
}

impl Mediator for Conversation {
    fn remote_says(&mut self, mut message: Message) -> Passed {
        if let Kind::Response { .. } = message.kind() {
            // To a request of the device, which has numbers of its own.
            return Passed::to_device(message);
        }
        message.remove_field("Authorization");
        message.remove_field("Proxy-Authorization");
        let theirs = message.field("CSeq").map(str::to_owned);
        let pending = Pending { ours: 0, theirs, request: message, tries: 0, asked: false };
        self.send(pending)
    }

    fn device_says(&mut self, mut message: Message) -> Passed {
        let Kind::Response { status } = message.kind() else { return Passed::to_remote(message) };
        let number = message.field("CSeq").and_then(|number| number.parse::<u32>().ok());
        let place = self.pending.iter().position(|pending| Some(pending.ours) == number);
        let Some(pending) = place.and_then(|place| self.pending.remove(place)) else {
            hide(&mut message);
            return Passed::to_remote(message);
        };
        if status == 401 {
            let passed = self.challenged(pending, &message);
            if passed.to_device.is_none() {
                self.turn = None;
            }
            return passed;
        }
        if pending.asked {
            self.account.accepted();
        }
        // OPTIONS needs no credentials on most devices, so it says nothing.
        if pending.asked || !matches!(pending.request.kind(), Kind::Request { method: "OPTIONS", .. }) {
            self.turn = None;
        }
        if let (Some(Way::Digest(session)), Some(nonce)) =
            (&mut self.shown, message.field("Authentication-Info").and_then(next_nonce))
        {
            session.go_on_with(nonce);
        }
        hide(&mut message);
        match &pending.theirs {
            Some(theirs) if message.field("CSeq") != Some(theirs) => message.set_field("CSeq", theirs),
            Some(_) => {}
            None => {
                message.remove_field("CSeq");
            }
        }
        Passed::to_remote(message)
    }
}

impl Conversation {
    /// Sends a request under the next number, with credentials if the device has asked for some.
    fn send(&mut self, mut pending: Pending) -> Passed {
        let written = pending.theirs.as_deref().and_then(|theirs| theirs.parse().ok());
        pending.ours = match (self.next, written) {
            (None, first) => first.unwrap_or(1),
            // A remote that jumps ahead is followed, so that the numbers stay the same where they can.
            (Some(next), Some(theirs)) if pending.tries == 0 && theirs > next => theirs,
            (Some(next), _) => next,
        };
        self.next = Some(pending.ours.wrapping_add(1));
        pending.tries += 1;
        let mut message = pending.request.clone();
        let number = pending.ours.to_string();
        if message.field("CSeq") != Some(&number) {
            message.set_field("CSeq", &number);
        }
        if let Some(authorization) = self.authorization(&pending.request) {
            message.set_field("Authorization", &authorization);
        }
        let mut held: usize = self.pending.iter().map(|pending| pending.request.length()).sum();
        while self.pending.len() >= PENDING_MAX || held > PENDING_BYTES_MAX {
            let Some(forgotten) = self.pending.pop_front() else { break };
            held -= forgotten.request.length();
        }
        self.pending.push_back(pending);
        Passed::to_device(message)
    }

    fn authorization(&mut self, request: &Message) -> Option<String> {
        let Kind::Request { method, uri } = request.kind() else { return None };
        let way = self.shown.as_mut()?;
        let password = self.account.password().ok()?;
        let subject = Subject { method, uri, body: Some(request.body()) };
        Some(match way {
            Way::Digest(session) => session.answer(self.account.username(), &password, subject),
            Way::Basic => basic::answer(self.account.username(), &password),
        })
    }

    /// The device asks for credentials.
    fn challenged(&mut self, mut pending: Pending, message: &Message) -> Passed {
        let values: Vec<&str> = message.fields("WWW-Authenticate").collect();
        let theirs = pending.theirs.clone();
        let bad_gateway = || Passed::to_remote(own_answer(502, "Bad Gateway", theirs.as_deref()));
        let Some(offer) = best(values.iter().copied()) else {
            self.account.not_understood("its RTSP server sent a 401 without a challenge that can be answered");
            return bad_gateway();
        };
        let stale = matches!(&offer, Offer::Digest(challenge) if challenge.stale);
        if pending.asked && !stale {
            let name = self.shown.take().as_ref().map_or("RTSP", Way::name);
            self.account.refused(name);
            return bad_gateway();
        }
        if pending.tries >= TRIES_MAX || self.account.password().is_err() {
            return bad_gateway();
        }
        self.shown = match (self.shown.take(), offer) {
            // Requests that were sent together meet the same nonce; its counter goes on.
            (Some(Way::Digest(session)), Offer::Digest(challenge)) if session.nonce() == challenge.nonce => {
                Some(Way::Digest(session))
            }
            (_, Offer::Digest(challenge)) => Some(Way::Digest(Session::new(challenge))),
            (_, Offer::Basic) => Some(Way::Basic),
        };
        pending.asked = true;
        self.send(pending)
    }
}

/// Takes out what the device says of credentials.
fn hide(message: &mut Message) {
    for name in ABOUT_CREDENTIALS {
        message.remove_field(name);
    }
}

/// An answer in place of the device's.
fn own_answer(status: u16, reason: &str, theirs: Option<&str>) -> Message {
    let mut answer = Message::response(status, reason);
    if let Some(theirs) = theirs {
        answer.add_field("CSeq", theirs);
    }
    answer
}

#[cfg(test)]
#[path = "rtsp_tests.rs"]
mod tests;
