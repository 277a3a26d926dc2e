//! `tidings healthcheck`: asks services whether they serve. The image of our containers has no other tool for it.

use std::time::Duration;

use clap::Args;
use tokio::time::timeout;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{client::Address, error::Error};

/// Ask services whether they serve; fails when one does not. For the health checks of containers.
#[derive(Debug, Args)]
pub(crate) struct Healthcheck {
    /// The services to ask.
    #[arg(value_name = "URL", default_values = ["http://127.0.0.1:3000", "http://127.0.0.1:3001"])]
    addresses: Vec<Address>,
    /// One gRPC service of theirs, such as tidings.v1.PublisherService; the whole without it.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,
    /// How long one answer may take.
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Healthcheck {
    /// Asks all of them, one by one.
    pub(crate) async fn run(self) -> Result<(), Error> {
        for address in &self.addresses {
            let unhealthy = |cause: String| Error::Unhealthy { address: address.to_string(), cause };
            let answer = timeout(self.timeout, ask(address, &self.service)).await;
            let status = answer.map_err(|_| unhealthy(format!("no answer within {:?}", self.timeout)))??;
            if status != ServingStatus::Serving {
                return Err(unhealthy(status.as_str_name().to_owned()));
            }
        }
        Ok(())
    }
}

async fn ask(address: &Address, service: &str) -> Result<ServingStatus, Error> {
    let mut client = HealthClient::new(address.connect("the argument").await?);
    let request = HealthCheckRequest { service: service.to_owned() };
    Ok(client.check(request).await?.into_inner().status())
}
