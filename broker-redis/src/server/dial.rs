//! A connection to the first address of several that takes it.

use std::{io, net::SocketAddr, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tidings::limits::{DIAL_ADDRESSES, DIAL_PAUSE};
use tokio::{net::TcpStream, time::sleep};

use super::{steps::Steps, words};

/// Connects to one of these addresses. The next one is tried as well when the one before has not answered for a moment
/// (RFC 8305), so that one which swallows everything does not use up the attempt.
pub(super) async fn dial(addresses: &[SocketAddr], steps: &Steps) -> Result<(TcpStream, SocketAddr), String> {
    let addresses = &addresses[..addresses.len().min(DIAL_ADDRESSES)];
    let names = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    steps.begin(format!("connecting to {names}"));
    let mut dialled: FuturesUnordered<_> =
        addresses.iter().zip(0..).map(|(address, before)| one(*address, DIAL_PAUSE * before)).collect();
    let mut reasons: Vec<String> = Vec::new();
    while let Some((address, connected)) = dialled.next().await {
        match connected {
            Ok(socket) => return Ok((socket, address)),
            Err(error) => reasons.push(words(&error, address)),
        }
    }
    // The same words whichever answered first: a reason is logged once.
    reasons.sort_unstable();
    Err(reasons.join("; "))
}

async fn one(address: SocketAddr, pause: Duration) -> (SocketAddr, io::Result<TcpStream>) {
    sleep(pause).await;
    (address, TcpStream::connect(address).await)
}
