//! How the commands find the services: addresses as flags, and connections that notice when the other side is gone.

use std::{fmt, str::FromStr};

use clap::Args;
use tidings::{
    limits::{COMMAND_CONNECT, COMMAND_KEEPALIVE_INTERVAL, COMMAND_KEEPALIVE_TIMEOUT},
    pb::{publisher_service_client::PublisherServiceClient, subscriber_service_client::SubscriberServiceClient},
};
use tonic::transport::{Channel, Endpoint};

use crate::error::{Error, root_cause};

/// Where the publisher is.
#[derive(Debug, Clone, Args)]
pub(crate) struct PublisherAddress {
    /// The publisher's address.
    #[arg(long = "publisher", value_name = "URL", env = "TIDINGS_PUBLISHER", default_value = "http://127.0.0.1:3000")]
    pub(crate) address: Address,
}

/// Where the subscriber is.
#[derive(Debug, Clone, Args)]
pub(crate) struct SubscriberAddress {
    /// The subscriber's address.
    #[arg(
        long = "subscriber",
        value_name = "URL",
        env = "TIDINGS_SUBSCRIBER",
        default_value = "http://127.0.0.1:3001"
    )]
    pub(crate) address: Address,
}

impl PublisherAddress {
    /// Connects.
    pub(crate) async fn connect(&self) -> Result<PublisherServiceClient<Channel>, Error> {
        self.address.connect("--publisher").await.map(PublisherServiceClient::new)
    }
}

impl SubscriberAddress {
    /// Connects. The connection repairs itself with the next call.
    pub(crate) async fn connect(&self) -> Result<SubscriberServiceClient<Channel>, Error> {
        self.address.connect("--subscriber").await.map(SubscriberServiceClient::new)
    }
}

/// The address of a service: `http://HOST:PORT`, or `HOST:PORT` for short.
#[derive(Debug, Clone)]
pub(crate) struct Address(Endpoint);

impl Address {
    /// Connects; `flag` is named where that fails.
    pub(crate) async fn connect(&self, flag: &'static str) -> Result<Channel, Error> {
        self.0.connect().await.map_err(|error| Error::Unreachable {
            address: self.to_string(),
            cause: root_cause(&error),
            flag,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.uri().fmt(f)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let endpoint = Endpoint::from_shared(url).map_err(|_| "it is not of the form http://HOST:PORT".to_owned())?;
        match (endpoint.uri().scheme_str(), endpoint.uri().host()) {
            (Some("http"), Some(host)) if !host.is_empty() => {}
            (Some("https"), _) => return Err("TLS is not supported yet; use http://HOST:PORT".to_owned()),
            _ => return Err("it is not of the form http://HOST:PORT".to_owned()),
        }
        if endpoint.uri().port().is_none() {
            return Err("the port is missing; use http://HOST:PORT".to_owned());
        }
        Ok(Self(
            endpoint
                .connect_timeout(COMMAND_CONNECT)
                .http2_keep_alive_interval(COMMAND_KEEPALIVE_INTERVAL)
                .keep_alive_timeout(COMMAND_KEEPALIVE_TIMEOUT)
                .keep_alive_while_idle(true),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for good in ["http://127.0.0.1:3000", "127.0.0.1:3000", "localhost:1", "http://[::1]:3000"] {
            assert!(good.parse::<Address>().is_ok(), "{good}");
        }
        for bad in ["", "localhost", "https://localhost:3000", "ftp://localhost:1", "http://:3000", "a b:1"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
