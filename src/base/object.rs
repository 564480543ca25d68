//! One object of the Kubernetes API, watched: list and watch by its name, so that a Role for this one name is enough.
//!
//! kube's watcher does the protocol. What is added here: deadlines where it has none, one watch anew after each trouble (so that
//! the end of the trouble is seen), patience with short outages, and sentences that say what to mend.

use std::{fmt::Debug, time::Duration};

use futures_util::{StreamExt, stream::BoxStream};
use kube::{
    Api, Resource, ResourceExt,
    core::Status,
    runtime::watcher::{self, DefaultBackoff, Event},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until, timeout_at};

/// An idle watch is ended by the server after this many seconds and begun anew, which finds dead peers.
pub const WATCH_SECONDS: u32 = 60;
/// The list of one object must be there within this time.
const LIST_MAX: Duration = Duration::from_secs(15);
/// An API server that restarts is away for seconds; only a longer outage is told.
const PATIENCE: Duration = Duration::from_secs(10);
/// A watch that could not be begun before counts as standing when nothing went wrong for this long.
const STANDS_AFTER: Duration = Duration::from_secs(3);
/// Longest part of a sentence that comes from the server.
const MESSAGE_MAX: usize = 300;

/// Why the object is not known now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// 403: a Role lacks a rule. With what the server says.
    Forbidden(String),
    /// 401: the token is not taken.
    Unauthorized,
    /// Any other answer that is no success.
    Answered(u16, String),
    /// No answer within the deadline.
    Silent,
    /// No connection, or it broke.
    Unreachable(String),
}

impl Trouble {
    /// Whether time alone may mend it.
    fn may_pass(&self) -> bool {
        match self {
            Self::Forbidden(_) | Self::Unauthorized => false,
            Self::Answered(code, _) => matches!(code, 408 | 429 | 500..),
            Self::Silent | Self::Unreachable(_) => true,
        }
    }

    /// Equal for what is one trouble, whatever its words.
    fn kind(&self) -> (u8, u16) {
        match self {
            Self::Forbidden(_) => (0, 403),
            Self::Unauthorized => (0, 401),
            Self::Answered(code, _) => (0, *code),
            // A server that is away refuses, cuts and keeps silent in turns.
            Self::Silent | Self::Unreachable(_) => (1, 0),
        }
    }

    /// A sentence that names the mend, for the object `name` of the resource (`configmaps`) in the namespace.
    pub fn sentence(&self, resource: &str, name: &str, namespace: &str) -> String {
        match self {
            Self::Forbidden(message) => format!(
                "the API server forbids it ({message}); the Role of the pod's service account in the namespace {namespace} \
                 needs the rule {{apiGroups: [\"\"], resources: [{resource}], resourceNames: [{name}], verbs: [get, list, watch]}}"
            ),
            Self::Unauthorized => {
                "the API server does not accept the service account's token (401); see whether the token \
                 is mounted and the service account exists"
                    .to_owned()
            }
            Self::Answered(429, _) => {
                "the API server has too many requests (429); it is asked again at growing intervals".to_owned()
            }
            Self::Answered(code, message) => {
                format!("the API server answered {code} ({message}); it is asked again at growing intervals")
            }
            Self::Silent => format!(
                "the API server did not answer within {} s; it is asked again at growing intervals",
                LIST_MAX.as_secs()
            ),
            Self::Unreachable(reason) => {
                format!("the API server cannot be reached ({reason}); it is dialed again at growing intervals")
            }
        }
    }
}

/// Follows one object.
pub struct ObjectWatch<K> {
    api: Api<K>,
    name: String,
    events: Option<BoxStream<'static, watcher::Result<Event<K>>>>,
    /// While a list is under way: when it must be there.
    listing_until: Option<Instant>,
    /// Whether the list that is under way has the object.
    seen: bool,
    backoff: DefaultBackoff,
    retry_at: Option<Instant>,
    failing_since: Option<Instant>,
    /// What was told last, if it was a trouble.
    trouble: Option<(u8, u16)>,
    /// Version of the object that was told last; `Some(None)` if it was that there is none.
    version: Option<Option<String>>,
    /// The watch could not be begun: what a list says is no proof that the trouble is over.
    doubt: bool,
    /// What a list said while in doubt, and until when it is held back.
    held: Option<(Instant, Option<K>)>,
}

impl<K> ObjectWatch<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Follows the object of this name within the namespace of `api`. Nothing is dialed before [`Self::next`].
    pub fn new(api: Api<K>, name: impl Into<String>) -> Self {
        Self {
            api,
            name: name.into(),
            events: None,
            listing_until: None,
            seen: false,
            backoff: DefaultBackoff::default(),
            retry_at: None,
            failing_since: None,
            trouble: None,
            version: None,
            doubt: false,
            held: None,
        }
    }

    /// Lists anew at the next [`Self::next`], without waiting for the end of a backoff.
    pub fn look(&mut self) {
        (self.events, self.listing_until, self.retry_at, self.held) = (None, None, None, None);
    }

    /// What the object is: first as it is, then whenever it may have changed; `None` while there is none. The same may be told
    /// twice. Cancel safe: a cancelled wait loses nothing.
    ///
    /// # Errors
    /// A trouble, told once until it is over or another one; its end tells the object again.
    pub async fn next(&mut self) -> Result<Option<K>, Trouble> {
        loop {
            if let Some(at) = self.retry_at {
                sleep_until(at).await;
                self.retry_at = None;
            }
            match self.event().await {
                Told::Object(object) => return Ok(object),
                Told::Trouble(trouble) => return Err(trouble),
                Told::Nothing => {}
            }
        }
    }

    /// One event of the watcher, or the end of a wait for one.
    async fn event(&mut self) -> Told<K> {
        let Self { events, api, name, listing_until, held, .. } = self;
        let events = events.get_or_insert_with(|| {
            let config = watcher::Config::default().fields(&format!("metadata.name={name}")).timeout(WATCH_SECONDS);
            *listing_until = Some(Instant::now() + LIST_MAX);
            watcher::watcher(api.clone(), config).boxed()
        });
        let deadline = listing_until.or(held.as_ref().map(|(until, _)| *until));
        let event = match deadline {
            Some(deadline) => timeout_at(deadline, events.next()).await,
            None => Ok(events.next().await),
        };
        match event {
            Ok(Some(Ok(event))) => self.good(event),
            Ok(Some(Err(error))) => self.failed(&error),
            // The watcher goes on for ever; if it did not, a new one would.
            Ok(None) => self.troubled(Trouble::Unreachable("the watch ended".to_owned())),
            Err(_) => match self.held.take() {
                Some((_, object)) => self.told(object),
                None => self.troubled(Trouble::Silent),
            },
        }
    }

    fn good(&mut self, event: Event<K>) -> Told<K> {
        match event {
            Event::Init => {
                self.seen = false;
                Told::Nothing
            }
            Event::InitApply(object) => {
                self.seen = true;
                self.listed(Some(object))
            }
            Event::InitDone => {
                self.listing_until = None;
                if self.seen { Told::Nothing } else { self.listed(None) }
            }
            Event::Apply(object) => self.told(Some(object)),
            Event::Delete(_) => self.told(None),
        }
    }

    /// What a list says is told at once, unless the watch after it could not be begun before and there is nothing new.
    fn listed(&mut self, object: Option<K>) -> Told<K> {
        if self.doubt && self.version.as_ref() == Some(&version(object.as_ref())) {
            self.held = Some((Instant::now() + STANDS_AFTER, object));
            return Told::Nothing;
        }
        self.told(object)
    }

    fn told(&mut self, object: Option<K>) -> Told<K> {
        self.version = Some(version(object.as_ref()));
        (self.failing_since, self.trouble, self.doubt, self.held) = (None, None, false, None);
        Told::Object(object)
    }

    fn failed(&mut self, error: &watcher::Error) -> Told<K> {
        let trouble = match error {
            watcher::Error::InitialListFailed(error) | watcher::Error::WatchFailed(error) => trouble_of(error),
            watcher::Error::WatchStartFailed(error) => {
                self.doubt = true;
                trouble_of(error)
            }
            watcher::Error::WatchError(status) => answered(status),
            watcher::Error::NoResourceVersion => Trouble::Answered(200, "a list without resourceVersion".to_owned()),
        };
        self.troubled(trouble)
    }

    /// Begins anew after a while. 410 only says that the history is gone: the list has it all.
    fn troubled(&mut self, trouble: Trouble) -> Told<K> {
        let now = Instant::now();
        self.look();
        self.retry_at = Some(now + self.backoff.next().unwrap_or(LIST_MAX));
        if matches!(trouble, Trouble::Answered(410, _)) {
            return Told::Nothing;
        }
        let since = *self.failing_since.get_or_insert(now);
        let patient = self.version.is_some() && trouble.may_pass() && now - since < PATIENCE;
        if patient || self.trouble == Some(trouble.kind()) {
            return Told::Nothing;
        }
        self.trouble = Some(trouble.kind());
        Told::Trouble(trouble)
    }
}

/// What came of one event.
enum Told<K> {
    Object(Option<K>),
    Trouble(Trouble),
    Nothing,
}

fn version<K: Resource>(object: Option<&K>) -> Option<String> {
    object.and_then(ResourceExt::resource_version)
}

fn answered(status: &Status) -> Trouble {
    let message = match (&*status.message, &*status.reason) {
        ("", reason) => reason,
        (message, _) => message,
    };
    let message: String = message.chars().filter(|c| !c.is_control()).take(MESSAGE_MAX).collect();
    match status.code {
        401 => Trouble::Unauthorized,
        403 => Trouble::Forbidden(message),
        code => Trouble::Answered(code, message),
    }
}

/// What an error of the client means; no call of this program can be wrong by itself, so the rest is a matter of the connection.
pub fn trouble_of(error: &kube::Error) -> Trouble {
    if let kube::Error::Api(status) = error {
        return answered(status);
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Trouble::Unreachable(cause.to_string().chars().take(MESSAGE_MAX).collect())
}

#[cfg(test)]
#[path = "object_tests.rs"]
mod tests;
