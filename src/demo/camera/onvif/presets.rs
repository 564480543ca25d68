//! The positions that clients have stored, by number.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::demo::camera::optics::Position;

/// Presets that are kept; what clients show on one page.
pub(super) const PRESETS_MAX: usize = 32;
/// Letters of a preset's name; ONVIF's tokens have 64.
const NAME_MAX: usize = 64;

/// A stored position.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Preset {
    pub(super) name: String,
    pub(super) at: Position,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Presets(Mutex<BTreeMap<u32, Preset>>);

impl Presets {
    /// Each with its number.
    pub(super) fn list(&self) -> Vec<(u32, Preset)> {
        self.lock().iter().map(|(number, preset)| (*number, preset.clone())).collect()
    }

    /// Where one looks.
    pub(super) fn position(&self, number: u32) -> Option<Position> {
        self.lock().get(&number).map(|preset| preset.at)
    }

    /// Forgets one.
    pub(super) fn remove(&self, number: u32) {
        self.lock().remove(&number);
    }

    /// Stores a position under a number that is there, or under a new one; of a long name the first 64 letters. `None` when there
    /// is no room.
    pub(super) fn store(&self, known: Option<u32>, name: Option<&str>, at: Position) -> Option<u32> {
        let mut presets = self.lock();
        let new = known.is_none_or(|number| !presets.contains_key(&number));
        if new && presets.len() >= PRESETS_MAX {
            return None;
        }
        let number = known.unwrap_or_else(|| presets.last_key_value().map_or(1, |(last, _)| last.saturating_add(1)));
        let name = match name {
            Some(name) => name.chars().take(NAME_MAX).collect(),
            None => presets.get(&number).map_or_else(|| format!("preset {number}"), |preset| preset.name.clone()),
        };
        presets.insert(number, Preset { name, at });
        Some(number)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Preset>> {
        // Nothing that holds it can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_keeps_its_name_when_it_is_stored_anew_and_loses_it_with_its_number() {
        let presets = Presets::default();
        let (home, gate) = (Position::default(), Position { pan: 0.5, ..Position::default() });
        assert_eq!(presets.store(None, Some("gate"), home), Some(1));
        assert_eq!(presets.store(Some(1), None, gate), Some(1));
        assert_eq!(presets.list(), [(1, Preset { name: "gate".to_owned(), at: gate })]);
        presets.remove(1);
        assert_eq!(presets.position(1), None);
        assert_eq!(presets.store(None, None, home), Some(1));
        assert_eq!(presets.list()[0].1.name, "preset 1");
    }
}
