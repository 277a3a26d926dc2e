//! The command line of `tidings-publisher`.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, Parser, Subcommand};
use tidings_runtime::config::{Common, Error, Logs, listen_address};

use crate::Settings;

/// The flag that says where the publisher listens.
pub const LISTEN_FLAG: &str = "--listen";

/// Takes messages over gRPC and publishes them on Redis
#[derive(Debug, Parser)]
#[command(name = "tidings-publisher", version, args_conflicts_with_subcommands = true)]
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
    /// Ask the publisher that runs on this machine whether it serves; exits with 1 where it does not
    Healthcheck(Healthcheck),
}

/// How to serve.
#[derive(Debug, Args)]
pub struct Serve {
    /// Where the publisher listens.
    #[command(flatten)]
    pub listen: Listen,
    /// What both services have.
    #[command(flatten)]
    pub common: Common,
    /// What is logged.
    #[command(flatten)]
    pub logs: Logs,
}

/// Where the publisher listens.
#[derive(Debug, Args)]
pub struct Listen {
    /// The address that the publisher listens on
    #[arg(long = "listen", env = "TIDINGS_PUBLISHER_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:3000",
        help_heading = "Serving", value_parser = listen_address)]
    pub address: SocketAddr,
}

/// Which publisher to ask, and for how long.
#[derive(Debug, Args)]
pub struct Healthcheck {
    /// The address that it listens on; asked through the loopback where it listens on all
    #[command(flatten)]
    pub listen: Listen,
    /// How long it may take to answer
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

impl Serve {
    /// What the publisher needs to know.
    pub fn settings(&self) -> Result<Settings, Error> {
        let server = self.common.open()?;
        Ok(Settings { names: self.common.names()?, server })
    }
}
