//! PROXY headers, as balancers send them.
#![no_main]

tidings_fuzz::target!(
    "proxy_headers",
    tidings_transport::fuzzing::proxy_header_seeds,
    tidings_transport::fuzzing::check_proxy_header
);
