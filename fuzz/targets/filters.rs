//! Filters over attributes, and which messages they match.
#![no_main]

tidings_fuzz::target!("filters", tidings::fuzzing::FILTERS.seeds, tidings::fuzzing::FILTERS.check);
