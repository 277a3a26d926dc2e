//! Flags that both services have, as groups that a binary flattens into its own arguments. Each has an environment
//! variable `TIDINGS_…` and says its default in `--help`. Reading them checks them: what passes here can be served,
//! and no port is bound before.
//!
//! Nothing here reads the environment by itself: that is done by the `parse()` in a `main.rs`.

#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::bare_urls,
    reason = "the flags' docs are the text of --help, which knows no Markdown"
)]

use std::{fmt, io, net::SocketAddr, str::FromStr, time::Duration};

use clap::{Args, builder::BoolishValueParser};
use http::HeaderValue;
use tidings::{
    broker::Retention,
    channel::{InvalidName, Names},
    limits::TRUSTED_PROXIES,
};
use tidings_redis::{InvalidUrl, ServerError};
use tidings_transport::{KeyClientError, Options, Origins, TlsError, admin::AlreadyInstalled};

mod admin;
mod auth;
mod broker;
mod doctor;
mod listen;
mod logs;
mod parse;
mod quotas;
mod redis;
mod tls;

pub use auth::{AuthFlags, KeySet};
pub use broker::Choice;
pub use doctor::Examined;
pub use listen::{listen, listen_address};
pub use logs::Logs;
pub use parse::bytes;
pub use quotas::QuotaFlags;
pub use redis::RedisFlags;
pub use tidings_redis::doctor::{Finding, Verdict};
pub use tls::TlsFlags;

/// Where the services look for Redis when no URL is given.
pub const DEFAULT_REDIS_URL: &str = "redis://127.0.0.1:6379";

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Takes a time in which Redis has to answer.
fn redis_timeout() -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    parse::duration(Duration::from_millis(100), 60 * SECOND)
}

/// What both services need to know: the broker, what it keeps, and how to serve.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The Redis that carries and keeps the messages: redis://[USER[:PASSWORD]@]HOST:PORT[/DB], or the primary that
    /// sentinels name: redis+sentinel://[USER[:PASSWORD]@]HOST:PORT,HOST:PORT/SERVICE[?db=DB]; with rediss for TLS.
    /// Others on the machine can read a password on the command line: give it in --redis-password-file. The separate
    /// services use redis://127.0.0.1:6379 by default; `tidings` without it keeps messages in its own memory. One
    /// deployment for each Redis: channels are the same in all its databases, so two would receive and adopt each
    /// other's messages
    #[arg(long, env = "TIDINGS_REDIS_URL", hide_env_values = true, value_name = "URL", help_heading = "Broker")]
    pub redis_url: Option<RedisUrl>,
    /// What a connection to it needs besides.
    #[command(flatten)]
    pub redis: RedisFlags,
    /// The channel of requests that name none; if empty, requests must name one
    #[arg(
        long,
        env = "TIDINGS_DEFAULT_CHANNEL",
        value_name = "CHANNEL",
        default_value = "channel1",
        help_heading = "Broker"
    )]
    pub default_channel: String,
    /// How the names of all keys on Redis begin; the same for all services that share messages. It does not keep two
    /// deployments on one Redis apart: channels have no prefix, so they receive and adopt each other's messages
    #[arg(long, env = "TIDINGS_KEY_PREFIX", value_name = "TEXT", default_value = "tidings", help_heading = "Broker",
        value_parser = parse::key_prefix)]
    pub key_prefix: String,
    /// How long Redis may take to answer before a call fails
    #[arg(long, env = "TIDINGS_REDIS_TIMEOUT", value_name = "DURATION", default_value = "5s", help_heading = "Broker",
        value_parser = redis_timeout())]
    pub redis_timeout: Duration,

    /// What is kept of every channel.
    #[command(flatten)]
    pub history: History,

    /// TLS.
    #[command(flatten)]
    pub tls: TlsFlags,
    /// Who may call.
    #[command(flatten)]
    pub auth: AuthFlags,
    /// How much a caller may take.
    #[command(flatten)]
    pub quotas: QuotaFlags,

    /// How often an idle connection is pinged; shorter than what proxies and firewalls in between allow
    #[arg(long, env = "TIDINGS_KEEPALIVE_INTERVAL", value_name = "DURATION", default_value = "30s",
        help_heading = "Serving", value_parser = parse::duration(SECOND, 3600 * SECOND))]
    pub keepalive_interval: Duration,
    /// How long the answer to a ping may take before the connection is cut
    #[arg(long, env = "TIDINGS_KEEPALIVE_TIMEOUT", value_name = "DURATION", default_value = "10s",
        help_heading = "Serving", value_parser = parse::duration(SECOND, 600 * SECOND))]
    pub keepalive_timeout: Duration,
    /// How old a connection may get, give or take a tenth, before its clients are asked to connect again, which spreads
    /// them over new replicas: streams end with UNAVAILABLE and resume with their last cursor [default: no limit]
    #[arg(long, env = "TIDINGS_MAX_CONNECTION_AGE", value_name = "DURATION", help_heading = "Serving",
        value_parser = parse::duration(SECOND, 366 * DAY))]
    pub max_connection_age: Option<Duration>,
    /// How long the calls of a connection that is too old may take to finish before they are cut
    #[arg(long, env = "TIDINGS_MAX_CONNECTION_AGE_GRACE", value_name = "DURATION", default_value = "30s",
        help_heading = "Serving", value_parser = parse::duration(Duration::ZERO, 3600 * SECOND))]
    pub max_connection_age_grace: Duration,
    /// How long open calls may take to finish after SIGTERM or SIGINT before they are cut
    #[arg(long, env = "TIDINGS_SHUTDOWN_TIMEOUT", value_name = "DURATION", default_value = "10s",
        help_heading = "Serving", value_parser = parse::duration(Duration::ZERO, 3600 * SECOND))]
    pub shutdown_timeout: Duration,
    /// An origin whose pages may call from a browser, such as https://app.example.com; repeatable (in the variable
    /// separated by commas), and * for all [default: origins on localhost]
    #[arg(long, env = "TIDINGS_CORS_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',',
        help_heading = "Serving", value_parser = parse::origin)]
    pub cors_allow_origin: Vec<HeaderValue>,
    /// Listen on other addresses than the loopback although nobody has to sign in: everyone who reaches the port may
    /// publish and read everything. For networks that keep strangers out [default: false]
    #[arg(long, env = "TIDINGS_ALLOW_ANONYMOUS", help_heading = "Serving", value_parser = BoolishValueParser::new())]
    pub allow_anonymous: bool,
    /// How many threads serve. One costs the least for each message; more serve more connections at once [default: half
    /// the processors, rounded up]
    #[arg(long, env = "TIDINGS_THREADS", value_name = "COUNT", help_heading = "Serving",
        value_parser = parse::threads)]
    pub threads: Option<usize>,
    /// Route all calls through the generated services, to debug the fast paths
    #[arg(long, env = "TIDINGS_NO_FAST_PATH", hide = true, value_parser = BoolishValueParser::new())]
    pub no_fast_path: bool,
    /// Where /metrics (Prometheus), /livez and /readyz are answered over HTTP, for operators [default: off]
    #[arg(long, env = "TIDINGS_ADMIN_LISTEN", value_name = "ADDRESS", help_heading = "Serving",
        value_parser = listen_address)]
    pub admin_listen: Option<SocketAddr>,
    /// A further host name that the admin listener answers to. IP addresses, names of one word, and names under
    /// localhost, local, internal and home.arpa always are; others are refused, since a page in a browser could have
    /// its own name lead here. Repeatable (in the variable separated by commas) [default: none]
    #[arg(long, env = "TIDINGS_ADMIN_ALLOW_HOST", value_name = "NAME", value_delimiter = ',', help_heading = "Serving",
        value_parser = admin::host)]
    pub admin_allow_host: Vec<String>,
}

/// What is kept of every channel, and how long ids are remembered.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "History")]
pub struct History {
    /// How many messages of a channel are kept; 0 keeps none: they are numbered and pushed, and gone
    #[arg(long = "history-max-messages", env = "TIDINGS_HISTORY_MAX_MESSAGES", value_name = "COUNT",
        default_value = "100000", value_parser = parse::count(0, 1_000_000_000))]
    pub max_messages: u64,
    /// How many bytes of a channel are kept
    #[arg(long = "history-max-bytes", env = "TIDINGS_HISTORY_MAX_BYTES", value_name = "SIZE",
        default_value = "64MiB", value_parser = parse::bytes(1 << 20, 1 << 40))]
    pub max_bytes: u64,
    /// How long messages are kept: a publish removes older ones of its channel, and a channel without a publish for
    /// this long loses all
    #[arg(long = "history-max-age", env = "TIDINGS_HISTORY_MAX_AGE", value_name = "DURATION",
        default_value = "24h", value_parser = parse::duration(SECOND, 3660 * DAY))]
    pub max_age: Duration,
    /// How long a message_id is remembered at least: a repeat within it is answered with the first receipt. The same
    /// for all publishers; where they differ, the longest is in force
    #[arg(long, env = "TIDINGS_DEDUP_WINDOW", value_name = "DURATION", default_value = "2m",
        value_parser = parse::duration(SECOND, 7 * DAY))]
    pub dedup_window: Duration,
    /// How many message_ids of a channel are remembered within a window, about 120 bytes each on Redis; beyond it,
    /// publishes that carry one are refused
    #[arg(long, env = "TIDINGS_DEDUP_MAX_IDS", value_name = "COUNT", default_value = "1000000",
        value_parser = parse::count(1, 100_000_000))]
    pub dedup_max_ids: u64,
}

/// A Redis URL as it was given. It may hold a password, so it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// The URL, password and all.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for RedisUrl {
    type Err = std::convert::Infallible;

    // Checked only later: clap would show a value that it refuses.
    fn from_str(url: &str) -> Result<Self, Self::Err> {
        Ok(Self(url.to_owned()))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl(…)")
    }
}

/// Why what was asked for can't be served, with the flag to change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The default channel is no channel's name.
    #[error("--default-channel: {0}")]
    DefaultChannel(InvalidName),
    /// The Redis URL can't be used. Its text is not repeated: it may hold a password.
    #[error("--redis-url: {0}")]
    Redis(InvalidUrl),
    /// A Redis that was to be looked at can't be asked, for this reason.
    #[error("{0}")]
    Examined(String),
    /// What a connection to Redis needs can't be had.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Files for a Redis that was not asked for.
    #[error("--redis-password-file, --redis-ca, --redis-cert, --redis-key and --sentinel-… need --redis-url")]
    NoRedis,
    /// Strangers could reach a service that asks nobody who they are.
    #[error(
        "{flag} {address} is not a loopback address, and nobody has to sign in: everyone who reaches the port could publish and \
         read everything. Listen on 127.0.0.1, have callers sign in (--auth-jwks or --auth-secret-file), or give \
         --allow-anonymous (TIDINGS_ALLOW_ANONYMOUS=true) where the network keeps strangers out"
    )]
    Exposed {
        /// The flag that asked for it.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// Strangers could look at the numbers.
    #[error(
        "{flag} {address} is not a loopback address, and nobody has to sign in: everyone who reaches the port could see how the \
         service is used. Listen on 127.0.0.1, or give --allow-anonymous (TIDINGS_ALLOW_ANONYMOUS=true) where the \
         network keeps strangers out"
    )]
    AdminExposed {
        /// The flag that asked for it.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// Another program listens there.
    #[error(
        "{flag} {address}: the port is taken by another program; stop that one, or choose another port with {flag}"
    )]
    Taken {
        /// The flag that asked for it.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The system refuses the address for another reason.
    #[error("{flag} {address}: can't listen there")]
    Listen {
        /// The flag that asked for it.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Callers can't be identified.
    #[error("callers can't be identified (--auth-…)")]
    Auth(#[from] tidings_auth::Error),
    /// The address of the key server can't be used. Its text is not repeated: it may hold a password.
    #[error("--auth-jwks: {0}")]
    KeyUrl(&'static str),
    /// The key server can't be asked.
    #[error("the key server can't be asked (--auth-jwks)")]
    KeyServer(#[from] KeyClientError),
    /// There is no TLS.
    #[error("TLS can't be served (--tls-…)")]
    Tls(#[from] TlsError),
    /// Each connection is compared with each network.
    #[error(
        "--trusted-proxies: {count} networks; at most {TRUSTED_PROXIES} are taken: name the network that holds them"
    )]
    TrustedProxies {
        /// How many were given.
        count: usize,
    },
    /// Metrics can't be counted.
    #[error("--admin-listen failed")]
    Metrics(#[from] AlreadyInstalled),
}

impl Common {
    /// Which channel names are accepted, and which is the default.
    pub fn names(&self) -> Result<Names, Error> {
        Names::new(&self.key_prefix, &self.default_channel).map_err(Error::DefaultChannel)
    }

    /// How to serve, with what its files hold. Where the other service is, only the binary can know.
    ///
    /// # Errors
    ///
    /// A file can't be used.
    pub fn open(&self) -> Result<Options, Error> {
        let server = self.server();
        let (tls, auth) = (self.tls.open()?, self.auth.open(self.tls.is_mutual(), &server.accounts)?);
        Ok(Options { tls, auth, trusted_proxies: self.quotas.proxies()?, ..server })
    }

    /// The same without files.
    pub fn server(&self) -> Options {
        let origins = match &self.cors_allow_origin[..] {
            [] => Origins::Localhost,
            any if any.iter().any(|origin| origin == "*") => Origins::Any,
            these => Origins::These(these.to_vec()),
        };
        Options {
            keepalive_interval: self.keepalive_interval,
            keepalive_timeout: self.keepalive_timeout,
            max_connection_age: self.max_connection_age,
            max_connection_age_grace: self.max_connection_age_grace,
            shutdown_timeout: self.shutdown_timeout,
            origins,
            fast_path: !self.no_fast_path,
            tls: None,
            auth: None,
            accounts: self.quotas.accounts(),
            trusted_proxies: self.quotas.trusted_proxies.clone(),
            elsewhere: None,
        }
    }

    /// Whether the service may listen where strangers reach it: they have to sign in, need a certificate, or the
    /// network keeps them out.
    pub fn may_be_exposed(&self) -> bool {
        self.allow_anonymous || self.auth.is_on() || self.tls.is_mutual()
    }
}

impl History {
    /// The same for a broker.
    pub fn retention(&self) -> Retention {
        Retention {
            max_messages: self.max_messages,
            max_bytes: self.max_bytes,
            max_age_ms: millis(self.max_age),
            dedup_window_ms: millis(self.dedup_window),
            dedup_max_ids: self.dedup_max_ids,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
