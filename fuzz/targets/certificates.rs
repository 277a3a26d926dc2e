//! The certificates that clients connect with.
#![no_main]

tidings_fuzz::target!(
    "certificates",
    tidings_auth::fuzzing::certificate_seeds,
    tidings_auth::fuzzing::check_certificate
);
