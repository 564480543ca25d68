//! One object of the Kubernetes API, watched: list and watch by its name, so that a Role for this one name is enough.
//!
//! kube's watcher does the protocol. What is added here: deadlines where it has none, one watch anew after each trouble (so that
//! the end of the trouble is seen), patience with short outages, and sentences that say what to mend.

use std::{fmt::Debug, time::Duration};

use futures_util::{StreamExt, stream::BoxStream};
use kube::{
    Api, Resource, ResourceExt,
    runtime::watcher::{self, DefaultBackoff, Event},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{random::random, trouble::Trouble};

/// An idle watch is ended by the server after at most this many seconds and begun anew. Dead peers are found earlier: a bookmark comes
/// each minute, and the client bears no longer silence.
pub const WATCH_SECONDS: u32 = 290;
/// By so many seconds less at most, by chance: pods that were started together do not come back together.
pub const WATCH_SPREAD: u32 = 60;
/// The list of one object must be there within this time.
const LIST_MAX: Duration = Duration::from_secs(15);
/// An API server that restarts is away for seconds; only a longer outage is told.
const PATIENCE: Duration = Duration::from_secs(10);
/// A watch that could not be begun before counts as standing when nothing went wrong for this long.
const STANDS_AFTER: Duration = Duration::from_secs(3);

/// Equal for what is one trouble, whatever its words.
fn kind(trouble: &Trouble) -> (u8, u16) {
    match trouble {
        Trouble::Forbidden(_) => (0, 403),
        Trouble::Unauthorized => (0, 401),
        Trouble::Answered(code, _) => (0, *code),
        // A server that is away refuses, cuts and keeps silent in turns.
        Trouble::Silent(_) | Trouble::Unreachable(_) => (1, 0),
    }
}

/// The sentence of a watch's trouble, for the object `name` of the resource (`configmaps`) in the namespace.
pub fn sentence(trouble: &Trouble, resource: &str, name: &str, namespace: &str) -> String {
    let rule =
        format!("apiGroups: [\"\"], resources: [{resource}], resourceNames: [{name}], verbs: [get, list, watch]");
    let sentence = trouble.sentence(&rule, namespace);
    if trouble.may_pass() { format!("{sentence}; it is asked again at growing intervals") } else { sentence }
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
            let seconds = WATCH_SECONDS - u32::from_le_bytes(random()) % (WATCH_SPREAD + 1);
            let config = watcher::Config::default().fields(&format!("metadata.name={name}")).timeout(seconds);
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
                None => self.troubled(Trouble::Silent(LIST_MAX)),
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
            watcher::Error::InitialListFailed(error) | watcher::Error::WatchFailed(error) => Trouble::of(error),
            watcher::Error::WatchStartFailed(error) => {
                self.doubt = true;
                Trouble::of(error)
            }
            watcher::Error::WatchError(status) => Trouble::answered(status),
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
        if patient || self.trouble == Some(kind(&trouble)) {
            return Told::Nothing;
        }
        self.trouble = Some(kind(&trouble));
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

#[cfg(test)]
#[path = "object_tests.rs"]
mod tests;
