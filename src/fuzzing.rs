//! Checks of everything here that reads bytes from outside. Each takes any bytes and panics where a promise is broken;
//! each has seeds, from which a fuzzer reaches what it checks.
//!
//! There are two who run them: `fuzz/` for hours, with a fuzzer that is led by coverage, and the tests for a moment,
//! over the seeds and whatever comes near them. So this is there for them only (`fuzzing` is set by cargo-fuzz), and no
//! part of the library as others see it. Checks are beside what they check, some of which is private.

pub(crate) mod target;

pub use target::Target;

pub use crate::{
    channel::fuzzing::{NAMES, PATTERNS},
    cursor::fuzzing::{CURSORS, PAGE_TOKENS},
    envelope::fuzzing::{ENVELOPES, JSON},
    filter::fuzzing::FILTERS,
};

#[cfg(test)]
mod tests {
    use super::*;

    fn try_out(target: Target) {
        tidings_testing::bytes::throw(&(target.seeds)(), target.check);
    }

    #[test]
    fn envelopes() {
        try_out(ENVELOPES);
    }

    #[test]
    fn json() {
        try_out(JSON);
    }

    #[test]
    fn names() {
        try_out(NAMES);
    }

    #[test]
    fn patterns() {
        try_out(PATTERNS);
    }

    #[test]
    fn cursors() {
        try_out(CURSORS);
    }

    #[test]
    fn page_tokens() {
        try_out(PAGE_TOKENS);
    }

    #[test]
    fn filters() {
        try_out(FILTERS);
    }
}
