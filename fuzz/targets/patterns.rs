//! Patterns, and which names they match.
#![no_main]

tidings_fuzz::target!("patterns", tidings::fuzzing::PATTERNS.seeds, tidings::fuzzing::PATTERNS.check);
