//! Where configuration documents come from.

use std::path::PathBuf;

use crate::base::http::BoxFuture;

/// A document, not yet validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What errors name in front of line and column: a file, or `namespace/name/key` of a ConfigMap.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Relative file names are relative to this directory.
    pub base_dir: PathBuf,
}

/// Why there is no document now. The last good set stays in force; that is for the application to say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It does not exist, yet or any more.
    #[error("{0}: there is no such file")]
    Missing(String),
    /// There is no such ConfigMap, yet or any more.
    #[error("{0}: there is no such ConfigMap")]
    MissingObject(String),
    /// The ConfigMap has other keys.
    #[error("{name}: the ConfigMap has no key `{key}`; {present}")]
    MissingKey {
        /// Name of the document.
        name: String,
        /// The key that is missing.
        key: String,
        /// A clause that lists those that it has.
        present: String,
    },
    /// The key is not under `data`.
    #[error("{0}: the key is under binaryData, so its text is not UTF-8 or was not meant as text; write it under data")]
    Binary(String),
    /// It exists and cannot be read.
    #[error("{name}: cannot be read: {reason}")]
    Unreadable {
        /// Name of the document.
        name: String,
        /// What the operating system or the API server says.
        reason: String,
    },
    /// It is larger than [`super::MAX_DOCUMENT_BYTES`].
    #[error("{name}: is larger than {limit} bytes")]
    TooLarge {
        /// Name of the document.
        name: String,
        /// The bound in bytes.
        limit: usize,
    },
    /// It is not UTF-8.
    #[error("{name}:{line}: is not UTF-8 text")]
    NotUtf8 {
        /// Name of the document.
        name: String,
        /// The first line that is not.
        line: usize,
    },
}

/// A source of documents. Object-safe: the room `app` chooses one implementation.
pub trait ConfigSource: Send + 'static {
    /// The name of the document, for logs.
    fn name(&self) -> String;

    /// The first time what is there; then waits until that is something else than what was told last. Cancel safe: a
    /// cancelled wait loses no change.
    ///
    /// # Errors
    /// Why there is no document; told once until that changes.
    fn next(&mut self) -> BoxFuture<'_, Result<Document, SourceError>>;

    /// Looks now instead of at the next change (SIGHUP). What has not changed is not told again.
    fn reload(&self);
}
