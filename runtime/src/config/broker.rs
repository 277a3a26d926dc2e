//! Which broker to use.

use tidings::broker::{Retention, Shared, memory::Memory};
use tidings_redis::{Redis, Role, Server, ServerUrl, Settings};

use super::{Common, Error, RedisUrl};

/// A broker that was asked for and checked, but not started: nothing is connected before a port is bound.
#[derive(Debug, Clone)]
pub enum Choice {
    /// The embedded one.
    Embedded(Retention),
    /// Redis.
    Redis(Box<Settings>),
}

impl Choice {
    /// Starts it. It does not wait for Redis: the connection is made in the background. Needs a runtime.
    pub fn start(self) -> Shared {
        match self {
            Self::Embedded(retention) => Memory::new(retention),
            Self::Redis(settings) => Redis::start(*settings),
        }
    }
}

impl Common {
    /// The Redis that is asked for, or else the one at `default_url`, or else the embedded broker.
    ///
    /// # Errors
    ///
    /// The address or one of the files can't be used.
    pub fn choose_broker(&self, default_url: Option<&str>, role: Role) -> Result<Choice, Error> {
        let retention = self.history.retention();
        let Some(url) = self.redis_url.as_ref().map(RedisUrl::reveal).or(default_url) else {
            return match self.redis.is_empty() {
                true => Ok(Choice::Embedded(retention)),
                false => Err(Error::NoRedis),
            };
        };
        let url = ServerUrl::parse(url).map_err(Error::Redis)?;
        let server = Server::open(url, self.redis.files())?;
        Ok(Choice::Redis(Box::new(Settings {
            server,
            key_prefix: self.key_prefix.clone(),
            timeout: self.redis_timeout,
            retention,
            role,
        })))
    }

    /// Chooses a broker and starts it.
    pub fn broker(&self, default_url: Option<&str>, role: Role) -> Result<Shared, Error> {
        self.choose_broker(default_url, role).map(Choice::start)
    }
}
