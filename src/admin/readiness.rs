//! Readiness latches: named reasons why the process is not ready. Ready means that none is left.
//!
//! A part that must first succeed (the configuration) holds a latch from the start; one that ends (the drain) sets it.
//! The cloud or the camera being down is never a latch: it would keep the camera's pod from starting (design.md §6).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The latches of a process; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    latches: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
}

impl Readiness {
    /// No latches: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the latch `name`: not ready, for `reason`, one sentence for people. A second call replaces the reason.
    pub fn set(&self, name: &'static str, reason: impl Into<String>) {
        self.lock().insert(name, Some(reason.into()));
    }

    /// Clears the latch `name`. It stays known, so that `?verbose` can show it.
    pub fn clear(&self, name: &'static str) {
        self.lock().insert(name, None);
    }

    /// All known latches in the order of their names: the reason of one that is set, `None` of one that is clear.
    pub fn latches(&self) -> Vec<(&'static str, Option<String>)> {
        self.lock().iter().map(|(name, reason)| (*name, reason.clone())).collect()
    }

    /// Whether no latch is set.
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(Option::is_none)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Option<String>>> {
        // Single inserts: a panic elsewhere cannot leave the map half written.
        self.latches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_set_latch_blocks_until_it_is_cleared() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        readiness.set("configuration", "no document was read yet");
        readiness.clear("listener");
        assert!(!readiness.is_ready());
        assert_eq!(
            readiness.latches(),
            [("configuration", Some("no document was read yet".to_owned())), ("listener", None)]
        );
        readiness.clear("configuration");
        assert!(readiness.is_ready());
    }
}
