//! How much one address or one subject may take.

use std::sync::Arc;

use clap::Args;
use tidings::limits::{
    ADDRESS_CONNECTIONS, CALLER_LISTS, CALLER_NEW_CHANNELS, CALLER_PATTERNS, CALLER_POSITIONS, CALLER_STREAMS,
    TRUSTED_PROXIES,
};
use tidings_auth::{Accounts, Quotas};
use tidings_transport::Network;

use super::{Error, parse};

/// How much one caller may take: the subject of its token, or its address where it has not signed in. An IPv6 network
/// of 64 bits counts as one address.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
#[group(skip)]
pub struct QuotaFlags {
    /// How many connections one address may have; further ones are closed at once
    #[arg(long, env = "TIDINGS_ADDRESS_MAX_CONNECTIONS", value_name = "COUNT",
        default_value_t = ADDRESS_CONNECTIONS, value_parser = parse::count(1, 1_000_000))]
    pub address_max_connections: u64,
    /// How many streams one address may have open, and one subject
    #[arg(long, env = "TIDINGS_CALLER_MAX_STREAMS", value_name = "COUNT", default_value_t = CALLER_STREAMS,
        value_parser = parse::count(1, 10_000_000))]
    pub caller_max_streams: u64,
    /// How many different patterns one caller may follow at once; streams of the same pattern count once
    #[arg(long, env = "TIDINGS_CALLER_MAX_PATTERNS", value_name = "COUNT", default_value_t = CALLER_PATTERNS,
        value_parser = parse::count(1, 100_000))]
    pub caller_max_patterns: u64,
    /// How many channels all pattern streams of one caller may follow together, each counted for each stream (240 to
    /// 480 bytes)
    #[arg(long, env = "TIDINGS_CALLER_MAX_POSITIONS", value_name = "COUNT", default_value_t = CALLER_POSITIONS,
        value_parser = parse::count(1, 1_000_000_000))]
    pub caller_max_positions: u64,
    /// How many channels one caller may create in a minute by publishing on them for the first time
    #[arg(long, env = "TIDINGS_CALLER_NEW_CHANNELS", value_name = "COUNT", default_value_t = CALLER_NEW_CHANNELS,
        value_parser = parse::count(1, 1_000_000_000))]
    pub caller_new_channels: u64,
    /// How many lists one caller may ask for in a second
    #[arg(long, env = "TIDINGS_CALLER_LIST_RATE", value_name = "COUNT", default_value_t = CALLER_LISTS,
        value_parser = parse::count(1, 1_000_000_000))]
    pub caller_list_rate: u64,
    /// How many messages one caller may publish in a second [default: no limit]
    #[arg(long, env = "TIDINGS_CALLER_PUBLISH_RATE", value_name = "COUNT",
        value_parser = parse::count(1, 1_000_000_000))]
    pub caller_publish_rate: Option<u64>,
    /// How many bytes the publishes of one caller may have in a second [default: no limit]
    #[arg(long, env = "TIDINGS_CALLER_BYTES_IN_RATE", value_name = "SIZE", value_parser = parse::bytes(1 << 10, 1 << 40))]
    pub caller_bytes_in_rate: Option<u64>,
    /// How many bytes one caller may be sent in a second: its open streams are slowed down to that rate, and further
    /// calls are refused meanwhile [default: no limit]
    #[arg(long, env = "TIDINGS_CALLER_BYTES_OUT_RATE", value_name = "SIZE", value_parser = parse::bytes(1 << 10, 1 << 40))]
    pub caller_bytes_out_rate: Option<u64>,
    /// A network whose connections begin with a PROXY header (version 1 or 2), such as 10.0.0.0/8: those of balancers.
    /// The address in it is then the client's; repeatable (in the variable separated by commas) [default: none]
    #[arg(long, env = "TIDINGS_TRUSTED_PROXIES", value_name = "NETWORK", value_delimiter = ',')]
    pub trusted_proxies: Vec<Network>,
}

impl QuotaFlags {
    /// What is counted, from nothing on.
    pub fn accounts(&self) -> Arc<Accounts> {
        Accounts::new(Quotas {
            connections: self.address_max_connections,
            streams: self.caller_max_streams,
            patterns: self.caller_max_patterns,
            positions: self.caller_max_positions,
            new_channels: self.caller_new_channels,
            publishes: self.caller_publish_rate,
            bytes_in: self.caller_bytes_in_rate,
            lists: Some(self.caller_list_rate),
            bytes_out: self.caller_bytes_out_rate,
        })
    }

    /// Checks what no single value shows.
    ///
    /// # Errors
    ///
    /// There are too many networks: each is looked at for each connection.
    pub fn proxies(&self) -> Result<Vec<Network>, Error> {
        match self.trusted_proxies.len() {
            0..=TRUSTED_PROXIES => Ok(self.trusted_proxies.clone()),
            count => Err(Error::TrustedProxies { count }),
        }
    }
}
