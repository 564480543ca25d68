//! The file with the account that the emulator asks for: one line, `USER:PASSWORD`.

use std::{fs::File, io::Read, path::Path};

use crate::base::secret::Secret;

/// More than any camera takes for both, and a line end.
const FILE_MAX: u64 = 1024;

/// Reads user and password.
///
/// # Errors
/// A sentence that names the file and never quotes it.
pub fn read(path: &Path) -> Result<(String, Secret), String> {
    let wrong = |what: &str| format!("{}: {what}", path.display());
    let mut text = String::new();
    let file = File::open(path).map_err(|error| wrong(&error.to_string()))?;
    file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(|error| wrong(&error.to_string()))?;
    if text.len() as u64 > FILE_MAX {
        return Err(wrong("longer than 1024 bytes; write one line, USER:PASSWORD"));
    }
    parse(&text).ok_or_else(|| wrong("write one line, USER:PASSWORD"))
}

fn parse(text: &str) -> Option<(String, Secret)> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let (user, password) = line.split_once(':')?;
    let whole = !user.is_empty() && !line.contains(char::is_control);
    whole.then(|| (user.to_owned(), Secret::new(password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_or_without_its_end_is_read_and_a_password_may_have_colons() {
        for text in ["admin:a:b", "admin:a:b\n", "admin:a:b\r\n"] {
            let (user, password) = parse(text).expect(text);
            assert_eq!((user.as_str(), password.expose()), ("admin", "a:b"));
        }
    }

    #[test]
    fn anything_else_is_refused_without_being_quoted() {
        for text in ["", "admin", ":secret", "admin:secret\nadmin:other\n"] {
            assert!(parse(text).is_none(), "{text:?}");
        }
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(file.path(), "hunter2").expect("written");
        let sentence = read(file.path()).expect_err("no colon");
        assert!(sentence.ends_with("write one line, USER:PASSWORD") && !sentence.contains("hunter2"), "{sentence}");
        std::fs::write(file.path(), vec![b'x'; 5000]).expect("written");
        assert!(read(file.path()).expect_err("long").contains("1024"));
        assert!(read(Path::new("/nonexistent/file")).is_err());
    }
}
