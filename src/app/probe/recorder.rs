//! Writes down what an attempt sees, and makes the rows of a [`Walk`] of it.

use std::{
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use tokio::time::Instant;

use super::walk::{Outcome, PHASES, Problem, Row, Walk};
use crate::{
    base::clock,
    model::{
        failure::{Failure, Phase},
        lab::Handshake,
        step::{CLOCK_TOLERANCE, SeenCertificate, Step, Witness},
        uplink::Uplink,
    },
};

/// More addresses of a name are counted and not listed.
const ADDRESSES_SHOWN: usize = 8;

/// A [`Witness`] that remembers.
pub struct Recorder {
    began: Instant,
    steps: Mutex<Vec<(Instant, Step)>>,
}

impl Recorder {
    /// The walk begins now.
    pub fn start() -> Self {
        Self { began: Instant::now(), steps: Mutex::default() }
    }

    /// What was seen until now, and how it ended.
    pub fn finish(self, uplink: &Uplink, outcome: Result<(), Failure>) -> Walk {
        let steps = self.steps.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut rows: Vec<Row> = PHASES.iter().map(|phase| untried(phase, uplink)).collect();
        let mut notes = uplink.lab.warnings();
        let mut before = self.began;
        for (at, step) in &steps {
            let Some(phase) = phase(step) else {
                notes.extend(clock_note(step).filter(|note| !notes.contains(note)));
                continue;
            };
            // A second grant begins the way anew; only the last one is shown.
            let row = PHASES.iter().position(|&one| one == phase).unwrap_or_default();
            rows[row + 1..].iter_mut().for_each(|later| *later = untried(&later.phase, uplink));
            let mut seen = seen(step);
            if matches!(step, Step::Authorized { .. }) {
                // What was learned of the authorization server comes first.
                let learned = std::mem::take(&mut rows[row].seen);
                seen.extend(learned);
            }
            let took = at.saturating_duration_since(before);
            rows[row].milliseconds = Some(rows[row].milliseconds.unwrap_or(0) + millis(took));
            rows[row].seen = seen;
            rows[row].outcome = Outcome::Ok;
            before = *at;
        }
        let error = outcome.err().map(|failure| {
            let phase = failure.phase().as_str();
            if let Some(row) = rows.iter_mut().find(|row| row.phase == shown(failure.phase())) {
                row.outcome = Outcome::Failed;
                row.milliseconds = Some(row.milliseconds.unwrap_or(0) + millis(before.elapsed()));
            }
            Problem {
                phase: phase.to_owned(),
                cause: failure.cause.as_str().to_owned(),
                advice: failure.cause.advice().to_owned(),
                message: failure.message,
            }
        });
        Walk {
            device: uplink.device.name.clone(),
            remote_address: uplink.remote.to_string(),
            online: error.is_none(),
            rows,
            error,
            notes,
        }
    }
}

impl Witness for Recorder {
    fn saw(&self, step: Step) {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), step));
    }
}

/// The row in which a failure of `phase` shows: what comes after the preface belongs to it here, because a walk ends there.
fn shown(phase: Phase) -> &'static str {
    match phase {
        Phase::Liveness | Phase::RemoteClosed | Phase::Protocol | Phase::Drained => Phase::Preface.as_str(),
        other => other.as_str(),
    }
}

fn phase(step: &Step) -> Option<&'static str> {
    let phase = match step {
        Step::Resolved { .. } => Phase::Resolve,
        Step::Dialed { .. } => Phase::Dial,
        Step::Proxied { .. } => Phase::Proxy,
        Step::Secured { .. } => Phase::Tls,
        Step::Metadata { .. } | Step::Authorized { .. } => Phase::Authorize,
        Step::Upgraded => Phase::Upgrade,
        Step::Preface => Phase::Preface,
        Step::Clock { .. } => return None,
    };
    Some(phase.as_str())
}

/// The row of a phase of which nothing was seen, with the reason if it will never be tried.
fn untried(phase: &str, uplink: &Uplink) -> Row {
    let none = match phase {
        "tls" if uplink.lab.plain_tcp => Some("lab.plainTcp: none"),
        "upgrade" if uplink.lab.handshake == Handshake::None => Some("lab.handshake: none"),
        _ => None,
    };
    Row {
        phase: phase.to_owned(),
        outcome: Outcome::NotTried,
        milliseconds: None,
        seen: none.map(str::to_owned).into_iter().collect(),
    }
}

fn seen(step: &Step) -> Vec<String> {
    match step {
        Step::Resolved { name, addresses } => {
            let shown: Vec<_> = addresses.iter().take(ADDRESSES_SHOWN).map(|one| one.ip().to_string()).collect();
            let more = addresses.len().saturating_sub(ADDRESSES_SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            vec![format!("{name} is {}{more}", shown.join(", "))]
        }
        Step::Dialed { peer, local } => vec![format!("{peer} from {}", local.ip())],
        Step::Proxied { proxy } => vec![format!("{proxy} opened the way")],
        Step::Secured { facts, chain } => {
            let mut lines = Vec::new();
            if !facts.version.is_empty() {
                let resumed = if facts.resumed { ", resumed" } else { "" };
                lines.push(format!("{} {} {}{resumed}", facts.version, facts.group, facts.cipher));
            }
            lines.extend(chain.iter().enumerate().flat_map(|(at, one)| certificate(at + 1, one)));
            lines
        }
        Step::Metadata { issuer, token_endpoint } => vec![format!("{issuer} issues tokens at {token_endpoint}")],
        Step::Authorized { how, expires } => {
            let until = expires.map(|at| format!(", valid until {}", clock::date(at))).unwrap_or_default();
            vec![format!("{how}{until}")]
        }
        Step::Upgraded => vec!["the remote switched to h2c-reverse".to_owned()],
        Step::Preface => vec!["the remote speaks HTTP/2".to_owned()],
        Step::Clock { .. } => Vec::new(),
    }
}

fn certificate(at: usize, one: &SeenCertificate) -> [String; 2] {
    let names = if one.names.is_empty() { String::new() } else { format!(" for {}", one.names.join(", ")) };
    let now = SystemTime::now();
    let ended = if now > one.not_after {
        "; EXPIRED"
    } else if now < one.not_before {
        "; NOT YET VALID"
    } else {
        ""
    };
    [
        format!("{at}: {}{names}", one.subject),
        format!("   by {}, {} to {}{ended}", one.issuer, clock::date(one.not_before), clock::date(one.not_after)),
    ]
}

fn clock_note(step: &Step) -> Option<String> {
    let Step::Clock { server, offset_seconds } = step else { return None };
    let off = offset_seconds.unsigned_abs() > CLOCK_TOLERANCE.as_secs();
    off.then(|| {
        format!("{}; certificates and tokens depend on it: set it, best by NTP", clock::spoken(*offset_seconds, server))
    })
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
