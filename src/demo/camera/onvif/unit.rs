//! What the services of a camera share: its facts, what it looks through, and what clients have left in it.

use std::sync::Arc;

use super::{journal::Journal, presets::Presets, subscriptions::Subscriptions};
use crate::demo::camera::optics::Optics;

/// What the camera says of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Who made it.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Version of its firmware.
    pub firmware: String,
    /// Its serial number.
    pub serial: String,
    /// Its hardware.
    pub hardware: String,
    /// The user of its only account.
    pub user: String,
}

/// The camera behind the services.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) facts: Facts,
    pub(super) optics: Arc<Optics>,
    pub(super) presets: Presets,
    pub(super) subscriptions: Subscriptions,
    pub(super) journal: Journal,
}

impl Unit {
    /// One with these facts that looks through `optics`.
    pub(super) fn new(facts: Facts, optics: Arc<Optics>) -> Self {
        let (presets, journal) = (Presets::default(), Journal::default());
        Self { facts, optics, presets, subscriptions: Subscriptions::new(), journal }
    }
}
