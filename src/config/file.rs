//! The configuration document as a file: plain, mounted from a ConfigMap or Secret, or not there yet.

use std::{
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::watch;

use super::{
    MAX_DOCUMENT_BYTES,
    source::{ConfigSource, Document, SourceError},
};
use crate::base::{http::BoxFuture, watch::FileWatcher};

type Told = Result<Document, SourceError>;

/// Tells the content of one file whenever it changed.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    watcher: Arc<FileWatcher>,
    pub(super) changes: watch::Receiver<u64>,
    told: Option<Told>,
    /// The file is to be read: at first, and after a report until it was read, however often the wait is cancelled.
    due: bool,
}

impl FileSource {
    /// Follows `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>, watcher: Arc<FileWatcher>) -> Self {
        let path = path.into();
        let changes = watcher.subscribe(std::slice::from_ref(&path));
        Self { path, watcher, changes, told: None, due: true }
    }

    async fn next_told(&mut self) -> Told {
        loop {
            if !self.due && self.changes.changed().await.is_err() {
                // The watcher is gone: the process ends, and there are no more changes.
                std::future::pending::<()>().await;
            }
            self.due = true;
            let path = self.path.clone();
            let now = tokio::task::spawn_blocking(move || read(&path))
                .await
                .unwrap_or_else(|error| Err(SourceError::Unreadable { name: self.name(), reason: error.to_string() }));
            self.due = false;
            if self.told.as_ref() != Some(&now) {
                self.told = Some(now.clone());
                return now;
            }
        }
    }
}

impl ConfigSource for FileSource {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn next(&mut self) -> BoxFuture<'_, Told> {
        Box::pin(self.next_told())
    }

    fn reload(&self) {
        self.watcher.look();
    }
}

/// Reads a document from a file. Blocks.
///
/// # Errors
/// Missing, unreadable, too large or not UTF-8.
pub fn read(path: &Path) -> Result<Document, SourceError> {
    let name = path.display().to_string();
    let unreadable = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => SourceError::Missing(name.clone()),
        _ => SourceError::Unreadable { name: name.clone(), reason: error.to_string() },
    };
    // Opening a named pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(SourceError::Unreadable { name, reason: "it is not a regular file".to_owned() });
    }
    let mut bytes = Vec::new();
    let open = std::fs::File::open(path).map_err(unreadable)?;
    open.take(MAX_DOCUMENT_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return Err(SourceError::TooLarge { name, limit: MAX_DOCUMENT_BYTES });
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        SourceError::NotUtf8 { name: name.clone(), line: 1 + good.iter().filter(|byte| **byte == b'\n').count() }
    })?;
    let base_dir = path.parent().map(Path::to_owned).unwrap_or_default();
    Ok(Document { name, text, base_dir })
}
