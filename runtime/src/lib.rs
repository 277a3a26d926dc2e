//! What a program of Tidings is made of: its flags, the choice of its broker, its threads, its logs, and its end.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | flags that both services have; which broker they ask for |
//! | [`telemetry`] | logs |
//! | [`shutdown`] | the signals that stop a program |
//! | [`healthcheck`] | asks a service whether it serves |
//!
//! Only this crate picks a broker. It serves nothing itself: that is the transport's.

pub mod config;
pub mod healthcheck;
mod runtime;
pub mod shutdown;
pub mod telemetry;

pub use runtime::runtime;
pub use tidings_redis::Role;
