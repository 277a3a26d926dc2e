//! Test support: real servers on free loopback ports, ended by pid when they are dropped, a proxy that troubles the
//! connections to them, the services as processes with clients whose every wait is timed, and bytes of strangers.
//! Nothing here skips a test: what is missing is a panic that says how to install it.

#![allow(clippy::print_stderr, reason = "a failed test shows what its processes logged")]

mod admin;
pub mod bytes;
pub mod certificates;
pub mod contract;
mod peer;
mod plain;
mod process;
mod proxy;
mod raw;
mod redis;
mod requests;
mod scraped;
mod sentinels;
mod service;
mod stream;
mod tls_redis;
pub mod wire;
mod worker;

use std::time::Duration;

pub use admin::{Admin, Answer};
pub use peer::{Frame, Peer};
pub use plain::{burst, captured, eventually, listed, plain};
pub use process::{Process, binary, clean_command, with_fast_paths};
pub use proxy::{Direction, Flow, How, Links, Proxy};
pub use raw::Raw;
pub use redis::{DURABLE, RedisServer, Snapshot, free_port};
pub use requests::{channel, fields, pattern, reason, sequences, text, text_of};
pub use scraped::Scraped;
pub use sentinels::{Monitored, SERVICE, Sentinels, sentinel_of, sentinel_url};
pub use service::{Client, Publisher, Service, Subscriber, connect, list};
pub use stream::Stream;
pub use tls_redis::TlsRedis;
pub use worker::{Consuming, Worker, duration};

/// How long anything may take that is expected to happen; generous, since machines are shared.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(20);
