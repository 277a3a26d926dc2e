//! The command line of `tidings-subscriber`.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, Parser, Subcommand};
use tidings::{broker::Topic, channel::Names, limits::WATCHED_SUBSCRIPTIONS, subscription::SubscriptionName};
use tidings_runtime::config::{Common, Error, Logs, listen_address};

use crate::{HoldLimits, InvalidCapture, Settings};

/// The flag that says where the subscriber listens.
pub const LISTEN_FLAG: &str = "--listen";

/// Listens to Redis channels and serves their messages over gRPC, as lists and as streams
#[derive(Debug, Parser)]
#[command(name = "tidings-subscriber", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub serve: Serve,
}

/// What can be done instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask the subscriber that runs on this machine whether it serves; exits with 1 where it does not
    Healthcheck(Healthcheck),
}

/// How to serve.
#[derive(Debug, Args)]
pub struct Serve {
    /// Where the subscriber listens.
    #[command(flatten)]
    pub listen: Listen,
    /// What is captured.
    #[command(flatten)]
    pub capture: Capture,
    /// What subscriptions keep.
    #[command(flatten)]
    pub subscriptions: Subscriptions,
    /// What both services have.
    #[command(flatten)]
    pub common: Common,
    /// What is logged.
    #[command(flatten)]
    pub logs: Logs,
}

/// Where the subscriber listens.
#[derive(Debug, Args)]
pub struct Listen {
    /// The address that the subscriber listens on
    #[arg(long = "listen", env = "TIDINGS_SUBSCRIBER_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:3001",
        help_heading = "Serving", value_parser = listen_address)]
    pub address: SocketAddr,
}

/// On which channels what plain programs publish is taken into the log.
#[derive(Debug, Clone, Args)]
pub struct Capture {
    /// Take into the log what plain Redis programs publish on this channel, or on all that match a pattern such as
    /// orders.* (may be given several times, or separated by commas): it gets its sequence and is listed and replayed
    /// like the rest. Give all subscribers the same; empty turns it off [default: the default channel]
    #[arg(
        long = "capture",
        env = "TIDINGS_CAPTURE",
        value_name = "CHANNEL-OR-PATTERN",
        value_delimiter = ',',
        help_heading = "Channels"
    )]
    pub channels: Option<Vec<String>>,
}

impl Capture {
    /// The channels and patterns.
    pub fn topics(&self, names: &Names) -> Result<Vec<Topic>, InvalidCapture> {
        crate::parse_capture(self.channels.as_deref(), names)
    }
}

/// What durable subscriptions keep of a log.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "History")]
pub struct Subscriptions {
    /// How many bytes a channel's log may have while a durable subscription keeps messages that are not acknowledged,
    /// beyond the history's own limits. What goes beyond it is reported to the subscription as lost. Give all
    /// subscribers the same
    #[arg(long, env = "TIDINGS_HOLD_MAX_BYTES", value_name = "SIZE", default_value = "256MiB",
        value_parser = tidings_runtime::config::bytes(1 << 20, 1 << 40))]
    pub hold_max_bytes: u64,
    /// How many bytes durable subscriptions may keep of the logs of all channels together, beyond the history's own
    /// limits: the channels with subscriptions share it equally, and --hold-max-bytes is the most that one gets. Give
    /// all subscribers the same
    #[arg(long, env = "TIDINGS_HOLD_MAX_TOTAL_BYTES", value_name = "SIZE", default_value = "4GiB",
        value_parser = tidings_runtime::config::bytes(1 << 20, 1 << 50))]
    pub hold_max_total_bytes: u64,
    /// Durable subscriptions of which metrics tell backlog, outstanding messages, dead letters and the oldest message,
    /// with consumers or without: names, separated by commas, at most 100
    #[arg(long, env = "TIDINGS_WATCH_SUBSCRIPTIONS", value_name = "NAMES", value_delimiter = ',')]
    pub watch_subscriptions: Vec<String>,
}

impl Subscriptions {
    /// What they may hold.
    pub fn hold_limits(&self) -> HoldLimits {
        HoldLimits { channel: self.hold_max_bytes, total: self.hold_max_total_bytes }
    }

    /// The subscriptions that are watched.
    ///
    /// # Errors
    ///
    /// One is no name, or there are too many.
    pub fn watched(&self, names: &Names) -> Result<Vec<SubscriptionName>, InvalidSettings> {
        let given = self.watch_subscriptions.iter().map(|name| name.trim()).filter(|name| !name.is_empty());
        let parse = |name: &str| {
            let invalid = |error| InvalidSettings::Watched(format!("{name:?}: {error}"));
            SubscriptionName::parse(name, names).map_err(invalid)
        };
        let watched: Vec<_> = given.map(parse).collect::<Result<_, _>>()?;
        match watched.len() {
            0..=WATCHED_SUBSCRIPTIONS => Ok(watched),
            count => Err(InvalidSettings::Watched(format!("it has {count} names"))),
        }
    }
}

/// Which subscriber to ask, and for how long.
#[derive(Debug, Args)]
pub struct Healthcheck {
    /// The address that it listens on; asked through the loopback where it listens on all
    #[command(flatten)]
    pub listen: Listen,
    /// How long it may take to answer
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// Flags that don't fit.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    /// One that both services have.
    #[error(transparent)]
    Common(#[from] Error),
    /// What is to be watched can't be.
    #[error(
        "--watch-subscriptions: {0}; it takes up to {WATCHED_SUBSCRIPTIONS} names of subscriptions, separated by commas"
    )]
    Watched(String),
    /// What is to be captured can't be.
    #[error(transparent)]
    Capture(#[from] InvalidCapture),
}

impl Serve {
    /// What the subscriber needs to know.
    pub fn settings(&self) -> Result<Settings, InvalidSettings> {
        let max_age = Duration::from_millis(self.common.history.retention().max_age_ms);
        let names = self.common.names()?;
        let server = self.common.open()?;
        let capture = self.capture.topics(&names)?;
        let keeps_history = self.common.history.max_messages > 0;
        let hold_limits = self.subscriptions.hold_limits();
        let watched = self.subscriptions.watched(&names)?;
        let broker_timeout = self.common.redis_timeout;
        Ok(Settings { names, broker_timeout, max_age, keeps_history, hold_limits, watched, capture, server })
    }
}
