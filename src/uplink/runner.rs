//! One task per uplink, on its shard: drives the machine of [`super::state`] with attempts, sessions and clocks.
//!
//! The attempt under way is a future of this task; each session is a task of its own that this one owns, so that a busy
//! session never polls the machine. When the runner ends or is aborted, so do its sessions.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::watch,
    task::{Id, JoinSet},
    time::Instant,
};
use tracing::Instrument;

use super::{
    look::look,
    measured::Measured,
    metrics::Series,
    parts::Parts,
    report::{Entry, FailureLog},
    session::{Dialer, Established, establish},
    state::{Action, Event, Machine, State},
    waits::{at, changed, drained, pending_or},
};
use crate::{
    base::{
        backoff::Backoff,
        drain::{Drain, DrainSwitch, Draining, drain},
        http::{BoxFuture, Handler},
        network::Way,
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
    current: Option<Current>,
    network: watch::Receiver<u64>,
    look: Option<BoxFuture<'static, Way>>,
    series: Arc<Series>,
    failures: FailureLog,
}

/// The session that counts, and the ends of its connection.
struct Current {
    id: Id,
    local: SocketAddr,
    peer: SocketAddr,
}

/// What woke the runner.
enum Happening {
    Drain(Draining),
    Session(Id, Result<(), Failure>),
    Attempt(Outcome),
    Settings,
    Material,
    Network,
    Looked(Way),
    Timer,
}

impl Runner {
    /// A runner of the uplink that `settings` holds; `drain` ends it.
    pub fn new(parts: Arc<Parts>, entry: Arc<Entry>, settings: watch::Receiver<Uplink>, drain: Drain) -> Self {
        let uplink = settings.borrow().clone();
        let key = uplink.key();
        let series = parts.metrics.series(&key);
        let network = parts.network.clone();
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
            network,
            look: None,
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
                Happening::Network => self.look_at_the_network(),
                Happening::Looked(way) => self.network_changed(way),
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
            () = changed(Some(&mut self.network)) => Happening::Network,
            way = pending_or(&mut self.look) => Happening::Looked(way),
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
                Action::Cut => self.cut(),
                Action::Promote => self.promote(),
            }
        }
        if let Some(draining) = self.draining {
            self.switches.values().for_each(|switch| switch.start(draining.left()));
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
        if newest.device != self.uplink.device
            || newest.user_level != self.uplink.user_level
            || newest.access != self.uplink.access
        {
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
        let (local, peer) = (established.local, established.peer);
        let serve = async move {
            let ended = established.serve(handler, part).await;
            drop(counted);
            ended
        };
        let id = self.sessions.spawn(serve.instrument(span)).id();
        self.switches.insert(id, switch);
        self.current = Some(Current { id, local, peer });
        self.failures.clear();
        self.entry.update(|status| {
            status.error = None;
            status.session = Some(session);
        });
    }

    /// Starts the drain of the current session; it goes on as one of the old ones. Within a drain of the uplink it has as long as that,
    /// which may be longer than a session that has a successor.
    fn retire(&mut self) {
        let old = self.current.take();
        if let Some(switch) = old.and_then(|old| self.switches.get(&old.id)) {
            tracing::info!("the session drains");
            switch.start(self.draining.map_or(self.parts.grace, Draining::left));
        }
    }

    /// Drops the current session without a word: there is no way for one.
    fn cut(&mut self) {
        let Some(Current { id, local, peer }) = self.current.take() else { return };
        if let Some(switch) = self.switches.get(&id) {
            switch.start(Duration::ZERO);
        }
        self.series.failure(Cause::NetworkChanged);
        let sentence = format!(
            "the network of this host changed: {} is not its address any more, or has no way to {}; dialing anew",
            local.ip(),
            peer.ip()
        );
        let attempt = self.machine.attempt();
        self.entry.update(|status| status.session = None);
        self.tell(Failure::new(Cause::NetworkChanged, sentence), attempt);
    }

    /// Asks the kernel about this uplink's way.
    fn look_at_the_network(&mut self) {
        self.network.mark_unchanged();
        let ends = self.current.as_ref().map(|current| (current.local.ip(), current.peer));
        self.look = Some(look(&self.uplink.key(), ends));
    }

    fn network_changed(&mut self, way: Way) {
        self.look = None;
        match way {
            Way::Same => {}
            // Who starts from a source of the configuration keeps it, wherever the kernel would go by itself.
            Way::Other if self.current.is_some() && self.uplink.network.source.is_some() => {}
            Way::Other => self.step(Event::Network { lost: false }),
            Way::Gone => self.step(Event::Network { lost: self.current.is_some() }),
        }
    }

    fn session_ended(&mut self, id: Id, ended: Result<(), Failure>) {
        self.switches.remove(&id);
        if self.current.as_ref().is_none_or(|current| current.id != id) {
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

fn panicked(error: &tokio::task::JoinError) -> Failure {
    tracing::error!(%error, "a session panicked; this is a defect of onvif-uplink");
    Failure::new(Cause::ProtocolViolation, "the session ended by a defect of onvif-uplink; please report the log")
}
