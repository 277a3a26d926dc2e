//! Key sets, as identity providers publish them.
#![no_main]

tidings_fuzz::target!("key_sets", tidings_auth::fuzzing::key_set_seeds, tidings_auth::fuzzing::check_key_set);
