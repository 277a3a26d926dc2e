//! Page tokens of both lists.
#![no_main]

tidings_fuzz::target!("page_tokens", tidings::fuzzing::PAGE_TOKENS.seeds, tidings::fuzzing::PAGE_TOKENS.check);
