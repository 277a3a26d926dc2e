//! Policies, as operators write them.
#![no_main]

tidings_fuzz::target!("policies", tidings_auth::fuzzing::policy_seeds, tidings_auth::fuzzing::check_policy);
