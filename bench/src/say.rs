//! What is said to whoever watches.

use std::io::{self, Write as _};

/// Says something to whoever watches.
pub(crate) fn say(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
