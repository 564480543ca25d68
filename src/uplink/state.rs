//! The life of one uplink as a pure machine: events and `now` in, actions out; no clock, no I/O (ONVIF Uplink §5.2).
//!
//! ```text
//!            Start                 Connected
//!  Offline --------> Connecting{attempt} ------------> Online{successor}
//!                      ^        |  Failed                 |  Ended, no attempt under way
//!                      |        v                         v
//!                      +---- Waiting{until} <-------------+
//!                    Timer, Settings, Material, Network
//!
//!  any --Drain--> Draining --Gone--> Stopped
//! ```
//!
//! Online holds the make-before-break: new material or new settings start the attempt of a *successor* while the session
//! goes on. When the successor stands, the old session is retired (drains) and the new one is the current one. A
//! successor with new material may fail as often as it likes, the session goes on; one with new settings that fails its
//! first attempt retires the session, because the old settings are no longer wanted. A changed network that leaves the session
//! its way out but would send a new one elsewhere counts as new material; one that takes it away cuts the session.

use std::time::Duration;

use tokio::time::Instant;

use crate::base::backoff::{self, Backoff};

/// A session that stood this long has lasted: the ascent starts over. It is the longest interval and the time of the
/// liveness rule, so a remote that accepts and then drops or falls silent always sees the ascent.
pub const LASTED: Duration = Duration::from_secs(30);
/// Attempts that changed material brings forward are at least this far apart: the longest first interval of the
/// specification. A file that flaps is then no worse for the remote than a device in its first interval.
pub const EARLY_GAP: Duration = backoff::FIRST_MAX;

/// Where an uplink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Before the start.
    Offline,
    /// No session; an attempt is under way.
    Connecting,
    /// A session stands.
    Online {
        /// Since when.
        since: Instant,
        /// What is done for the session that shall replace it.
        successor: Successor,
    },
    /// No session; the next attempt waits for its time.
    Waiting {
        /// When the next attempt is due.
        until: Instant,
    },
    /// The sessions finish; nothing new begins.
    Draining,
    /// The end.
    Stopped,
}

/// The session that shall replace the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Successor {
    /// None is wanted.
    None,
    /// Its attempt is under way.
    Connecting(Reason),
    /// Its next attempt waits for its time.
    Waiting {
        /// When the next attempt is due.
        until: Instant,
    },
}

/// Why a successor is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Certificate, key or anchors changed their content.
    Material,
    /// The configuration of the uplink changed.
    Settings,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The runner has started.
    Start,
    /// The attempt came to a session: the remote's preface is there.
    Connected,
    /// The attempt failed.
    Failed {
        /// How long the remote asked to wait.
        retry_after: Option<Duration>,
    },
    /// The current session ended, not by our retiring it.
    Ended,
    /// The time that [`Machine::deadline`] named has come.
    Timer,
    /// What the authorization is made of changed its content.
    Material,
    /// The configuration of the uplink changed.
    Settings,
    /// The network changed in a way that matters to this uplink.
    Network {
        /// The current session's address or way is gone; it is dead.
        lost: bool,
    },
    /// The uplink shall end.
    Drain,
    /// No session is left, drained ones included.
    Gone,
}

/// What the driver has to do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give up the attempt under way.
    Abandon,
    /// Start an attempt with the newest settings and material.
    Connect,
    /// Drain the current session; it is not the current one any more.
    Retire,
    /// Drop the current session: nothing can be sent on it any more.
    Cut,
    /// Make what the attempt came to the current session.
    Promote,
}

/// The machine of one uplink.
#[derive(Debug)]
pub struct Machine {
    state: State,
    backoff: Backoff,
    attempt: u32,
    /// The current session has already reset the ascent.
    lasted: bool,
    /// Material changed after the attempt under way had begun.
    stale: bool,
    /// When changed material last brought an attempt forward.
    early: Option<Instant>,
    /// The remote asked not to be tried before this.
    patience: Option<Instant>,
}

impl Machine {
    /// A machine in the state Offline, with the intervals of its uplink.
    pub fn new(backoff: Backoff) -> Self {
        Self { state: State::Offline, backoff, attempt: 0, lasted: false, stale: false, early: None, patience: None }
    }

    /// Where the uplink is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Attempts since the last session that lasted.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When [`Event::Timer`] is due, if at all.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } | State::Online { successor: Successor::Waiting { until }, .. } => Some(until),
            _ => None,
        }
    }

    /// Whether an attempt is under way.
    pub fn connecting(&self) -> bool {
        matches!(self.state, State::Connecting | State::Online { successor: Successor::Connecting(_), .. })
    }

    /// Takes one event. An event that means nothing in the present state changes nothing.
    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        self.note_lasted(now);
        match event {
            Event::Start if self.state == State::Offline => self.connect(State::Connecting),
            Event::Connected if self.connecting() => self.connected(now),
            Event::Failed { retry_after } if self.connecting() => self.failed(retry_after, now),
            Event::Ended => self.ended(now),
            Event::Timer => self.timer(now),
            Event::Material => self.material(now),
            Event::Settings => self.settings(),
            Event::Network { lost } => self.network(lost, now),
            Event::Drain => self.drain(),
            Event::Gone if self.state == State::Draining => {
                self.state = State::Stopped;
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn connect(&mut self, state: State) -> Vec<Action> {
        self.state = state;
        self.stale = false;
        self.attempt = self.attempt.saturating_add(1);
        vec![Action::Connect]
    }

    fn connected(&mut self, now: Instant) -> Vec<Action> {
        let replaces = matches!(self.state, State::Online { .. });
        self.state = State::Online { since: now, successor: Successor::None };
        self.lasted = false;
        self.patience = None;
        let mut actions = if replaces { vec![Action::Retire, Action::Promote] } else { vec![Action::Promote] };
        if self.stale {
            actions.extend(self.material(now));
        }
        actions
    }

    fn failed(&mut self, retry_after: Option<Duration>, now: Instant) -> Vec<Action> {
        let until = now + self.backoff.next_delay(retry_after);
        self.patience = retry_after.map(|delay| now + delay.min(backoff::RETRY_AFTER_MAX));
        let mut actions = Vec::new();
        match &mut self.state {
            State::Online { successor: successor @ Successor::Connecting(Reason::Material), .. } => {
                *successor = Successor::Waiting { until };
            }
            State::Online { .. } => {
                actions.push(Action::Retire);
                self.state = State::Waiting { until };
            }
            _ => self.state = State::Waiting { until },
        }
        if self.stale {
            actions.extend(self.material(now));
        }
        actions
    }

    fn ended(&mut self, now: Instant) -> Vec<Action> {
        let State::Online { successor, .. } = self.state else { return Vec::new() };
        self.state = match successor {
            Successor::Connecting(_) => State::Connecting,
            Successor::Waiting { until } => State::Waiting { until: until.max(now + self.backoff.next_delay(None)) },
            Successor::None => State::Waiting { until: now + self.backoff.next_delay(None) },
        };
        Vec::new()
    }

    fn timer(&mut self, now: Instant) -> Vec<Action> {
        match self.state {
            State::Waiting { until } if until <= now => self.connect(State::Connecting),
            State::Online { since, successor: Successor::Waiting { until } } if until <= now => {
                self.connect(State::Online { since, successor: Successor::Connecting(Reason::Material) })
            }
            _ => Vec::new(),
        }
    }

    /// Brings the next attempt forward, but never nearer than [`EARLY_GAP`] to the one brought forward before, and never
    /// before the time that the remote asked for.
    fn material(&mut self, now: Instant) -> Vec<Action> {
        if self.connecting() {
            self.stale = true;
            return Vec::new();
        }
        self.stale = false;
        let (waiting, state) = match self.state {
            State::Waiting { until } => (Some(until), State::Connecting),
            State::Online { since, successor } => {
                let until = if let Successor::Waiting { until } = successor { Some(until) } else { None };
                (until, State::Online { since, successor: Successor::Connecting(Reason::Material) })
            }
            _ => return Vec::new(),
        };
        let soonest = self.early.map_or(now, |early| now.max(early + EARLY_GAP));
        let soonest = self.patience.map_or(soonest, |patience| soonest.max(patience));
        let until = waiting.map_or(soonest, |until| until.min(soonest));
        // The gap counts from when this attempt will begin, so changes meanwhile cannot bring it forward again.
        self.early = Some(until.max(self.early.unwrap_or(until)));
        if until <= now {
            return self.connect(state);
        }
        match &mut self.state {
            State::Online { successor, .. } => *successor = Successor::Waiting { until },
            state => *state = State::Waiting { until },
        }
        Vec::new()
    }

    /// New settings are tried at once, whatever is under way.
    fn settings(&mut self) -> Vec<Action> {
        let state = match self.state {
            State::Connecting | State::Waiting { .. } => State::Connecting,
            State::Online { since, .. } => State::Online { since, successor: Successor::Connecting(Reason::Settings) },
            State::Offline | State::Draining | State::Stopped => return Vec::new(),
        };
        let mut actions = if self.connecting() { vec![Action::Abandon] } else { Vec::new() };
        actions.extend(self.connect(state));
        actions
    }

    /// What is under way goes by the old network: it is begun anew, as early as [`Self::material`] would allow.
    fn network(&mut self, lost: bool, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match self.state {
            State::Online { .. } if lost => {
                if self.connecting() {
                    actions.push(Action::Abandon);
                }
                actions.push(Action::Cut);
                self.state = State::Waiting { until: now + self.backoff.next_delay(None) };
            }
            State::Connecting | State::Online { successor: Successor::Connecting(_), .. } => {
                if self.early.is_some_and(|early| now < early + EARLY_GAP) {
                    return actions;
                }
                self.early = Some(now);
                actions.push(Action::Abandon);
                actions.extend(self.connect(self.state));
                return actions;
            }
            _ => {}
        }
        actions.extend(self.material(now));
        actions
    }

    fn drain(&mut self) -> Vec<Action> {
        let mut actions = if self.connecting() { vec![Action::Abandon] } else { Vec::new() };
        if matches!(self.state, State::Online { .. }) {
            actions.push(Action::Retire);
        }
        if self.state != State::Stopped {
            self.state = State::Draining;
        }
        actions
    }

    fn note_lasted(&mut self, now: Instant) {
        if let State::Online { since, .. } = self.state
            && !self.lasted
            && now.duration_since(since) >= LASTED
        {
            self.lasted = true;
            self.attempt = 0;
            self.backoff.reset();
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
