//! A file that is read again when its content changes. Content, not time: Kubernetes swaps symbolic links, and clocks
//! step.

use std::{io, path::PathBuf, sync::Arc};

use tidings::limits::{AUTH_FILE_BYTES, AUTH_RELOAD_INTERVAL};
use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

/// Reads files again and again, until the token is cancelled.
pub(crate) async fn regularly(shutdown: CancellationToken, read: impl Fn() + Send + Sync + 'static) {
    let read = Arc::new(read);
    while shutdown.run_until_cancelled(sleep(AUTH_RELOAD_INTERVAL)).await.is_some() {
        let read = Arc::clone(&read);
        // Files may be on a network.
        let _ = spawn_blocking(move || read()).await;
    }
}

/// A file, and what was read of it last.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    last: Option<blake3::Hash>,
}

impl Watched {
    /// Nothing is read yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, last: None }
    }

    /// Where it is.
    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Its content, unless that is what it was before.
    ///
    /// # Errors
    ///
    /// What the system says, or that it is larger than any such file.
    pub fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        use io::Read as _;
        let mut content = Vec::new();
        std::fs::File::open(&self.path)?.take(AUTH_FILE_BYTES + 1).read_to_end(&mut content)?;
        if content.len() as u64 > AUTH_FILE_BYTES {
            return Err(io::Error::other(format!("it has more than {AUTH_FILE_BYTES} bytes")));
        }
        let hash = blake3::hash(&content);
        if self.last.replace(hash) == Some(hash) { Ok(None) } else { Ok(Some(content)) }
    }
}
