//! What is wrong with a configuration document, and where.

use std::fmt;

/// A place in the document; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Column in characters.
    pub column: u64,
}

impl Position {
    /// The first character.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl From<serde_saphyr::Location> for Position {
    fn from(location: serde_saphyr::Location) -> Self {
        // An unknown location is 0:0; editors count from 1.
        Self { line: location.line().max(1), column: location.column().max(1) }
    }
}

/// One thing that is wrong. Prints `LINE:COLUMN: path: sentence`; whoever knows the file puts its name in front.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub struct ConfigError {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
    /// For example `devices[0].uplinks[1].remoteAddress`; empty for the document.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl ConfigError {
    /// An error at a place.
    pub fn new(at: Position, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { line: at.line, column: at.column, path: one_line(path.into()), message: one_line(message.into()) }
    }
}

/// Errors quote the document; its control characters must neither break the line nor reach a terminal.
fn one_line(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    text.chars().flat_map(|c| if c.is_control() { c.escape_debug().collect() } else { vec![c] }).collect()
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_whatever_it_quotes() {
        let error = ConfigError::new(Position::START, "a\nb", "there is no `\u{1b}[2J`");
        assert_eq!(error.to_string(), "1:1: a\\nb: there is no `\\u{1b}[2J`");
    }
}
