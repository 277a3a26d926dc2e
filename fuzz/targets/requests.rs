//! Requests to stream and to list.
#![no_main]

tidings_fuzz::target!(
    "requests",
    tidings_subscriber::fuzzing::request_seeds,
    tidings_subscriber::fuzzing::check_request
);
