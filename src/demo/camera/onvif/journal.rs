//! What was done to the camera, for its system log: the last lines, each with its time.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

/// Lines that are kept: what somebody did by hand within an hour or so, some 10 KiB.
const LINES_MAX: usize = 100;

/// The lines, oldest first.
#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<VecDeque<String>>);

impl Journal {
    /// Adds a line; `date_time` is the camera's time.
    pub(super) fn note(&self, date_time: &str, what: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(format!("{date_time} {what}\n"));
    }

    /// All lines.
    pub(super) fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_lines_are_forgotten() {
        let journal = Journal::default();
        (0..LINES_MAX + 2).for_each(|number| journal.note("now", &number.to_string()));
        let text = journal.text();
        assert_eq!(text.lines().count(), LINES_MAX);
        assert!(text.starts_with("now 2\n") && text.ends_with("now 101\n"), "{text}");
    }
}
