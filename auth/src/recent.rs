//! The caller of a connection's last call. Most connections carry the calls of one caller, with one token: to compare
//! the header costs less than to take the token out of it, to hash it, and to look the hash up in a table of all.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::{Caller, keys::Keys};

/// What a connection remembers. It belongs to one connection, since a caller may also be of that one's certificate.
#[derive(Default)]
pub struct Recent(Mutex<Option<Last>>);

struct Last {
    /// The whole value of its `authorization`.
    header: Vec<u8>,
    caller: Caller,
    /// What its token was checked with. Not held: a key that is taken away is to be gone.
    keys: Weak<Keys>,
}

impl Recent {
    /// The caller, if this is the header of the last call, its token was found good by these keys, and it still is.
    pub(crate) fn get(&self, header: &[u8], keys: &Arc<Keys>) -> Option<Caller> {
        let last = self.last();
        let last = last.as_ref()?;
        // Others may share the connection, through a proxy: how long this takes must not say how much of another's
        // token was guessed.
        let is_same = verify_slices_are_equal(&last.header, header).is_ok();
        (is_same && last.keys.as_ptr() == Arc::as_ptr(keys) && !last.caller.has_expired()).then(|| last.caller.clone())
    }

    /// Remembers a caller in the place of the one before.
    pub(crate) fn put(&self, header: &[u8], keys: &Arc<Keys>, caller: &Caller) {
        let mut last = self.last();
        // Where callers take turns, the room of the one before is used again.
        let mut room = last.take().map(|last| last.header).unwrap_or_default();
        room.clear();
        room.extend_from_slice(header);
        *last = Some(Last { header: room, caller: caller.clone(), keys: Arc::downgrade(keys) });
    }

    fn last(&self) -> MutexGuard<'_, Option<Last>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent").finish_non_exhaustive()
    }
}
