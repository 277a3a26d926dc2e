//! File descriptors: a connection costs one, all of a process come from one limit, and each listener has a share of it,
//! so that listeners which are full leave the others theirs, and the rest of the process what it needs: Redis, files,
//! names.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidings::limits::{ADMIN_CONNECTIONS, ADMIN_DESCRIPTORS, CONNECTIONS, RESERVED_DESCRIPTORS};

/// How many listeners for clients the process has. The limit is the process's, so this is as well.
static LISTENERS: AtomicUsize = AtomicUsize::new(1);

/// Lets the process have as many as its hard limit allows, for so many listeners for clients. Called from a `main.rs`
/// only, before it serves.
///
/// Systems keep the soft limit low (1,024 is common) for programs that call `select`, which can't bear more. This one
/// can.
pub fn raise(listeners: usize) {
    LISTENERS.store(listeners.max(1), Ordering::Relaxed);
    let limit = getrlimit(Resource::Nofile);
    // A container may forbid it: then it stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// How many connections a listener for clients may have.
pub(super) fn available() -> usize {
    of_client_listener(allowed(), LISTENERS.load(Ordering::Relaxed))
}

/// How many the admin listener may have.
pub(super) fn of_admin() -> usize {
    of_admin_listener(allowed())
}

fn allowed() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

fn of_client_listener(allowed: usize, listeners: usize) -> usize {
    let kept = RESERVED_DESCRIPTORS + of_admin_listener(allowed);
    // Of very few, half: the process may lack some then, but it serves.
    let for_clients = allowed.saturating_sub(kept).max(allowed / 2);
    (for_clients / listeners).clamp(1, CONNECTIONS)
}

fn of_admin_listener(allowed: usize) -> usize {
    (allowed / ADMIN_DESCRIPTORS).clamp(1, ADMIN_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_share_what_the_rest_of_the_process_leaves() {
        assert_eq!(of_client_listener(usize::MAX, 2), CONNECTIONS);
        assert_eq!((of_client_listener(1_024, 1), of_admin_listener(1_024)), (1_024 - 64 - 64, 64));
        for (allowed, listeners) in [(1_024, 1), (1_024, 2), (256, 1), (256, 2), (200, 2)] {
            let connections = of_client_listener(allowed, listeners) * listeners + of_admin_listener(allowed);
            assert!(allowed - connections >= RESERVED_DESCRIPTORS, "{allowed}, {listeners}: {connections}");
        }
    }

    #[test]
    fn of_very_few_each_has_some() {
        assert_eq!((of_client_listener(40, 1), of_client_listener(40, 2)), (20, 10));
        assert_eq!((of_client_listener(0, 2), of_admin_listener(0)), (1, 1));
    }
}
