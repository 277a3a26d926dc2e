//! The subscriber as a process on a Redis of its own, with gRPC clients. What it delivers was put there by plain Redis
//! programs: the tests that need a publisher as well are in `cli/tests/it`.

mod capture;
mod metrics;
mod plain;
mod program;
mod refusals;
mod sharing;
mod stopping;
