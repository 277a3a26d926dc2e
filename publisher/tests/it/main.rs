//! The publisher over a real socket: tonic clients, and plain HTTP where browsers are played. The broker is a small one
//! that can be made to wait, to fail and to go away; where a real Redis matters, the publisher is a process beside one.

mod aged;
mod fake;
mod fast_path;
mod metrics;
mod plain;
mod program;
mod publish;
mod raw;
mod refusals;
mod serving;
mod small_messages;
mod stopping;
mod stream;
mod streamed;
mod uploads;
mod web;
