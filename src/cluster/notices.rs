//! What there is to say about the uplinks and the configuration: the differences between two looks at the status board.
//!
//! Plain values in and out. A notice holds what log and status hold, which is without secrets.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use crate::model::{
    failure::{Cause, Failure},
    status::{Snapshot, Status, UplinkStatus},
    uplink::UplinkKey,
};

/// A certificate that ends sooner is worth a notice, as in the alert that the manual proposes.
pub const CERTIFICATE_SOON: Duration = Duration::from_secs(14 * DAY);
/// How often that is said again.
const CERTIFICATE_AGAIN: Duration = Duration::from_secs(DAY);
const DAY: u64 = 86_400;

/// Why there is a notice; the words are those of Events, stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A session stands.
    UplinkOnline,
    /// An uplink is not up, with its cause.
    UplinkOffline,
    /// A document is in force.
    ConfigurationApplied,
    /// A document is not in force, with its first error.
    ConfigurationRefused,
    /// A client certificate ends soon.
    CertificateExpiring,
}

impl Reason {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UplinkOnline => "UplinkOnline",
            Self::UplinkOffline => "UplinkOffline",
            Self::ConfigurationApplied => "ConfigurationApplied",
            Self::ConfigurationRefused => "ConfigurationRefused",
            Self::CertificateExpiring => "CertificateExpiring",
        }
    }

    /// Whether somebody should look.
    pub fn is_warning(self) -> bool {
        !matches!(self, Self::UplinkOnline | Self::ConfigurationApplied)
    }

    /// What one kind of notice is about: of those with the same subject only the newest is of interest.
    pub(super) fn topic(self) -> &'static str {
        match self {
            Self::UplinkOnline | Self::UplinkOffline => "Uplink",
            Self::ConfigurationApplied | Self::ConfigurationRefused => "Configuration",
            Self::CertificateExpiring => "Certificate",
        }
    }
}

/// Something to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Why.
    pub reason: Reason,
    /// The uplink; empty for the configuration.
    pub subject: String,
    /// The sentence for people.
    pub note: String,
}

/// What was said of an uplink.
#[derive(Debug, Default)]
struct Said {
    /// Online, or why not.
    state: Option<Result<(), Cause>>,
    /// When the end of its certificate was last told.
    certificate: Option<SystemTime>,
}

/// Remembers what was said.
#[derive(Debug, Default)]
pub struct Observer {
    uplinks: BTreeMap<UplinkKey, Said>,
    generation: u64,
    refused: Option<String>,
}

impl Observer {
    /// What is new since the last look.
    pub fn look(&mut self, board: &Snapshot, now: SystemTime) -> Vec<Notice> {
        let mut notices = Vec::from_iter(self.configuration(board));
        self.uplinks.retain(|key, _| board.uplinks.contains_key(key));
        for (key, uplink) in &board.uplinks {
            let said = self.uplinks.entry(key.clone()).or_default();
            notices.extend(state(said, key, uplink));
            notices.extend(certificate(said, key, uplink, now));
        }
        notices
    }

    fn configuration(&mut self, board: &Snapshot) -> Option<Notice> {
        let notice = |reason, note| Some(Notice { reason, subject: String::new(), note });
        let refused = board.config.errors.first().cloned();
        let (is_new_error, is_applied) = (refused != self.refused, board.config.generation > self.generation);
        self.refused.clone_from(&refused);
        self.generation = board.config.generation;
        match refused {
            Some(error) if is_new_error => {
                let more = match board.config.errors.len() - 1 {
                    0 => String::new(),
                    more => format!(" (and {more} more)"),
                };
                let then =
                    if self.generation > 0 { "the last good one stays in force" } else { "none is in force yet" };
                notice(Reason::ConfigurationRefused, format!("{error}{more}; {then}"))
            }
            None if is_applied => {
                notice(Reason::ConfigurationApplied, format!("generation {} is in force", self.generation))
            }
            _ => None,
        }
    }
}

fn state(said: &mut Said, key: &UplinkKey, uplink: &UplinkStatus) -> Option<Notice> {
    let (now, reason, note) = match (&uplink.error, uplink.status) {
        (_, Status::Online) => (Ok(()), Reason::UplinkOnline, format!("{key} is Online")),
        // It was asked for.
        (Some(failure), _) if failure.cause != Cause::Drained => {
            (Err(failure.cause), Reason::UplinkOffline, offline(key, failure))
        }
        _ => return None,
    };
    if said.state.replace(now) == Some(now) {
        return None;
    }
    Some(Notice { reason, subject: key.to_string(), note })
}

fn offline(key: &UplinkKey, failure: &Failure) -> String {
    let Failure { cause, message, .. } = failure;
    format!("{key}: {}: {cause}: {message}; {}", failure.phase().as_str(), cause.advice())
}

fn certificate(said: &mut Said, key: &UplinkKey, uplink: &UplinkStatus, now: SystemTime) -> Option<Notice> {
    let left = uplink.certificate_expiry?.duration_since(now).unwrap_or_default();
    if left > CERTIFICATE_SOON {
        said.certificate = None;
        return None;
    }
    if said.certificate.is_some_and(|told| now.duration_since(told).unwrap_or_default() < CERTIFICATE_AGAIN) {
        return None;
    }
    said.certificate = Some(now);
    let note = match left.as_secs() / DAY {
        0 if left.is_zero() => format!("{key}: the client certificate has ended; issue a new one"),
        days => format!("{key}: the client certificate ends in {days} d; issue a new one"),
    };
    Some(Notice { reason: Reason::CertificateExpiring, subject: key.to_string(), note })
}

#[cfg(test)]
#[path = "notices_tests.rs"]
mod tests;
