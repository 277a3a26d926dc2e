//! What is printed for people who watch.

use std::io::{self, Write as _};

/// Prints something for people who watch.
pub(crate) fn say(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
