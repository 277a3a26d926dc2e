//! What is on a channel.
#![no_main]

tidings_fuzz::target!("envelopes", tidings::fuzzing::ENVELOPES.seeds, tidings::fuzzing::ENVELOPES.check);
