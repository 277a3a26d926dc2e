//! Redis's replies on the live connection.
#![no_main]

tidings_fuzz::target!("resp", tidings::fuzzing::RESP.seeds, tidings::fuzzing::RESP.check);
