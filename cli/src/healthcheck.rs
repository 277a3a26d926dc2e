//! `tidings healthcheck`: asks services whether they serve. The image of our containers has no other tool for it.

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use tidings::{config::listen_address, server::healthcheck::check};

use crate::{error::Error, serve::Listen};

/// Ask services whether they serve; fails when one does not. For the health checks of containers.
#[derive(Debug, Args)]
pub(crate) struct Healthcheck {
    /// The services to ask; without any, both of `tidings serve` where the flags say that they listen
    #[arg(value_name = "ADDRESS", value_parser = address)]
    addresses: Vec<SocketAddr>,
    #[command(flatten)]
    listen: Listen,
    /// How long an answer may take
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Healthcheck {
    /// Asks all of them, one by one.
    pub(crate) async fn run(self) -> Result<(), Error> {
        let both = vec![self.listen.publisher, self.listen.subscriber];
        for address in if self.addresses.is_empty() { both } else { self.addresses } {
            check(address, self.timeout).await.map_err(Error::serve)?;
        }
        Ok(())
    }
}

/// An address as the services' flags have it, or as a URL.
fn address(text: &str) -> Result<SocketAddr, String> {
    listen_address(text.strip_prefix("http://").unwrap_or(text))
}
