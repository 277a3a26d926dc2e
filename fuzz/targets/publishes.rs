//! Requests to publish.
#![no_main]

tidings_fuzz::target!(
    "publishes",
    tidings_publisher::fuzzing::publish_seeds,
    tidings_publisher::fuzzing::check_publish
);
