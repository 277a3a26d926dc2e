//! Callers whose tokens were found good: to check a signature costs a hundred times as much. Nothing is remembered of
//! tokens that were not.

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;
use tidings::limits::KNOWN_TOKENS;

use crate::{Caller, ClientCertificate, keys::Keys};

/// The callers of some tokens, by a hash of these.
pub(crate) struct KnownCallers(Mutex<Known>);

struct Known {
    /// What the tokens were checked with. With other keys they are not known: one may have been taken away.
    keys: Option<Arc<Keys>>,
    callers: LruCache<blake3::Hash, Caller>,
}

impl KnownCallers {
    /// None yet.
    pub(crate) fn new() -> Self {
        let callers = LruCache::new(NonZeroUsize::new(KNOWN_TOKENS).unwrap_or(NonZeroUsize::MIN));
        Self(Mutex::new(Known { keys: None, callers }))
    }

    /// The caller that was found by these keys.
    pub(crate) fn get(&self, credentials: &blake3::Hash, keys: &Arc<Keys>) -> Option<Caller> {
        let mut known = self.known();
        if !known.is_of(keys) {
            known.callers.clear();
            known.keys = Some(Arc::clone(keys));
        }
        known.callers.get(credentials).cloned()
    }

    /// Remembers a caller, unless other keys have been looked up meanwhile.
    pub(crate) fn put(&self, credentials: blake3::Hash, keys: &Arc<Keys>, caller: Caller) {
        let mut known = self.known();
        if known.is_of(keys) {
            known.callers.put(credentials, caller);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn is_of(&self, keys: &Arc<Keys>) -> bool {
        self.keys.as_ref().is_some_and(|own| Arc::ptr_eq(own, keys))
    }
}

/// The hash of all that somebody signs in with.
pub(crate) fn hash(token: &str, certificate: Option<&ClientCertificate>) -> blake3::Hash {
    let Some(certificate) = certificate else { return blake3::hash(token.as_bytes()) };
    // A hash has one length, so nothing of the one can be taken for the other's.
    blake3::Hasher::new().update(certificate.hash().as_bytes()).update(token.as_bytes()).finalize()
}

impl fmt::Debug for KnownCallers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KnownCallers").field(&self.known().callers.len()).finish()
    }
}
