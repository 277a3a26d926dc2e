//! How the commands find the services: addresses as flags, connections that notice when the other side is gone, and how
//! long an answer may take.

use std::{ffi::OsStr, fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{Arg, Args, Command, builder::TypedValueParser, error::ErrorKind};
use tidings::{
    limits::{
        COMMAND_KEEPALIVE_INTERVAL, COMMAND_KEEPALIVE_TIMEOUT, COMMAND_TIMEOUT, COMMAND_TIMEOUT_MAX,
        COMMAND_TIMEOUT_MIN,
    },
    pb::{
        publisher_service_client::PublisherServiceClient, subscriber_service_client::SubscriberServiceClient,
        subscription_service_client::SubscriptionServiceClient,
    },
};
use tonic::{
    service::interceptor::InterceptedService,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::{
    error::{Error, root_cause},
    token::Token,
};

/// A client that signs in, where it has something to sign in with.
pub(crate) type PublisherClient = PublisherServiceClient<InterceptedService<Channel, Token>>;
pub(crate) type SubscriberClient = SubscriberServiceClient<InterceptedService<Channel, Token>>;
pub(crate) type SubscriptionClient = SubscriptionServiceClient<InterceptedService<Channel, Token>>;

/// Where the publisher is.
#[derive(Debug, Clone, Args)]
pub(crate) struct PublisherAddress {
    /// The publisher's address
    #[arg(
        id = "publisher_address",
        long = "publisher",
        value_name = "URL",
        env = "TIDINGS_PUBLISHER",
        hide_env_values = true,
        value_parser = AddressParser,
        default_value = "http://127.0.0.1:3000"
    )]
    pub(crate) address: Address,
}

/// Where the subscriber is.
#[derive(Debug, Clone, Args)]
pub(crate) struct SubscriberAddress {
    /// The subscriber's address
    #[arg(
        id = "subscriber_address",
        long = "subscriber",
        value_name = "URL",
        env = "TIDINGS_SUBSCRIBER",
        hide_env_values = true,
        value_parser = AddressParser,
        default_value = "http://127.0.0.1:3001"
    )]
    pub(crate) address: Address,
}

/// How services are called: how long they may take, and who calls.
#[derive(Debug, Clone, Args)]
pub(crate) struct Calls {
    /// How long the service may take to be reached, and to answer each call
    #[arg(long, env = "TIDINGS_TIMEOUT", value_name = "DURATION", default_value_t = humantime::Duration::from(COMMAND_TIMEOUT),
        value_parser = timeout)]
    timeout: humantime::Duration,
    /// A file with the token to sign in with, read again when it changes; omit if the server needs none
    #[arg(long, env = "TIDINGS_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// For addresses with https://.
    #[command(flatten)]
    tls: ClientTls,
}

/// How the certificates of services at https:// are checked, and the client's own certificate.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub(crate) struct ClientTls {
    /// A file with the authorities (PEM) that a service's certificate is checked against [default: the system's]
    #[arg(long, env = "TIDINGS_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A file with a client certificate (PEM), for services that ask for one
    #[arg(long, env = "TIDINGS_CERT", value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// A file with its private key (PEM)
    #[arg(long, env = "TIDINGS_KEY", value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

impl ClientTls {
    fn config(&self) -> Result<ClientTlsConfig, Error> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|cause| Error::Input { name: path.display().to_string(), cause })
        };
        let config = match &self.ca {
            Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        Ok(match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => config.identity(Identity::from_pem(read(cert)?, read(key)?)),
            _ => config,
        })
    }
}

impl Calls {
    /// Waits for what the service at `address` is asked.
    pub(crate) async fn of<T>(
        &self,
        address: &Address,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.duration(), call).await {
            Ok(done) => done,
            Err(_) => Err(Error::TimedOut { address: address.to_string(), timeout: self.timeout }),
        }
    }

    /// That the service at `address` has not said in time what became of so many messages.
    pub(crate) fn unsettled(&self, address: &Address, messages: usize) -> Error {
        let count = if messages == 1 { "a message".to_owned() } else { format!("{messages} messages") };
        Error::Unsettled { address: address.to_string(), count, timeout: self.timeout }
    }

    /// How long that is.
    pub(crate) fn duration(&self) -> Duration {
        self.timeout.into()
    }
}

/// Reads how long something may take.
pub(crate) fn timeout(text: &str) -> Result<humantime::Duration, String> {
    let timeout: humantime::Duration =
        text.parse().map_err(|error| format!("{error}; write a number and a unit, such as 500ms, 5s or 2m"))?;
    match (COMMAND_TIMEOUT_MIN..=COMMAND_TIMEOUT_MAX).contains(&*timeout) {
        true => Ok(timeout),
        false => Err(format!(
            "it must be between {} and {}",
            humantime::format_duration(COMMAND_TIMEOUT_MIN),
            humantime::format_duration(COMMAND_TIMEOUT_MAX)
        )),
    }
}

impl PublisherAddress {
    /// Connects.
    pub(crate) async fn connect(&self, calls: &Calls) -> Result<PublisherClient, Error> {
        let token = Token::open(calls.token_file.clone())?;
        let channel = self.address.connect("--publisher", &calls.tls).await?;
        Ok(PublisherServiceClient::with_interceptor(channel, token))
    }
}

impl SubscriberAddress {
    /// Connects. The connection repairs itself with the next call.
    pub(crate) async fn connect(&self, calls: &Calls) -> Result<SubscriberClient, Error> {
        let token = Token::open(calls.token_file.clone())?;
        let channel = self.address.connect("--subscriber", &calls.tls).await?;
        Ok(SubscriberServiceClient::with_interceptor(channel, token))
    }

    /// Connects to its service of durable subscriptions.
    pub(crate) async fn connect_to_subscriptions(&self, calls: &Calls) -> Result<SubscriptionClient, Error> {
        let token = Token::open(calls.token_file.clone())?;
        let channel = self.address.connect("--subscriber", &calls.tls).await?;
        Ok(SubscriptionServiceClient::with_interceptor(channel, token))
    }
}

/// The address of a service: `http://HOST:PORT`, or `HOST:PORT` for short, or `https://HOST:PORT`.
#[derive(Debug, Clone)]
pub(crate) struct Address(Endpoint);

impl Address {
    /// Connects; `flag` is named where that fails. How long it may take is the caller's affair ([`Calls::of`]).
    pub(crate) async fn connect(&self, flag: &'static str, tls: &ClientTls) -> Result<Channel, Error> {
        self.endpoint(tls)?.connect().await.map_err(|error| Error::Unreachable {
            address: self.to_string(),
            cause: root_cause(&error),
            flag,
        })
    }

    /// The same as an IP address and a port, where it is one that is spoken to in plain text.
    pub(crate) fn socket(&self) -> Option<SocketAddr> {
        if self.0.uri().scheme_str() != Some("http") {
            return None;
        }
        self.0.uri().authority()?.as_str().parse().ok()
    }

    /// Where it is, for connections of another kind.
    ///
    /// # Errors
    ///
    /// A file for TLS can't be used.
    pub(crate) fn endpoint(&self, tls: &ClientTls) -> Result<Endpoint, Error> {
        if self.0.uri().scheme_str() != Some("https") {
            return Ok(self.0.clone());
        }
        self.0.clone().tls_config(tls.config()?).map_err(Error::access)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.uri().to_string().trim_end_matches('/'))
    }
}

/// Reads an [`Address`]. One with a password is refused without being shown: clap repeats what it refuses.
#[derive(Debug, Clone)]
pub(crate) struct AddressParser;

impl TypedValueParser for AddressParser {
    type Value = Address;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Address, clap::Error> {
        if value.as_encoded_bytes().contains(&b'@') {
            let arg = arg.map(ToString::to_string).unwrap_or_default();
            let text = format!("invalid value for '{arg}': {NO_USER}\n");
            return Err(clap::Error::raw(ErrorKind::ValueValidation, text).with_cmd(command));
        }
        (|text: &str| text.parse::<Address>()).parse_ref(command, arg, value)
    }
}

const NO_USER: &str = "an address has no user and no password; sign in with --token-file or --cert";

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            return Err(NO_USER.to_owned());
        }
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let endpoint = Endpoint::from_shared(url).map_err(|_| "it is not of the form http://HOST:PORT".to_owned())?;
        match (endpoint.uri().scheme_str(), endpoint.uri().host()) {
            (Some("http" | "https"), Some(host)) if !host.is_empty() => {}
            _ => return Err("it is not of the form http://HOST:PORT or https://HOST:PORT".to_owned()),
        }
        if endpoint.uri().port().is_none() {
            return Err("the port is missing; use http://HOST:PORT".to_owned());
        }
        Ok(Self(
            endpoint
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
        for good in
            ["http://127.0.0.1:3000", "https://localhost:3000", "127.0.0.1:3000", "localhost:1", "http://[::1]:3000"]
        {
            assert!(good.parse::<Address>().is_ok(), "{good}");
        }
        for bad in
            ["", "localhost", "https://localhost", "ftp://localhost:1", "http://:3000", "a b:1", "http://u:p@h:1"]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
