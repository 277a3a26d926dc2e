//! Tokens, as callers send them.
#![no_main]

tidings_fuzz::target!("tokens", tidings_auth::fuzzing::token_seeds, tidings_auth::fuzzing::check_token);
