//! Tidings: typed publish/subscribe for teams that run Redis. What the publisher and the subscriber share.
//!
//! | module | what |
//! |---|---|
//! | [`pb`], [`protobuf`] | the contract, generated; and what is written by hand |
//! | [`codec`] | how requests are decoded: counted first |
//! | [`channel`], [`message`], [`envelope`], [`cursor`], [`limits`] | the meaning: no server, no Redis, no clock |
//! | [`filter`] | expressions over attributes, which a message matches or not |
//! | [`broker`] | what a broker is, the history that every broker keeps, and the embedded one |
//! | [`status`] | errors as gRPC statuses, made only here |
//! | [`printable`] | texts from outside, made safe to look at |
//! | [`metrics`] | what is counted, and its names |
//!
//! The Redis broker, the transport and the runtime are crates of their own, and not dependencies of this one.

pub mod access;
pub mod backoff;
pub mod broker;
pub mod channel;
pub mod codec;
pub mod cursor;
pub mod envelope;
pub mod filter;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod limits;
pub mod message;
pub mod metrics;
pub mod pb;
pub mod printable;
pub mod protobuf;
pub mod status;
pub mod subscription;
