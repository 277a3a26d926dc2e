//! The time, where anybody counts: to read a clock costs more than to count.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

static IS_COUNTED: AtomicBool = AtomicBool::new(false);

/// From now on what takes time is measured.
pub(super) fn start() {
    IS_COUNTED.store(true, Ordering::Relaxed);
}

/// The time, where anybody counts.
pub(super) fn now() -> Option<Instant> {
    IS_COUNTED.load(Ordering::Relaxed).then(Instant::now)
}
