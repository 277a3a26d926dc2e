//! Where a connection comes from, and whether that address may have another one.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use tidings::metrics::{self, Limit};
use tidings_auth::{Account, Accounts, Held};
use tokio::net::TcpStream;

use super::Occasionally;
use crate::{Network, Options, proxied};

/// Who may connect.
pub(super) struct Peers {
    accounts: Arc<Accounts>,
    trusted_proxies: Vec<Network>,
    full: Mutex<Occasionally>,
    without_header: Mutex<Occasionally>,
}

/// Where a connection comes from. It counts for as long as this lives.
#[derive(Default)]
pub(super) struct Peer {
    /// `None` where the system does not know.
    pub(super) address: Option<SocketAddr>,
    /// What the address has taken.
    pub(super) account: Option<Arc<Account>>,
    _held: Option<Held>,
}

impl Peers {
    pub(super) fn new(options: &Options) -> Self {
        let accounts = Arc::clone(&options.accounts);
        let trusted_proxies = options.trusted_proxies.clone();
        Self { accounts, trusted_proxies, full: Mutex::default(), without_header: Mutex::default() }
    }

    /// Finds out where a connection comes from; `None` where it is to be closed.
    pub(super) async fn admit(&self, mut stream: TcpStream) -> Option<(Peer, TcpStream)> {
        let Ok(mut address) = stream.peer_addr() else { return Some((Peer::default(), stream)) };
        if self.is_trusted(address.ip()) {
            match proxied::read_header(&mut stream).await {
                Ok(client) => address = client.unwrap_or(address),
                Err(error) => {
                    metrics::limited(Limit::ProxyHeaders);
                    if is_due(&self.without_header) {
                        tracing::warn!(proxy = %address.ip(), %error, "closed a connection of a trusted proxy that sent no PROXY header");
                    }
                    return None;
                }
            }
        }
        let account = self.accounts.of_address(address.ip());
        let Ok(held) = account.connect() else {
            if is_due(&self.full) {
                tracing::warn!(address = %address.ip(), "closed a connection: its address has as many as it may");
            }
            return None;
        };
        Some((Peer { address: Some(address), account: Some(account), _held: Some(held) }, stream))
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(address))
    }
}

fn is_due(warning: &Mutex<Occasionally>) -> bool {
    warning.lock().unwrap_or_else(PoisonError::into_inner).is_due()
}
