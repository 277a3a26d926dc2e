//! `tidings healthcheck`: asks services whether they serve. The image of our containers has no other tool for it.

use std::net::SocketAddr;

use clap::Args;
use tidings::limits::HEALTHCHECK_TIMEOUT;
use tidings_runtime::healthcheck::{check, check_at};

use crate::{
    client::{Address, AddressParser, ClientTls, timeout},
    error::Error,
    serve::Listen,
};

/// Ask services whether they serve; fails when one does not
///
/// For the health checks of containers. It asks the addresses that it is given. Without any, it asks a publisher and a
/// subscriber: those of --publisher and --subscriber, or else those that listen on this machine. It prints nothing when
/// all is well.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings healthcheck                                     both services, where this machine's variables have them
  tidings healthcheck 127.0.0.1:3000                      one service
  tidings healthcheck --publisher publisher.example:3000  a publisher elsewhere, and the subscriber of this machine")]
pub(crate) struct Healthcheck {
    /// The services to ask, instead of a publisher and a subscriber
    #[arg(value_name = "ADDRESS", value_parser = AddressParser)]
    addresses: Vec<Address>,
    /// The publisher to ask
    #[arg(long = "publisher", value_name = "URL", env = "TIDINGS_PUBLISHER", hide_env_values = true,
        value_parser = AddressParser)]
    publisher_address: Option<Address>,
    /// The subscriber to ask
    #[arg(long = "subscriber", value_name = "URL", env = "TIDINGS_SUBSCRIBER", hide_env_values = true,
        value_parser = AddressParser)]
    subscriber_address: Option<Address>,
    #[command(flatten)]
    listen: Listen,
    /// How long an answer may take
    #[arg(long, value_name = "DURATION", env = "TIDINGS_TIMEOUT", default_value_t = HEALTHCHECK_TIMEOUT.into(),
        value_parser = timeout)]
    timeout: humantime::Duration,
    #[command(flatten)]
    tls: ClientTls,
}

impl Healthcheck {
    /// Asks all of them, one by one.
    pub(crate) async fn run(self) -> Result<(), Error> {
        if self.addresses.is_empty() {
            self.ask(self.publisher_address.as_ref(), self.listen.publisher).await?;
            return self.ask(self.subscriber_address.as_ref(), self.listen.subscriber).await;
        }
        for address in &self.addresses {
            self.ask(Some(address), self.listen.publisher).await?;
        }
        Ok(())
    }

    async fn ask(&self, address: Option<&Address>, listen: SocketAddr) -> Result<(), Error> {
        let timeout = self.timeout.into();
        let asked = match address.map(|address| (address, address.socket())) {
            None => check(listen, timeout).await,
            // As the services' own flags have it: 0.0.0.0 is nobody's address, but all of this machine's.
            Some((_, Some(socket))) => check(socket, timeout).await,
            Some((address, None)) => check_at(address.endpoint(&self.tls)?, address.to_string(), timeout).await,
        };
        asked.map_err(Error::serve)
    }
}
