//! Which Redis is looked at, and for what.

use std::time::Duration;

use clap::{Args, ValueEnum};
use tidings::limits::DOCTOR_WATCH;
use tidings_redis::{
    Role, Server, ServerUrl,
    doctor::{self, Finding, Wish},
};

use super::{Error, History, RedisFlags, RedisUrl, parse, redis_timeout};

/// For which service a Redis is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// A publisher
    Publisher,
    /// A subscriber
    Subscriber,
    /// Both in one process
    Both,
}

impl Service {
    fn role(self) -> Role {
        match self {
            Self::Publisher => Role::Publisher,
            Self::Subscriber => Role::Subscriber,
            Self::Both => Role::Both,
        }
    }
}

/// A Redis that is to be looked at, and what is to be kept on it.
#[derive(Debug, Clone, Args)]
pub struct Examined {
    /// The Redis to look at, as the services take it: redis://[USER[:PASSWORD]@]HOST:PORT[/DB], rediss:// for TLS, or
    /// redis+sentinel://HOST:PORT,HOST:PORT/SERVICE
    #[arg(
        long,
        env = "TIDINGS_REDIS_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = "redis://127.0.0.1:6379",
        hide_default_value = true,
        help_heading = "Broker"
    )]
    pub redis_url: RedisUrl,
    /// What a connection to it needs besides.
    #[command(flatten)]
    pub redis: RedisFlags,
    /// How the names of all keys would begin
    #[arg(long, env = "TIDINGS_KEY_PREFIX", value_name = "TEXT", default_value = "tidings", help_heading = "Broker",
        value_parser = parse::key_prefix)]
    pub key_prefix: String,
    /// How long it may take to answer
    #[arg(long, env = "TIDINGS_REDIS_TIMEOUT", value_name = "DURATION", default_value = "5s", help_heading = "Broker",
        value_parser = redis_timeout())]
    pub redis_timeout: Duration,
    /// For which service its user is: each has one of its own, with other rights
    #[arg(long = "for", value_name = "SERVICE", default_value = "both", help_heading = "Broker")]
    pub service: Service,
    /// What is to be kept.
    #[command(flatten)]
    pub history: History,
}

impl Examined {
    /// Commands for Redis that make users with the smallest rights; see [`doctor::users`].
    pub fn users(&self) -> [String; 3] {
        doctor::users(&self.key_prefix)
    }

    /// Looks at it. It takes a second longer than its answers.
    ///
    /// # Errors
    ///
    /// The address or one of the files can't be used, or it can't be asked.
    pub async fn examine(&self) -> Result<Vec<Finding>, Error> {
        let url = ServerUrl::parse(self.redis_url.reveal()).map_err(Error::Redis)?;
        let server = Server::open(url, self.redis.files())?;
        let (key_prefix, retention) = (self.key_prefix.clone(), self.history.retention());
        let role = self.service.role();
        let wish = Wish { key_prefix, role, retention, watch: DOCTOR_WATCH };
        doctor::examine(&server, &wish, self.redis_timeout).await.map_err(Error::Examined)
    }
}
