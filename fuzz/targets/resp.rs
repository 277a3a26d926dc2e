//! Redis's replies on the live connection.
#![no_main]

tidings_fuzz::target!("resp", tidings_redis::fuzzing::resp_seeds, tidings_redis::fuzzing::check_resp);
