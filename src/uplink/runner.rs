//! One task per uplink, on its shard: drives the machine of [`super::state`] with attempts, sessions and clocks.
//!
//! The attempt under way is a future of this task; each session is a task of its own that this one owns, so that a busy
//! session never polls the machine. When the runner ends or is aborted, so do its sessions.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use tokio::{
    sync::watch,
    task::{Id, JoinSet},
    time::{Instant, sleep_until},
};
use tracing::Instrument;

use super::{
    measured::Measured,
    metrics::Series,
    parts::Parts,
    report::{Entry, FailureLog},
    session::{Dialer, Established, establish},
    state::{Action, Event, Machine, State},
};
use crate::{
    base::{
        backoff::Backoff,
        drain::{Drain, DrainSwitch, Draining, drain},
        http::{BoxFuture, Handler},
    },
    model::{
        failure::{Cause, Failure},
        status::{SessionStatus, Status},
        uplink::Uplink,
    },
};

/// Boxed: the future of an idle runner stays small, and there is one for each uplink.
type Outcome = Result<Box<Established>, Failure>;

/// Keeps one uplink up until its drain.
pub struct Runner {
    parts: Arc<Parts>,
    entry: Arc<Entry>,
    settings: watch::Receiver<Uplink>,
    drain: Drain,
    draining: Option<Draining>,
    uplink: Uplink,
    handler: Option<Arc<dyn Handler>>,
    material: Option<watch::Receiver<u64>>,
    machine: Machine,
    attempt: Option<BoxFuture<'static, Outcome>>,
    established: Option<Box<Established>>,
    sessions: JoinSet<Result<(), Failure>>,
    switches: HashMap<Id, DrainSwitch>,
    current: Option<Id>,
    series: Arc<Series>,
    failures: FailureLog,
}

/// What woke the runner.
enum Happening {
    Drain(Draining),
    Session(Id, Result<(), Failure>),
    Attempt(Outcome),
    Settings,
    Material,
    Timer,
}

impl Runner {
    /// A runner of the uplink that `settings` holds; `drain` ends it.
    pub fn new(parts: Arc<Parts>, entry: Arc<Entry>, settings: watch::Receiver<Uplink>, drain: Drain) -> Self {
        let uplink = settings.borrow().clone();
        let key = uplink.key();
        let series = parts.metrics.series(&key);
        Self {
            parts,
            entry,
            settings,
            drain,
            draining: None,
            uplink,
            handler: None,
            material: None,
            machine: Machine::new(Backoff::new(&key)),
            attempt: None,
            established: None,
            sessions: JoinSet::new(),
            switches: HashMap::new(),
            current: None,
            series,
            failures: FailureLog::default(),
        }
    }

    /// Runs until the drain has ended. Cancel safety: dropping the future drops all sessions.
    pub async fn run(self) {
        let span = tracing::info_span!("uplink", device = %self.uplink.device.name, remote = %self.uplink.remote);
        self.drive().instrument(span).await;
    }

    async fn drive(mut self) {
        self.subscribe();
        warn_of_lab(&self.uplink);
        self.step(Event::Start);
        loop {
            if self.draining.is_some() && self.sessions.is_empty() {
                self.step(Event::Gone);
            }
            if self.machine.state() == State::Stopped {
                tracing::info!("uplink stopped");
                return;
            }
            match self.next().await {
                Happening::Drain(draining) => {
                    self.draining = Some(draining);
                    self.step(Event::Drain);
                }
                Happening::Session(id, ended) => self.session_ended(id, ended),
                Happening::Attempt(outcome) => self.attempted(outcome),
                Happening::Settings => self.step(Event::Settings),
                Happening::Material => {
                    tracing::info!("certificate, key or trust anchors changed");
                    self.step(Event::Material);
                }
                Happening::Timer => self.step(Event::Timer),
            }
        }
    }

    async fn next(&mut self) -> Happening {
        tokio::select! {
            biased;
            draining = drained(&mut self.drain, self.draining) => Happening::Drain(draining),
            Some(ended) = self.sessions.join_next_with_id() => match ended {
                Ok((id, ended)) => Happening::Session(id, ended),
                Err(error) => Happening::Session(error.id(), Err(panicked(&error))),
            },
            outcome = pending_or(&mut self.attempt) => Happening::Attempt(outcome),
            () = changed(Some(&mut self.settings)) => Happening::Settings,
            () = changed(self.material.as_mut()) => Happening::Material,
            () = at(self.machine.deadline()) => Happening::Timer,
        }
    }

    /// Feeds the machine, does what it asks for and shows where it is.
    fn step(&mut self, event: Event) {
        for action in self.machine.on(event, Instant::now()) {
            match action {
                Action::Abandon => self.attempt = None,
                Action::Connect => self.connect(),
                Action::Retire => self.retire(),
                Action::Promote => self.promote(),
            }
        }
        if let Some(draining) = self.draining {
            let grace = draining.deadline.saturating_duration_since(Instant::now());
            self.switches.values().for_each(|switch| switch.start(grace));
        }
        self.publish();
    }

    fn connect(&mut self) {
        self.take_settings();
        if let Some(material) = &mut self.material {
            // The attempt reads the material from now on; only what changes later is news.
            material.mark_unchanged();
        }
        let Some(dialer) = self.dialer() else {
            let sentence =
                "this program has no part for the uplink's authorization mode or scheme; see `onvif-uplink check`";
            let failure = Failure::new(Cause::CredentialInvalid, sentence);
            self.attempt = Some(Box::pin(async { Err(failure) }));
            return;
        };
        let (uplink, entry) = (self.uplink.clone(), Arc::clone(&self.entry));
        tracing::debug!(attempt = self.machine.attempt(), "connecting");
        self.attempt = Some(Box::pin(async move {
            establish(
                &dialer,
                &uplink,
                |grant| {
                    entry.update(|status| status.certificate_expiry = grant.certificate_expiry);
                },
                &(),
            )
            .await
            .map(Box::new)
        }));
    }

    fn take_settings(&mut self) {
        let newest = self.settings.borrow_and_update().clone();
        if newest == self.uplink {
            return;
        }
        if newest.device != self.uplink.device || newest.user_level != self.uplink.user_level {
            self.handler = None;
        }
        if newest.lab != self.uplink.lab {
            warn_of_lab(&newest);
        }
        self.uplink = newest;
        self.subscribe();
    }

    fn subscribe(&mut self) {
        let authorizer = self.parts.authorizers.get(&self.uplink.authorization.mode());
        self.material = authorizer.map(|authorizer| authorizer.changes(&self.uplink));
    }

    fn dialer(&self) -> Option<Dialer> {
        Some(Dialer {
            authorizer: Arc::clone(self.parts.authorizers.get(&self.uplink.authorization.mode())?),
            transport: Arc::clone(self.parts.transports.get(&self.uplink.remote.scheme())?),
            limits: self.parts.limits.clone(),
        })
    }

    fn attempted(&mut self, outcome: Outcome) {
        self.attempt = None;
        match outcome {
            Ok(established) => {
                self.series.attempt_connected();
                self.established = Some(established);
                self.step(Event::Connected);
            }
            Err(failure) => {
                self.series.attempt_failed(failure.cause);
                let attempt = self.machine.attempt();
                self.step(Event::Failed { retry_after: failure.retry_after });
                self.tell(failure, attempt);
            }
        }
    }

    /// Makes the established session the current one, as a task of its own.
    fn promote(&mut self) {
        let Some(established) = self.established.take() else { return };
        let inner = self.handler.get_or_insert_with(|| {
            let made = (self.parts.handler)(&self.uplink);
            Arc::new(Measured::new(made, Arc::clone(&self.series)))
        });
        let (handler, (switch, part)) = (Arc::clone(inner), drain());
        let session = SessionStatus {
            since: SystemTime::now(),
            activity: Arc::clone(&established.activity),
            tls: established.tls.clone(),
        };
        let span = tracing::info_span!("session", peer = %established.peer, tls = %session.tls.version);
        tracing::info!(attempt = self.machine.attempt(), peer = %established.peer, "uplink is online");
        let counted = self.series.session(Arc::clone(&established.activity));
        let serve = async move {
            let ended = established.serve(handler, part).await;
            drop(counted);
            ended
        };
        let id = self.sessions.spawn(serve.instrument(span)).id();
        self.switches.insert(id, switch);
        self.current = Some(id);
        self.failures.clear();
        self.entry.update(|status| {
            status.error = None;
            status.session = Some(session);
        });
    }

    /// Starts the drain of the current session; it goes on as one of the old ones.
    fn retire(&mut self) {
        let old = self.current.take();
        if let Some(switch) = old.and_then(|id| self.switches.get(&id)) {
            tracing::info!("the session drains");
            switch.start(self.parts.grace);
        }
    }

    fn session_ended(&mut self, id: Id, ended: Result<(), Failure>) {
        self.switches.remove(&id);
        if self.current != Some(id) {
            tracing::debug!(?ended, "a drained session ended");
            return;
        }
        self.current = None;
        let failure = ended.err().unwrap_or_else(|| Failure::new(Cause::Drained, "the session was drained"));
        self.series.failure(failure.cause);
        let attempt = self.machine.attempt();
        self.entry.update(|status| status.session = None);
        self.step(Event::Ended);
        self.tell(failure, attempt);
    }

    fn tell(&mut self, failure: Failure, attempt: u32) {
        let now = Instant::now();
        let delay = self.machine.deadline().map(|until| until.saturating_duration_since(now));
        self.failures.log(&failure, attempt, delay, now);
        self.entry.update(|status| status.error = Some(failure));
    }

    /// Shows on the board where the machine is.
    fn publish(&self) {
        let machine = &self.machine;
        let now = Instant::now();
        let next = machine.deadline().map(|until| SystemTime::now() + until.saturating_duration_since(now));
        let sessions = !self.sessions.is_empty();
        self.entry.update(|status| {
            status.attempt = machine.attempt();
            status.next_attempt = next;
            match machine.state() {
                State::Online { .. } => status.set(Status::Online),
                // A session that finishes its streams still carries them.
                State::Draining if sessions && status.session.is_some() => {}
                other => {
                    status.set(if other == State::Connecting { Status::Connecting } else { Status::Offline });
                    status.session = None;
                }
            }
        });
    }
}

/// Switches that weaken an uplink are never silent.
fn warn_of_lab(uplink: &Uplink) {
    for warning in uplink.lab.warnings() {
        tracing::warn!("{warning}");
    }
}

/// The start of the drain, or after it a nearer deadline.
async fn drained(drain: &mut Drain, draining: Option<Draining>) -> Draining {
    match draining {
        Some(draining) => drain.nearer_than(draining.deadline).await,
        None => drain.started().await,
    }
}

async fn pending_or(attempt: &mut Option<BoxFuture<'static, Outcome>>) -> Outcome {
    match attempt {
        Some(attempt) => attempt.await,
        None => std::future::pending().await,
    }
}

/// Resolves at the next change; never when the sender is gone, because nothing will change any more.
async fn changed<T>(receiver: Option<&mut watch::Receiver<T>>) {
    let news = match receiver {
        Some(receiver) => receiver.changed().await.is_ok(),
        None => false,
    };
    if !news {
        std::future::pending::<()>().await;
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn panicked(error: &tokio::task::JoinError) -> Failure {
    tracing::error!(%error, "a session panicked; this is a defect of onvif-uplink");
    Failure::new(Cause::ProtocolViolation, "the session ended by a defect of onvif-uplink; please report the log")
}
