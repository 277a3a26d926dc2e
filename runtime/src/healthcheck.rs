//! Asks a server of ours for its health: what `… healthcheck` does in containers whose image has no shell.

use std::{
    error::{self, Error as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tonic::{Status, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// Why a server is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers there.
    #[error("nothing answers at {0}: {1}")]
    Unreachable(String, String),
    /// It answered with an error.
    #[error("the server at {0} did not answer the health check: {1}")]
    Failed(String, String),
    /// It answered that it does not serve: its broker is away, or it is stopping.
    #[error("the server at {0} is not serving: its broker is away, or it is stopping")]
    NotServing(String),
    /// It took longer than it may.
    #[error("{0} did not answer within {wait}; --timeout lets it take longer", wait = humantime::format_duration(*.1))]
    TimedOut(String, Duration),
}

/// Asks the server that listens on `listen` on this machine, as a whole. An address such as 0.0.0.0 is asked through
/// the loopback.
pub async fn check(listen: SocketAddr, timeout: Duration) -> Result<(), Error> {
    let address = through_loopback(listen).to_string();
    match Endpoint::from_shared(format!("http://{address}")) {
        Ok(endpoint) => check_at(endpoint, address, timeout).await,
        Err(error) => Err(Error::Unreachable(address, root(&error))),
    }
}

/// Asks the server at an endpoint, whose address is named in errors, as a whole.
pub async fn check_at(endpoint: Endpoint, address: String, timeout: Duration) -> Result<(), Error> {
    let asking = ask(endpoint, address.clone());
    tokio::time::timeout(timeout, asking).await.unwrap_or(Err(Error::TimedOut(address, timeout)))
}

async fn ask(endpoint: Endpoint, address: String) -> Result<(), Error> {
    let channel = endpoint.connect().await.map_err(|error| Error::Unreachable(address.clone(), root(&error)))?;
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    match answer.map_err(|status| Error::Failed(address.clone(), said(&status)))?.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        _ => Err(Error::NotServing(address)),
    }
}

/// The last of an error's causes, which is what the system says: those before it say the same again.
fn root(error: &(dyn error::Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), root)
}

/// What a status says, or where it says nothing, why it came about.
fn said(status: &Status) -> String {
    match (status.message(), status.source()) {
        ("", None) => status.code().description().to_owned(),
        (_, Some(source)) => root(source),
        (text, None) => text.to_owned(),
    }
}

/// The address under which this machine reaches a listener: one on all addresses is reached through the loopback.
pub fn through_loopback(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unspecified_addresses_are_asked_through_the_loopback() {
        let asked = |listen: &str| through_loopback(listen.parse().expect("an address")).to_string();
        assert_eq!(asked("0.0.0.0:3000"), "127.0.0.1:3000");
        assert_eq!(asked("[::]:3000"), "[::1]:3000");
        assert_eq!(asked("10.1.2.3:3000"), "10.1.2.3:3000");
    }
}
