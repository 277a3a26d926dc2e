//! Tests that cross both services, over real gRPC clients: within one process on the embedded broker, and as separate
//! processes of the built binaries on a Redis of their own.

#![allow(clippy::print_stderr, reason = "a failed test shows what its servers logged")]

mod access;
mod attacks;
mod bad_input;
mod capture;
mod churn;
mod circles;
mod claims;
mod commands;
mod connect;
mod connections;
mod costs;
mod cursors;
mod descriptors;
mod fast_path;
mod faults;
mod foreign;
mod gaps;
mod handover;
mod harness;
mod heavy_requests;
mod limits;
mod listing;
mod methods;
mod metrics;
mod odd;
mod older_limits;
mod paths;
mod patterns;
mod refusals;
mod restarts;
mod runbook;
mod secrets;
mod slow_reader;
mod slow_readers;
mod stopping;
mod streaming;
mod tls;
mod words;
mod work;
