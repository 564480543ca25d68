//! What a file holds, small enough to keep and exact enough to compare.

use std::{
    hash::{BuildHasher, RandomState},
    io::{self, Read},
    path::Path,
    sync::LazyLock,
    time::SystemTime,
};

/// Larger files are not read whole: the bound of a ConfigMap and of a Secret (1 MiB).
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The content of a file at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// It cannot be read, or is no plain file.
    Unreadable(io::ErrorKind),
    /// It was read, up to [`MAX_FILE_BYTES`].
    Read {
        /// Keyed hash of what was read.
        hash: u64,
        /// Its whole length.
        length: u64,
    },
}

impl Content {
    /// Reads `file`.
    pub(super) fn of(file: &Path) -> Self {
        read(file).unwrap_or_else(|error| Self::Unreadable(error.kind()))
    }
}

fn read(file: &Path) -> io::Result<Content> {
    // Opening a named pipe would wait for a writer, and reading one would take its bytes from somebody.
    if !std::fs::metadata(file)?.is_file() {
        return Ok(Content::Unreadable(io::ErrorKind::InvalidInput));
    }
    let open = std::fs::File::open(file)?;
    let length = open.metadata()?.len();
    let mut bytes = Vec::with_capacity(length.min(MAX_FILE_BYTES) as usize);
    open.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    // Random keys: nobody can make two contents that look the same.
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    Ok(Content::Read { hash: KEYS.hash_one(&bytes), length })
}

/// What a look at the directory entry tells, without reading: enough to see that a file was written to or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Option<(Inode, u64, Option<SystemTime>)>);

impl Stamp {
    /// The stamp of `file` now.
    pub(super) fn of(file: &Path) -> Self {
        let stamp = |found: std::fs::Metadata| (Inode::of(&found), found.len(), found.modified().ok());
        Self(std::fs::metadata(file).ok().map(stamp))
    }
}

/// Tells one file or directory from another that took its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    /// The inode of what was found.
    pub(super) fn of(found: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: found.dev(), number: found.ino() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_are_equal_content_whoever_wrote_them() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, "same").unwrap();
        std::fs::write(&b, "same").unwrap();
        assert_eq!(Content::of(&a), Content::of(&b));
        std::fs::write(&b, "else").unwrap();
        assert_ne!(Content::of(&a), Content::of(&b));
    }

    #[test]
    fn a_missing_file_and_a_directory_are_unreadable() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Content::of(&dir.path().join("none")), Content::Unreadable(io::ErrorKind::NotFound));
        assert_eq!(Content::of(dir.path()), Content::Unreadable(io::ErrorKind::InvalidInput));
    }

    #[test]
    fn a_file_that_grows_beyond_the_bound_still_differs() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("large");
        std::fs::write(&file, vec![b'x'; MAX_FILE_BYTES as usize + 1]).unwrap();
        let before = Content::of(&file);
        std::fs::write(&file, vec![b'x'; MAX_FILE_BYTES as usize + 2]).unwrap();
        assert_ne!(Content::of(&file), before);
    }
}
