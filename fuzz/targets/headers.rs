//! The `authorization` headers of a call.
#![no_main]

tidings_fuzz::target!("headers", tidings_auth::fuzzing::header_seeds, tidings_auth::fuzzing::check_headers);
