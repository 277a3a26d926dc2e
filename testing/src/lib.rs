//! Test support: real servers on free loopback ports, ended by pid when they are dropped. Nothing here skips a test: what
//! is missing is a panic that says how to install it.

mod redis;

pub use redis::{RedisServer, free_port};
