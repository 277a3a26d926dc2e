//! Cursors of channels and of whole streams.
#![no_main]

tidings_fuzz::target!("cursors", tidings::fuzzing::CURSORS.seeds, tidings::fuzzing::CURSORS.check);
