//! What a connection to Redis needs besides its address.

use std::path::PathBuf;

use clap::Args;
use tidings_redis::{SentinelLogin, ServerFiles, TlsFiles};

/// The passwords and the certificates for Redis and its sentinels.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(next_help_heading = "Broker")]
pub struct RedisFlags {
    /// A file with the password for Redis, on one line; the user is the one in --redis-url. Read again for each
    /// connection, so that another password needs no restart [default: none]
    #[arg(long, env = "TIDINGS_REDIS_PASSWORD_FILE", value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,
    /// The user of the sentinels at redis+sentinel://, whose users are others than Redis's [default: their default
    /// user]
    #[arg(long, env = "TIDINGS_SENTINEL_USER", value_name = "USER")]
    pub sentinel_user: Option<String>,
    /// A file with the password for the sentinels, on one line. Read again for each connection [default: none]
    #[arg(long, env = "TIDINGS_SENTINEL_PASSWORD_FILE", value_name = "FILE")]
    pub sentinel_password_file: Option<PathBuf>,
    /// A file with certificates (PEM): the certificate of a Redis at rediss://, and those of its sentinels, must be
    /// signed by one of these. Read again for each connection, as the next two are [default: those that the system
    /// trusts]
    #[arg(long, env = "TIDINGS_REDIS_CA", value_name = "FILE")]
    pub redis_ca: Option<PathBuf>,
    /// A file with a certificate to show to Redis (PEM), followed by its chain [default: none]
    #[arg(long, env = "TIDINGS_REDIS_CERT", value_name = "FILE", requires = "redis_key")]
    pub redis_cert: Option<PathBuf>,
    /// A file with its private key (PEM) [default: none]
    #[arg(long, env = "TIDINGS_REDIS_KEY", value_name = "FILE", requires = "redis_cert")]
    pub redis_key: Option<PathBuf>,
}

impl RedisFlags {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        let Self { redis_password_file, sentinel_password_file, redis_ca, redis_cert, redis_key, .. } = self;
        let files = [redis_password_file, sentinel_password_file, redis_ca, redis_cert, redis_key];
        self.sentinel_user.is_none() && files.iter().all(|file| file.is_none())
    }

    /// The files for the broker.
    pub(super) fn files(&self) -> ServerFiles {
        let client = self.redis_cert.clone().zip(self.redis_key.clone());
        let tls = TlsFiles { ca: self.redis_ca.clone(), client };
        let sentinels =
            SentinelLogin { user: self.sentinel_user.clone(), password: self.sentinel_password_file.clone() };
        ServerFiles { password: self.redis_password_file.clone(), tls, sentinels }
    }
}
