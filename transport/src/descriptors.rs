//! File descriptors: a connection costs one, and those that the rest of the process needs are kept from them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidings::limits::{CONNECTIONS, RESERVED_DESCRIPTORS};

/// Lets the process have as many as its hard limit allows. Called from a `main.rs` only.
///
/// Systems keep the soft limit low (1,024 is common) for programs that call `select`, which can't bear more. This one
/// can.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    // A container may forbid it: then it stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// How many connections a listener may have.
pub(super) fn available() -> usize {
    of(allowed())
}

fn allowed() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

fn of(allowed: usize) -> usize {
    allowed.saturating_sub(RESERVED_DESCRIPTORS).max(allowed / 2).clamp(1, CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_kept_from_connections_and_never_all() {
        assert_eq!(of(usize::MAX), CONNECTIONS);
        assert_eq!(of(1_024), 1_024 - RESERVED_DESCRIPTORS);
        assert_eq!(of(40), 20);
        assert_eq!(of(0), 1);
    }
}
