//! Events on the pod: what `kubectl describe pod` shows of the uplinks and of the configuration.
//!
//! Never more than a help: paced, each call within a deadline, trouble logged once and without any effect on uplinks. Repeats of
//! the same sentence become one Event with a count.

use std::{
    convert::Infallible,
    hash::{DefaultHasher, Hash, Hasher},
    mem::{Discriminant, discriminant},
    time::{Duration, SystemTime},
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    notices::{Notice, Observer},
    pace::{Next, Pace},
};
use crate::{
    base::{
        backoff::Backoff,
        call::{Purpose, Writes, bounded},
        trouble::Trouble,
    },
    model::{pod::Pod, status::StatusBoard},
};

/// Who writes the Events.
const CONTROLLER: &str = "onvif-uplink";
/// Longest note, bytes; the API takes no longer one.
pub const NOTE_MAX: usize = 1024;
/// What changes together is looked at once.
const SETTLE: Duration = Duration::from_millis(200);
/// Ends of certificates come near without any change of the board.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// The right that is needed.
const RULE: &str = "apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]";

/// Writes Events on one pod.
pub struct Events {
    recorder: Recorder,
    pod: Pod,
    observer: Observer,
    pace: Pace,
    backoff: Backoff,
    writes: Writes,
    /// What was logged last, while it lasts.
    trouble: Option<Discriminant<Trouble>>,
}

impl Events {
    /// Events on this pod, counted by `writes`. Nothing is dialed before [`Self::follow`].
    pub fn new(client: Client, pod: Pod, writes: Writes) -> Self {
        let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: Some(pod.name.clone()) };
        Self {
            recorder: Recorder::new(client, reporter),
            backoff: Backoff::new(&pod.uid),
            pod,
            observer: Observer::default(),
            pace: Pace::new(Instant::now()),
            writes,
            trouble: None,
        }
    }

    /// Says what becomes of the board. Never ends by itself. Cancel safe: what was not said is lost.
    pub async fn follow(mut self, board: &StatusBoard) -> Infallible {
        let mut changes = board.watch();
        loop {
            changes.borrow_and_update();
            let notices = self.observer.look(&board.snapshot(), SystemTime::now());
            let dropped = notices.into_iter().filter_map(|notice| self.pace.push(notice)).count();
            self.writes.dropped(Purpose::Event, dropped as u64);
            let look_at = match self.pace.next(Instant::now()) {
                Next::Say(notice) => {
                    self.say(notice).await;
                    continue;
                }
                Next::At(at) => at,
                Next::Empty => Instant::now() + LOOK_EVERY,
            };
            tokio::select! {
                changed = changes.changed() => match changed {
                    Ok(()) => sleep(SETTLE).await,
                    Err(_) => std::future::pending().await,
                },
                () = sleep_until(look_at) => {}
            }
        }
    }

    async fn say(&mut self, notice: Notice) {
        let event = event(&notice);
        let published = bounded(self.recorder.publish(&event, &reference(&self.pod))).await;
        self.writes.tried(Purpose::Event, &published);
        let Err(trouble) = published else {
            self.backoff.reset();
            if self.trouble.take().is_some() {
                tracing::info!("Events are written again");
            }
            return;
        };
        if self.trouble.replace(discriminant(&trouble)) != Some(discriminant(&trouble)) {
            let reason = trouble.sentence(RULE, &self.pod.namespace);
            tracing::warn!(reason, "an Event was not written; uplinks do not depend on it");
        }
        if trouble.may_pass() {
            self.pace.put_back(notice);
        }
        sleep(self.backoff.next_delay(None)).await;
    }
}

/// The recorder joins what has the same reason and action and keeps the first note, so the action tells notes apart.
fn event(notice: &Notice) -> Event {
    let note = cut(&notice.note, NOTE_MAX).to_owned();
    let mut hasher = DefaultHasher::new();
    note.hash(&mut hasher);
    Event {
        type_: if notice.reason.is_warning() { EventType::Warning } else { EventType::Normal },
        reason: notice.reason.as_str().to_owned(),
        action: format!("{}-{:016x}", notice.reason.topic(), hasher.finish()),
        note: Some(note),
        secondary: None,
    }
}

fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(pod.namespace.clone()),
        name: Some(pod.name.clone()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    }
}

/// At most `max` bytes of a text, whole characters only.
fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
