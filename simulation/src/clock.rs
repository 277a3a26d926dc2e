//! Time and chance, as a schedule's thread has them: the C library's functions for both are taken over, so that the
//! code under test, the standard library and all crates get what the schedule says, without knowing it. Other threads
//! get the real ones.

use std::cell::Cell;

/// The wall clock when a schedule begins, ms since 1970.
pub(crate) const BEGINNING_MS: i64 = 1_795_000_000_000;
/// What the monotonic clock says then.
const UPTIME_MS: i64 = 1_000_000;

thread_local! {
    /// Virtual time, ms since the beginning; negative on threads that have none.
    static NOW_MS: Cell<i64> = const { Cell::new(-1) };
    static CHANCE: Cell<u64> = const { Cell::new(0) };
}

/// Makes this thread a schedule's.
pub(crate) fn begin(seed: u64) {
    NOW_MS.set(0);
    CHANCE.set(seed);
    fastrand::seed(seed);
}

/// Virtual time, ms since the beginning.
pub(crate) fn now_ms() -> i64 {
    NOW_MS.get()
}

/// Lets virtual time pass.
pub(crate) fn set(now_ms: i64) {
    NOW_MS.set(now_ms);
}

fn next() -> u64 {
    // SplitMix64.
    let state = CHANCE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    CHANCE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[unsafe(no_mangle)]
extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    let now_ms = NOW_MS.try_with(Cell::get).unwrap_or(-1);
    if now_ms < 0 {
        // SAFETY: the caller's pointer goes to the kernel, which checks it.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as libc::c_int };
    }
    let ms = now_ms + if clock == libc::CLOCK_REALTIME { BEGINNING_MS } else { UPTIME_MS };
    // SAFETY: the caller gives a valid pointer for the answer.
    unsafe { *time = libc::timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 } };
    0
}

#[unsafe(no_mangle)]
extern "C" fn getrandom(buffer: *mut u8, length: libc::size_t, flags: libc::c_uint) -> libc::ssize_t {
    if NOW_MS.try_with(Cell::get).unwrap_or(-1) < 0 {
        // SAFETY: the caller's pointer goes to the kernel, which checks it.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as libc::ssize_t };
    }
    for at in 0..length {
        // SAFETY: the caller gives a buffer of this length.
        unsafe { *buffer.add(at) = next() as u8 };
    }
    length as libc::ssize_t
}
