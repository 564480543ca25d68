//! What one walk of an uplink came to: rows for a person on a ladder, the same as JSON for scripts.
//!
//! Fields are only added; scripts rely on their names.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// The phases that a walk shows, in the order in which an uplink passes them.
pub const PHASES: [&str; 7] = ["authorize", "resolve", "dial", "proxy", "tls", "upgrade", "preface"];

/// Columns of phase, outcome and time.
const PHASE_WIDTH: usize = 10;
const OUTCOME_WIDTH: usize = 7;
const MILLIS_WIDTH: usize = 9;

/// One uplink, tried once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Walk {
    /// The device.
    pub device: String,
    /// RemoteAddress, without its query.
    pub remote_address: String,
    /// Whether it would have been Online.
    pub online: bool,
    /// One row for each of [`PHASES`].
    pub rows: Vec<Row>,
    /// Why not; null when it came up.
    pub error: Option<Problem>,
    /// What else was noticed: clocks, lab switches.
    pub notes: Vec<String>,
}

/// What came of one phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// One of [`PHASES`].
    pub phase: String,
    /// What became of it.
    pub outcome: Outcome,
    /// How long it took; null if it was not tried.
    pub milliseconds: Option<u64>,
    /// What was seen; lines.
    pub seen: Vec<String>,
}

/// How a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As it should.
    Ok,
    /// The walk ended here.
    Failed,
    /// This uplink has none, or an earlier phase failed.
    NotTried,
}

/// Why a walk ended early.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Where.
    pub phase: String,
    /// The label of log and metrics.
    pub cause: String,
    /// What came back.
    pub message: String,
    /// What to do.
    pub advice: String,
}

impl Walk {
    /// The table for a person; ends with a line end.
    pub fn text(&self) -> String {
        let verdict = if self.online { "comes up" } else { "DOES NOT COME UP" };
        let mut text = format!("{} -> {}: {verdict}\n", printable(&self.device), printable(&self.remote_address));
        for row in &self.rows {
            let outcome = match row.outcome {
                Outcome::Ok => "ok",
                Outcome::Failed => "FAILED",
                Outcome::NotTried => "-",
            };
            let millis = row.milliseconds.map(|millis| format!("{millis} ms")).unwrap_or_default();
            let mut lines = row.seen.iter();
            let first = lines.next().map(|line| printable(line)).unwrap_or_default();
            let start =
                format!("  {:<PHASE_WIDTH$} {outcome:<OUTCOME_WIDTH$} {millis:>MILLIS_WIDTH$}  {first}", row.phase);
            push(&mut text, &start);
            let indent = " ".repeat(2 + PHASE_WIDTH + 1 + OUTCOME_WIDTH + 1 + MILLIS_WIDTH + 2);
            lines.for_each(|line| push(&mut text, &format!("{indent}{}", printable(line))));
        }
        if let Some(error) = &self.error {
            push(&mut text, &format!("  why:  {} ({})", printable(&error.message), error.cause));
            push(&mut text, &format!("  do:   {}", error.advice));
        }
        self.notes.iter().for_each(|note| push(&mut text, &format!("  note: {}", printable(note))));
        text
    }
}

fn push(text: &mut String, line: &str) {
    let _ = writeln!(text, "{}", line.trim_end());
}

/// Certificates and answers of strangers reach a terminal here: nothing of them moves its cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_was_tried_what_came_back_and_what_to_do() {
        let row = |phase: &str, outcome, milliseconds, seen: &[&str]| Row {
            phase: phase.to_owned(),
            outcome,
            milliseconds,
            seen: seen.iter().map(|&line| line.to_owned()).collect(),
        };
        let walk = Walk {
            device: "camera-1".to_owned(),
            remote_address: "https://cloud".to_owned(),
            online: false,
            rows: vec![
                row("resolve", Outcome::Ok, Some(3), &["cloud is 192.0.2.1"]),
                row("tls", Outcome::Failed, Some(12), &["1: CN=\u{1b}[31mred", "2: CN=authority"]),
                row("upgrade", Outcome::NotTried, None, &[]),
            ],
            error: Some(Problem {
                phase: "tls".to_owned(),
                cause: "server-untrusted".to_owned(),
                message: "not from a trusted authority".to_owned(),
                advice: "add it".to_owned(),
            }),
            notes: vec!["this clock is off".to_owned()],
        };
        let expected = "\
camera-1 -> https://cloud: DOES NOT COME UP
  resolve    ok           3 ms  cloud is 192.0.2.1
  tls        FAILED      12 ms  1: CN=?[31mred
                                2: CN=authority
  upgrade    -
  why:  not from a trusted authority (server-untrusted)
  do:   add it
  note: this clock is off
";
        assert_eq!(walk.text(), expected);
    }
}
