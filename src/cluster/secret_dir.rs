//! A Secret as a directory of files, written as kubelet does it: all of a version into a new directory, then one rename of the
//! symlink `..data`. Who reads `..data/tls.crt` and `..data/tls.key` never mixes two versions for longer than one look.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink},
    path::Path,
};

use crate::base::random::random_hex;

/// The symlink to the version in force.
const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";
/// Only this process reads them.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// The files of a version: key -> content.
pub(super) type Files<'a> = BTreeMap<&'a str, &'a [u8]>;

/// Whether a version is there.
pub(super) fn exists(root: &Path) -> bool {
    root.join(DATA).exists()
}

/// Puts `files` in the place of what is there. Returns whether anything changed. Blocks.
///
/// # Errors
/// The directory holds what was not written here, which is left alone; or what the operating system says, and then the old version
/// is still in force.
pub(super) fn write(root: &Path, files: &Files<'_>) -> io::Result<bool> {
    DirBuilder::new().recursive(true).mode(DIR_MODE).create(root)?;
    if !is_ours(root)? {
        return Err(io::Error::new(ErrorKind::AlreadyExists, format!("{} holds other files", root.display())));
    }
    if holds(root, files) {
        return Ok(false);
    }
    let version = format!("..{}", random_hex::<8>());
    let dir = root.join(&version);
    let placed = fill(&dir, files).and_then(|()| swap(root, &version));
    if let Err(error) = placed {
        // It is not in force, and nobody looks for it.
        let _ = fs::remove_dir_all(&dir);
        return Err(error);
    }
    for key in files.keys() {
        match symlink(Path::new(DATA).join(key), root.join(key)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    sweep(root, &version, files)?;
    Ok(true)
}

/// Removes a Secret that was written here; that there is none, or that it was not written here, is fine. Blocks.
///
/// # Errors
/// What the operating system says.
pub(super) fn remove(root: &Path) -> io::Result<()> {
    match is_ours(root).and_then(|ours| if ours { fs::remove_dir_all(root) } else { Ok(()) }) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Whether all in it may be replaced: a directory of Secrets that is really one of something else must not lose its files.
fn is_ours(root: &Path) -> io::Result<bool> {
    // A first write that was cut short has left a version only.
    let foreign = |name: &std::ffi::OsStr| !name.as_encoded_bytes().starts_with(b"..");
    if root.join(DATA).is_symlink() {
        return Ok(true);
    }
    for entry in fs::read_dir(root)? {
        if foreign(&entry?.file_name()) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds(root: &Path, files: &Files<'_>) -> bool {
    let data = root.join(DATA);
    let Ok(entries) = fs::read_dir(&data) else { return false };
    entries.count() == files.len()
        && files.iter().all(|(key, content)| {
            root.join(key).is_symlink() && fs::read(data.join(key)).is_ok_and(|now| now == *content)
        })
}

fn fill(dir: &Path, files: &Files<'_>) -> io::Result<()> {
    DirBuilder::new().mode(DIR_MODE).create(dir)?;
    for (key, content) in files {
        OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(dir.join(key))?.write_all(content)?;
    }
    Ok(())
}

fn swap(root: &Path, version: &str) -> io::Result<()> {
    let next = root.join(DATA_NEXT);
    match fs::remove_file(&next) {
        // Left behind by a process that was killed.
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(version, &next)?;
    fs::rename(&next, root.join(DATA))
}

/// Removes the older versions, and the links to keys that are gone.
fn sweep(root: &Path, version: &str, files: &Files<'_>) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let keep = name == DATA || name == version || name.to_str().is_some_and(|name| files.contains_key(name));
        if !keep {
            let is_dir = entry.file_type()?.is_dir();
            if is_dir { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, os::unix::fs::PermissionsExt};

    use super::*;

    fn names(root: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(root).expect("a directory").map(|entry| entry.expect("an entry").file_name());
        entries.map(|name| name.into_string().expect("text")).collect()
    }

    #[test]
    fn a_version_is_there_whole_private_and_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("camera-1-tls");
        assert!(write(&root, &Files::from([("tls.crt", &b"c1"[..]), ("tls.key", b"k1")])).expect("written"));
        assert!(write(&root, &Files::from([("tls.crt", &b"c2"[..]), ("tls.key", b"k2")])).expect("written"));
        assert_eq!(fs::read(root.join("tls.crt")).expect("there"), b"c2");
        assert_eq!(fs::read(root.join("tls.key")).expect("there"), b"k2");
        let version = fs::read_link(root.join(DATA)).expect("a link");
        assert_eq!(
            names(&root),
            BTreeSet::from([version.to_str().expect("text"), DATA, "tls.crt", "tls.key"].map(str::to_owned))
        );
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&root), mode(&root.join(&version)), mode(&root.join("tls.key"))), (0o700, 0o700, 0o600));
    }

    #[test]
    fn what_is_there_already_is_not_written_again_and_a_key_that_is_gone_vanishes() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("s");
        let both = Files::from([("a", &b"1"[..]), ("b", b"2")]);
        assert!(write(&root, &both).expect("written"));
        let version = fs::read_link(root.join(DATA)).expect("a link");
        assert!(!write(&root, &both).expect("the same"));
        assert_eq!(fs::read_link(root.join(DATA)).expect("a link"), version);
        assert!(write(&root, &Files::from([("a", &b"1"[..])])).expect("written"));
        assert!(fs::symlink_metadata(root.join("b")).is_err());
        remove(&root).expect("removed");
        remove(&root).expect("nothing to do");
        assert!(!root.exists() && !exists(&root));
    }

    #[test]
    fn a_directory_of_something_else_is_neither_written_nor_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("precious"), "1").expect("written");
        let error = write(dir.path(), &Files::from([("a", &b"1"[..])])).expect_err("foreign");
        assert!(error.to_string().contains("holds other files"), "{error}");
        remove(dir.path()).expect("left alone");
        assert_eq!(names(dir.path()), BTreeSet::from(["precious".to_owned()]));
    }

    #[test]
    fn a_directory_that_cannot_be_written_keeps_its_version() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("s");
        fs::write(&root, "a file in the way").expect("written");
        assert!(write(&root, &Files::from([("a", &b"1"[..])])).is_err());
        assert_eq!(fs::read(&root).expect("untouched"), b"a file in the way");
    }
}
