//! JSON payloads.
#![no_main]

tidings_fuzz::target!("json", tidings::fuzzing::JSON.seeds, tidings::fuzzing::JSON.check);
