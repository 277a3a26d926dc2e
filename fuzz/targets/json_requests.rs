//! Requests in JSON, as clients of Connect send them.
#![no_main]

tidings_fuzz::target!(
    "json_requests",
    tidings_transport::fuzzing::json_request_seeds,
    tidings_transport::fuzzing::check_json_request
);
