//! Test support: real servers on free loopback ports, ended by pid when they are dropped, a proxy that troubles the
//! connections to them, and bytes of strangers. Nothing here skips a test: what is missing is a panic that says how to
//! install it.

pub mod bytes;
pub mod certificates;
pub mod contract;
mod proxy;
mod redis;
mod tls_redis;

pub use proxy::{Direction, Flow, How, Links, Proxy};
pub use redis::{DURABLE, RedisServer, Snapshot, free_port};
pub use tls_redis::TlsRedis;
