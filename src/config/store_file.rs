//! Write-back to the configuration file: read anew, edited, validated, and put in place of the old one at once.
//!
//! What is edited is what lies there at that moment, so that nobody's edit is lost; a file with errors is left to whoever is mending
//! it. The new text goes to a temporary file beside it with the same owner and permissions, to the disk, and then takes the name
//! of the old one: a crash leaves one of the two.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Served,
    edit::Edit,
    file::read,
    source::Document,
    store::{ConfigStore, StoreError, edited},
};
use crate::base::http::BoxFuture;

/// How often a change is made anew because somebody else wrote meanwhile.
const ATTEMPTS_MAX: u32 = 5;

/// [`ConfigStore`] for a file.
#[derive(Debug)]
pub struct FileStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    served: Served,
    /// One change after the other.
    writing: Mutex<()>,
}

impl FileStore {
    /// Changes `path`; what validation accepts is what is `served`.
    pub fn new(path: impl Into<PathBuf>, served: Served) -> Self {
        Self { shared: Arc::new(Shared { path: path.into(), served, writing: Mutex::default() }) }
    }
}

impl ConfigStore for FileStore {
    fn change(&self, device: &str, edit: Edit) -> BoxFuture<'static, Result<Document, StoreError>> {
        let (shared, device) = (Arc::clone(&self.shared), device.to_owned());
        Box::pin(async move {
            // On a thread for blocking work a change that was begun is ended even if nobody waits any more.
            let changed = tokio::task::spawn_blocking(move || shared.change(&device, &edit)).await;
            changed.unwrap_or_else(|_| Err(not_writable("this document could not be edited; change it by hand")))
        })
    }
}

fn not_writable(sentence: impl Into<String>) -> StoreError {
    StoreError::NotWritable(sentence.into())
}

impl Shared {
    fn change(&self, device: &str, edit: &Edit) -> Result<Document, StoreError> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..ATTEMPTS_MAX {
            let old = read(&self.path).map_err(|error| not_writable(error.to_string()))?;
            let new = edited(&old, device, edit, &self.served)?;
            if new.text == old.text || replace(&self.path, &old, &new.text)? {
                tracing::info!(file = old.name, device, "the uplink configuration service changed the configuration");
                return Ok(new);
            }
        }
        Err(not_writable("somebody else writes to it all the time; try again"))
    }
}

/// Puts `text` in place of the file at `path`; `false` if that is not `old` any more.
fn replace(path: &Path, old: &Document, text: &str) -> Result<bool, StoreError> {
    // A link stays one: what it points to is replaced.
    let target = fs::canonicalize(path).map_err(|error| explain(path, &error))?;
    if is_mounted_volume(path, &target) {
        return Err(not_writable(format!(
            "{} is mounted from a ConfigMap or Secret; change that instead",
            path.display()
        )));
    }
    let temporary = Temporary::beside(&target, text).map_err(|error| explain(&target, &error))?;
    if read(path).ok().as_ref() != Some(old) {
        return Ok(false);
    }
    temporary.rename_to(&target).map_err(|error| explain(&target, &error))?;
    Ok(true)
}

/// Kubernetes mounts these as `FILE -> ..data/FILE`, `..data -> ..TIMESTAMP`; whatever is written there goes with the next change.
fn is_mounted_volume(path: &Path, target: &Path) -> bool {
    let beside = path.parent().is_some_and(|parent| parent.join("..data").symlink_metadata().is_ok());
    beside
        || target
            .components()
            .any(|part| part.as_os_str().to_str().is_some_and(|name| name.len() > 2 && name.starts_with("..")))
}

fn explain(path: &Path, error: &io::Error) -> StoreError {
    let path = path.display();
    let sentence = match error.kind() {
        ErrorKind::ReadOnlyFilesystem => format!("{path} is on a file system that is mounted read-only"),
        ErrorKind::PermissionDenied => format!("{path} and its directory may not be written by this process ({error})"),
        ErrorKind::ResourceBusy => format!("{path} is a mount of its own; mount its directory instead"),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => format!("{path}: there is no space left"),
        _ => format!("{path}: {error}"),
    };
    not_writable(sentence)
}

/// A file that is removed unless it takes the place of another.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(target: &Path, text: &str) -> io::Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let like = fs::metadata(target)?;
        // One that a crash left over; two processes do not have one number.
        let _ = fs::remove_file(&path);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let temporary = Self(path);
        file.write_all(text.as_bytes())?;
        keep_owner(&file, &like)?;
        file.set_permissions(fs::Permissions::from_mode(like.permissions().mode()))?;
        file.sync_all()?;
        Ok(temporary)
    }

    fn rename_to(self, target: &Path) -> io::Result<()> {
        fs::rename(&self.0, target)?;
        let directory = target.parent().map(File::open).transpose()?;
        // The file is in place; a directory that cannot be synced is no reason to say that it is not.
        directory.map_or(Ok(()), |directory| directory.sync_all().or(Ok(())))
    }
}

fn keep_owner(file: &File, like: &fs::Metadata) -> io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) == (like.uid(), like.gid()) {
        return Ok(());
    }
    fchown(file, Some(like.uid()), Some(like.gid()))
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing of this name.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
#[path = "store_file_tests.rs"]
mod tests;
