//! Channel names.
#![no_main]

tidings_fuzz::target!("names", tidings::fuzzing::NAMES.seeds, tidings::fuzzing::NAMES.check);
