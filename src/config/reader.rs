//! Takes values out of the located tree. What is wrong is noted and reading goes on, so that all errors come at once.

use std::ops::RangeInclusive;

use super::{
    error::{ConfigError, Position},
    node::{Node, Value},
};

/// A node and how one gets there.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'n> {
    /// The node.
    pub(super) node: &'n Node,
    /// Where an error about it points: the value, or the key of a value that is missing.
    pub(super) path: String,
}

/// The errors so far.
#[derive(Debug, Default)]
pub(super) struct Errors(Vec<ConfigError>);

impl Errors {
    /// Notes that something is wrong.
    pub(super) fn add(&mut self, at: Position, path: &str, message: impl Into<String>) {
        self.0.push(ConfigError::new(at, path, message));
    }

    /// Notes that the value at the cursor is wrong.
    pub(super) fn at(&mut self, cursor: &Cursor<'_>, message: impl Into<String>) {
        self.add(cursor.node.at, &cursor.path, message);
    }

    /// Notes an error of a parser, or passes its result on.
    pub(super) fn keep<T>(&mut self, cursor: &Cursor<'_>, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.at(cursor, message)).ok()
    }

    /// All errors in the order of the document.
    pub(super) fn into_sorted(mut self) -> Vec<ConfigError> {
        self.0.sort();
        self.0.dedup();
        self.0
    }

    fn expected<T>(&mut self, cursor: &Cursor<'_>, what: &str) -> Option<T> {
        let hint = match &cursor.node.value {
            Value::Number(number) => format!("; if it is meant, put it in quotes: \"{number}\""),
            Value::Bool(value) => format!("; if it is meant, put it in quotes: \"{value}\""),
            _ => String::new(),
        };
        let hint = if what == "a text" { hint } else { String::new() };
        self.at(cursor, format!("expected {what}, but found {}{hint}", cursor.node.value.kind()));
        None
    }
}

impl<'n> Cursor<'n> {
    /// The whole document.
    pub(super) fn root(node: &'n Node) -> Self {
        Self { node, path: String::new() }
    }

    /// The text that stands here; never empty.
    pub(super) fn text(&self, errors: &mut Errors) -> Option<&'n str> {
        match &self.node.value {
            Value::Text(text) if text.trim().is_empty() => {
                errors.at(self, "is empty");
                None
            }
            Value::Text(text) => Some(text),
            _ => errors.expected(self, "a text"),
        }
    }

    /// The text or the unquoted number that stands here, as it is written.
    pub(super) fn scalar(&self, errors: &mut Errors) -> Option<&'n str> {
        match &self.node.value {
            Value::Number(number) => Some(number),
            _ => self.text(errors),
        }
    }

    /// The boolean that stands here.
    pub(super) fn flag(&self, errors: &mut Errors) -> Option<bool> {
        match &self.node.value {
            Value::Bool(value) => Some(*value),
            _ => errors.expected(self, "true or false"),
        }
    }

    /// The whole number that stands here, within `range`.
    pub(super) fn whole(&self, range: RangeInclusive<u64>, errors: &mut Errors) -> Option<u64> {
        let found = match &self.node.value {
            Value::Number(number) => number.parse().ok().filter(|number| range.contains(number)),
            _ => None,
        };
        if found.is_none() {
            errors.at(self, format!("expected a whole number from {} to {}", range.start(), range.end()));
        }
        found
    }

    /// The items of the list that stands here; none if something else does.
    pub(super) fn list(&self, errors: &mut Errors) -> Vec<Cursor<'n>> {
        match &self.node.value {
            Value::List(items) => {
                let item = |(index, node)| Cursor { node, path: format!("{}[{index}]", self.path) };
                items.iter().enumerate().map(item).collect()
            }
            _ => errors.expected(self, "a list").unwrap_or_default(),
        }
    }

    /// The map that stands here, with free keys: name, place of the name, value.
    pub(super) fn entries(&self, errors: &mut Errors) -> Vec<(&'n str, Position, Cursor<'n>)> {
        let Value::Map(entries) = &self.node.value else {
            return errors.expected(self, "a map").unwrap_or_default();
        };
        let mut found = Vec::new();
        for (key, node) in entries {
            match &key.value {
                Value::Text(name) => found.push((name.as_str(), key.at, Cursor { node, path: self.join(name) })),
                other => errors.add(key.at, &self.path, format!("a key is a text, but this is {}", other.kind())),
            }
        }
        found
    }

    /// The map that stands here, of which `known` are the keys; others are noted as errors.
    pub(super) fn fields(&self, known: &'static [&'static str], errors: &mut Errors) -> Option<Fields<'n>> {
        if !matches!(self.node.value, Value::Map(_)) {
            return errors.expected(self, "a map");
        }
        let entries = self.entries(errors);
        let mut meant = Vec::new();
        for (name, at, cursor) in &entries {
            if !known.contains(name) {
                errors.add(*at, &cursor.path, unknown_key(name, known));
                meant.extend(near(name, known));
            }
        }
        Some(Fields { at: self.node.at, path: self.path.clone(), entries, meant })
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// A map with known keys.
#[derive(Debug)]
pub(super) struct Fields<'n> {
    /// Where the map begins.
    pub(super) at: Position,
    /// Its path.
    pub(super) path: String,
    entries: Vec<(&'n str, Position, Cursor<'n>)>,
    /// Keys that unknown ones were most likely meant to be. That these are missing needs no second error, which would come first.
    meant: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The value of a key that need not be there.
    pub(super) fn optional(&self, key: &str) -> Option<&Cursor<'n>> {
        self.entries.iter().find(|(name, ..)| *name == key).map(|(.., cursor)| cursor)
    }

    /// The value of a key that must be there.
    pub(super) fn required(&self, key: &str, errors: &mut Errors) -> Option<&Cursor<'n>> {
        let found = self.optional(key);
        if found.is_none() && !self.meant.contains(&key) {
            errors.add(self.at, &self.path, format!("`{key}` is missing"));
        }
        found
    }

    /// The text of a key that must be there.
    pub(super) fn required_text(&self, key: &str, errors: &mut Errors) -> Option<(&'n str, &Cursor<'n>)> {
        let cursor = self.required(key, errors)?;
        Some((cursor.text(errors)?, cursor))
    }

    /// The text of a key that need not be there.
    pub(super) fn optional_text(&self, key: &str, errors: &mut Errors) -> Option<(&'n str, &Cursor<'n>)> {
        let cursor = self.optional(key)?;
        Some((cursor.text(errors)?, cursor))
    }
}

fn unknown_key(name: &str, known: &[&str]) -> String {
    match near(name, known) {
        Some(key) => format!("unknown key; did you mean `{key}`?"),
        None => format!("unknown key; known here: {}", known.join(", ")),
    }
}

/// That of `known` which `name` was most likely meant to be.
pub(super) fn near<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    // Long names are no typing mistakes, and their distance is costly.
    if name.len() > 64 {
        return None;
    }
    let rated = known.iter().map(|key| (distance(&name.to_lowercase(), &key.to_lowercase()), *key));
    rated.min().filter(|(distance, key)| *distance <= (key.len() / 3).max(1)).map(|(_, key)| key)
}

/// How many characters have to be inserted, removed or replaced (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_gets_the_key_that_was_meant() {
        let known = ["remoteAddress", "certificateID", "userLevel"];
        assert_eq!(near("remoteAdress", &known), Some("remoteAddress"));
        assert_eq!(near("certificateId", &known), Some("certificateID"));
        assert_eq!(near("user_level", &known), Some("userLevel"));
        assert_eq!(near("colour", &known), None);
        assert_eq!(near(&"x".repeat(100_000), &known), None);
    }
}
