//! The keys in force, which are replaced while calls are checked with them.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;
use tidings::{metrics, printable::chain};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    Error,
    key_server::{FetchKeys, Fetched, KeyServer},
    keys::Keys,
    watched::{self, Watched},
};

/// Where keys come from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// A file whose bytes are a secret that who signs and who checks share: HS256, HS384, HS512. A line's end behind it
    /// is none of it.
    Secret(PathBuf),
    /// A file with a JSON Web Key Set, RFC 7517, of public keys.
    Jwks(PathBuf),
    /// The same from a server.
    Server(Arc<dyn FetchKeys>),
}

/// The keys in force.
pub(crate) struct KeyRing {
    /// `None` while there are none: their server has not answered yet, or not for too long.
    keys: ArcSwapOption<Keys>,
    source: Source,
    /// Why there are none.
    lack: watch::Sender<Option<String>>,
}

#[derive(Debug)]
enum Source {
    File(Mutex<KeyFile>),
    Server(KeyServer),
}

#[derive(Debug)]
struct KeyFile {
    file: Watched,
    read: fn(&[u8]) -> Result<Keys, crate::InvalidKeys>,
}

impl KeyRing {
    /// Reads a file. A server is asked later ([`keep_current`](Self::keep_current)): until then there are no keys.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub(crate) fn open(source: KeySource) -> Result<Self, Error> {
        let mut file = match source {
            KeySource::Secret(path) => KeyFile { file: Watched::new(path), read: Keys::secret },
            KeySource::Jwks(path) => KeyFile { file: Watched::new(path), read: Keys::jwks },
            KeySource::Server(fetch) => {
                let server = KeyServer::new(fetch);
                let lack = format!("no keys to check tokens with yet: {} is asked", server.url());
                let (source, lack) = (Source::Server(server), watch::Sender::new(Some(lack)));
                return Ok(Self { keys: ArcSwapOption::empty(), source, lack });
            }
        };
        let keys = file.changed()?.unwrap_or_default();
        keys.log_passed();
        let source = Source::File(Mutex::new(file));
        Ok(Self { keys: ArcSwapOption::from_pointee(keys), source, lack: watch::Sender::new(None) })
    }

    /// The keys; `None` while there are none.
    pub(crate) fn load(&self) -> Option<Arc<Keys>> {
        self.keys.load_full()
    }

    /// Why there are none; `None` while there are some.
    pub(crate) fn lack(&self) -> watch::Receiver<Option<String>> {
        self.lack.subscribe()
    }

    /// Ready when a key that is not among these may be; `None` where there is nothing to wait for.
    pub(crate) fn ask(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        match &self.source {
            Source::File(_) => None,
            Source::Server(server) => server.ask(),
        }
    }

    /// Looks for other keys whenever it is time, until the token is cancelled.
    pub(crate) async fn keep_current(self: Arc<Self>, shutdown: CancellationToken) {
        match &self.source {
            Source::File(_) => {
                let this = Arc::clone(&self);
                watched::regularly(shutdown, move || this.reload()).await;
            }
            Source::Server(server) => server.keep_current(shutdown, |fetched| self.take(fetched)).await,
        }
    }

    fn take(&self, fetched: Fetched) {
        match fetched {
            Fetched::Same => {}
            Fetched::New(keys) => {
                tracing::info!(?keys, "the keys for tokens have changed");
                keys.log_passed();
                self.keys.store(Some(Arc::new(keys)));
                self.lack.send_replace(None);
            }
            Fetched::Nothing(lack) => {
                self.keys.store(None);
                self.lack.send_replace(Some(lack));
            }
        }
    }

    /// Reads the file again. What can't be read leaves what there was.
    pub(crate) fn reload(&self) {
        let Source::File(file) = &self.source else { return };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        match file.changed() {
            Ok(None) => {}
            Ok(Some(keys)) => {
                tracing::info!(?keys, path = %file.file.path().display(), "the keys for tokens have changed");
                keys.log_passed();
                metrics::read_again(metrics::File::Keys, true);
                self.keys.store(Some(Arc::new(keys)));
            }
            Err(error) => {
                metrics::read_again(metrics::File::Keys, false);
                tracing::warn!(error = chain(&error), "the keys for tokens can't be read again; the old ones stay");
            }
        }
    }
}

impl KeyFile {
    /// The keys, unless they are what they were.
    fn changed(&mut self) -> Result<Option<Keys>, Error> {
        let path = self.file.path().clone();
        let content = self.file.read().map_err(|source: io::Error| Error::File { path: path.clone(), source })?;
        content.map(|bytes| (self.read)(&bytes)).transpose().map_err(|source| Error::Keys { path, source })
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("source", &self.source).finish_non_exhaustive()
    }
}
