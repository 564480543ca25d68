//! What is said of a board, and what is not said twice.

use std::sync::Arc;

use super::*;
use crate::model::{
    address::RemoteAddress,
    status::{ConfigStatus, StatusBoard},
};

fn key(device: &str) -> UplinkKey {
    UplinkKey { device: device.into(), remote: RemoteAddress::parse("https://cloud/?token=secret").expect("valid") }
}

fn fails(board: &StatusBoard, device: &str, cause: Cause) {
    board.update(&key(device), |uplink| {
        uplink.set(Status::Offline);
        uplink.error = Some(Failure::new(cause, "the cloud said no"));
    });
}

/// A board with its observer.
struct Watched(Arc<StatusBoard>, Observer);

impl Watched {
    fn new() -> Self {
        Self(StatusBoard::new(), Observer::default())
    }

    fn at(&mut self, now: SystemTime) -> Vec<(&'static str, String)> {
        let notices = self.1.look(&self.0.snapshot(), now);
        notices.into_iter().map(|notice| (notice.reason.as_str(), notice.note)).collect()
    }

    fn now(&mut self) -> Vec<(&'static str, String)> {
        self.at(SystemTime::UNIX_EPOCH)
    }
}

#[test]
fn an_uplink_is_told_when_it_fails_in_another_way_and_when_it_comes_up() {
    let mut watched = Watched::new();
    watched.0.update(&key("camera-1"), |uplink| uplink.set(Status::Connecting));
    assert_eq!(watched.now(), [], "nothing is known yet");
    fails(&watched.0, "camera-1", Cause::ConnectionRefused);
    let said = watched.now();
    assert_eq!((said.len(), said[0].0), (1, "UplinkOffline"));
    let note = &said[0].1;
    for part in ["camera-1 -> https://cloud/", "dial: connection-refused: the cloud said no", "check the port"] {
        assert!(note.contains(part), "{note}");
    }
    assert!(!note.contains("secret"), "{note}");
    assert_eq!(watched.now(), [], "the same again");
    fails(&watched.0, "camera-1", Cause::DialTimeout);
    assert_eq!(watched.now().len(), 1);
    watched.0.update(&key("camera-1"), |uplink| (uplink.status, uplink.error) = (Status::Online, None));
    assert_eq!(watched.now(), [("UplinkOnline", "camera-1 -> https://cloud/ is Online".to_owned())]);
    assert_eq!(watched.now(), []);
}

#[test]
fn an_end_that_was_asked_for_is_not_told_and_a_removed_uplink_is_forgotten() {
    let mut watched = Watched::new();
    fails(&watched.0, "camera-1", Cause::Drained);
    assert_eq!(watched.now(), []);
    fails(&watched.0, "camera-1", Cause::Silent);
    assert_eq!(watched.now().len(), 1);
    watched.0.remove(&key("camera-1"));
    assert_eq!(watched.now(), []);
    fails(&watched.0, "camera-1", Cause::Silent);
    assert_eq!(watched.now().len(), 1, "it is a new one");
}

#[test]
fn a_refused_document_is_told_with_its_first_error_and_a_mended_one_as_applied() {
    let mut watched = Watched::new();
    let config = |generation, errors: &[&str]| ConfigStatus {
        generation,
        errors: errors.iter().map(|error| (*error).to_owned()).collect(),
        ..ConfigStatus::default()
    };
    watched.0.update_config(|now| *now = config(0, &["u.yaml:1:1: bad", "worse"]));
    let refused = "u.yaml:1:1: bad (and 1 more); none is in force yet".to_owned();
    assert_eq!(watched.now(), [("ConfigurationRefused", refused)]);
    assert_eq!(watched.now(), []);
    watched.0.update_config(|now| *now = config(1, &[]));
    assert_eq!(watched.now(), [("ConfigurationApplied", "generation 1 is in force".to_owned())]);
    watched.0.update_config(|now| *now = config(1, &["u.yaml:2:1: bad"]));
    assert!(watched.now()[0].1.ends_with("bad; the last good one stays in force"));
}

#[test]
fn a_certificate_that_ends_soon_is_told_once_a_day_until_it_is_renewed() {
    let mut watched = Watched::new();
    let (start, day) = (SystemTime::UNIX_EPOCH, Duration::from_secs(DAY));
    let expires = |watched: &Watched, days| {
        watched.0.update(&key("camera-1"), |uplink| uplink.certificate_expiry = Some(start + day * days));
    };
    expires(&watched, 15);
    assert_eq!(watched.at(start), [], "15 days are enough");
    let said = watched.at(start + day * 2);
    assert_eq!((said.len(), said[0].0), (1, "CertificateExpiring"));
    assert!(said[0].1.contains("ends in 13 d"), "{}", said[0].1);
    assert_eq!(watched.at(start + day * 2 + day / 2), [], "not twice a day");
    assert_eq!(watched.at(start + day * 3).len(), 1);
    assert!(watched.at(start + day * 16)[0].1.contains("has ended"));
    expires(&watched, 400);
    assert_eq!(watched.at(start + day * 17), []);
}
