//! Where a service listens.

use std::{io, net::SocketAddr};

use tokio::net::TcpListener;

use super::Error;

/// Reads an address to listen on, such as `127.0.0.1:3000`, `[::1]:3000` or `localhost:3000`. Port 0 lets the system
/// choose.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let text = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    text.parse().map_err(|_| "write an IP address and a port, such as 127.0.0.1:3000 or 0.0.0.0:3000".to_owned())
}

/// Binds the address that `flag` asks for. Only the loopback is allowed unless it `may_be_exposed`.
pub async fn listen(address: SocketAddr, flag: &'static str, may_be_exposed: bool) -> Result<TcpListener, Error> {
    if !may_be_exposed && !address.ip().to_canonical().is_loopback() {
        return Err(Error::Exposed { flag, address });
    }
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::Taken { flag, address },
        _ => Error::Listen { flag, address, source },
    })
}
