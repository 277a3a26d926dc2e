//! Connections that come through a balancer or proxy: what it says of its client before anything else (the PROXY
//! protocol, versions 1 and 2, <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>). It is required of
//! trusted proxies, and read of nobody else, who could say anything.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use tidings::limits::PROXY_HEADER_BYTES;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What comes with it: version and command, family and protocol, and the length of what follows.
const FIXED_BYTES: usize = 4;
/// The longest header of version 1.
const LINE_BYTES: usize = 107;

/// A network such as `10.0.0.0/8`, `fd00::/8` or `192.0.2.7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: u128,
    is_v6: bool,
    bits: u32,
}

/// A text that is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write an address and how many of its bits count, such as 10.0.0.0/8 or fd00::/8, or an address alone")]
pub struct InvalidNetwork;

impl Network {
    /// Whether an address is of it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (bits, is_v6, width) = as_bits(address);
        let others = width - self.bits;
        is_v6 == self.is_v6 && (others == 128 || (bits ^ self.address) >> others == 0)
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork)?;
        let (address, is_v6, width) = as_bits(address);
        let bits = bits.map_or(Ok(width), str::parse).map_err(|_| InvalidNetwork)?;
        if bits > width { Err(InvalidNetwork) } else { Ok(Self { address, is_v6, bits }) }
    }
}

/// An address as a number, whether it is of IPv6, and how many bits it has.
fn as_bits(address: IpAddr) -> (u128, bool, u32) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), false, Ipv4Addr::BITS),
        IpAddr::V6(v6) => (v6.to_bits(), true, Ipv6Addr::BITS),
    }
}

/// Reads the header that a proxy sends first, and nothing behind it: where its client is, or `None` where the
/// connection is the proxy's own, such as a health check.
///
/// # Errors
///
/// There is no header, or one that can't be read.
pub(super) async fn read_header(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; SIGNATURE.len()];
    from.read_exact(&mut header).await?;
    if header == SIGNATURE {
        let mut fixed = [0; FIXED_BYTES];
        from.read_exact(&mut fixed).await?;
        let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if length > PROXY_HEADER_BYTES {
            return Err(invalid());
        }
        header.extend_from_slice(&fixed);
        header.resize(header.len() + length, 0);
        from.read_exact(&mut header[SIGNATURE.len() + FIXED_BYTES..]).await?;
    } else {
        // Byte by byte, since what follows the line is the connection's.
        while header.last() != Some(&b'\n') {
            if header.len() == LINE_BYTES || !header.starts_with(b"PROXY ") {
                return Err(invalid());
            }
            header.push(from.read_u8().await?);
        }
    }
    parse(&header).ok_or_else(invalid)
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no PROXY header that can be read")
}

/// Where the client is, as a whole header says; `None` where it is no header.
pub(crate) fn parse(header: &[u8]) -> Option<Option<SocketAddr>> {
    match header.strip_prefix(SIGNATURE) {
        Some(rest) => binary(rest),
        None => line(header),
    }
}

/// Version 2, behind its signature.
fn binary(rest: &[u8]) -> Option<Option<SocketAddr>> {
    let (&[version_and_command, family, length @ ..], rest) = rest.split_first_chunk::<FIXED_BYTES>()?;
    if usize::from(u16::from_be_bytes(length)) != rest.len() {
        return None;
    }
    match (version_and_command, family >> 4) {
        // LOCAL: the proxy's own.
        (0x20, _) => Some(None),
        // TCP or not is not asked: there is nothing else here.
        (0x21, 1) => {
            let &[a, b, c, d, _, _, _, _, p, q, _, _] = rest.first_chunk::<12>()?;
            Some(Some((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([p, q])).into()))
        }
        (0x21, 2) => {
            let (address, rest) = rest.split_first_chunk::<16>()?;
            let &[p, q, _, _] = rest.get(16..)?.first_chunk::<4>()?;
            Some(Some((Ipv6Addr::from(*address), u16::from_be_bytes([p, q])).into()))
        }
        // Of a kind that has no address, or a path.
        (0x21, 0 | 3) => Some(None),
        _ => None,
    }
}

/// Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`.
fn line(header: &[u8]) -> Option<Option<SocketAddr>> {
    let line = std::str::from_utf8(header).ok()?.strip_suffix("\r\n")?;
    let mut words = line.split(' ');
    match (words.next()?, words.next()?) {
        ("PROXY", "UNKNOWN") => Some(None),
        ("PROXY", family @ ("TCP4" | "TCP6")) => {
            let (from, _to): (IpAddr, IpAddr) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let (port, _port): (u16, u16) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let is_whole = words.next().is_none() && from.is_ipv6() == (family == "TCP6");
            is_whole.then_some(Some((from, port).into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
