//! The password for Redis, and the file that has it.

use std::{
    fmt, fs,
    io::{self, Read as _},
    path::PathBuf,
};

use tidings::limits::REDIS_PASSWORD_BYTES;

/// A password. Its `Debug` keeps it to itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(String);

impl Password {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The password itself, for Redis alone.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Why a file has no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It can't be read.
    #[error("{path} can't be read")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is empty, larger than a password may be, or no text.
    #[error("{path} holds no password: it must have a line of UTF-8, at most {REDIS_PASSWORD_BYTES} bytes")]
    Unfit {
        /// Which.
        path: PathBuf,
    },
}

/// Reads the password of a file: its text without the line break at the end.
pub(crate) fn read(path: &PathBuf) -> Result<Password, PasswordError> {
    let unreadable = |source| PasswordError::Unreadable { path: path.clone(), source };
    let file = fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(REDIS_PASSWORD_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let unfit = || PasswordError::Unfit { path: path.clone() };
    let text = String::from_utf8(bytes).map_err(|_| unfit())?;
    let line = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
    match !line.is_empty() && text.len() <= REDIS_PASSWORD_BYTES && !line.contains('\n') {
        true => Ok(Password(line.to_owned())),
        false => Err(unfit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_break_at_the_end_is_not_part_of_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("password");
        for (content, password) in [
            (&b"s3cret"[..], Some("s3cret")),
            (b"s3cret\n", Some("s3cret")),
            (b"s3cret\r\n", Some("s3cret")),
            (b" s3 cret \n", Some(" s3 cret ")),
            (b"", None),
            (b"\n", None),
            (b"one\ntwo\n", None),
            (b"\xff\xfe", None),
            (&[b'x'; REDIS_PASSWORD_BYTES + 1], None),
        ] {
            fs::write(&path, content).expect("written");
            let found = read(&path);
            assert_eq!(found.as_ref().ok().map(Password::reveal), password, "{content:?}");
            assert!(!format!("{found:?}").contains("s3"), "{found:?}");
        }
        assert!(matches!(read(&folder.path().join("none")), Err(PasswordError::Unreadable { .. })));
    }
}
