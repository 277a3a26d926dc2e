//! The address of a Redis server.

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, io::tcp::TcpSettings};

/// A checked `redis://[user:password@]host[:port][/database]`. Its `Display` and `Debug` keep the password to
/// themselves.
#[derive(Clone)]
pub struct ServerUrl {
    info: ConnectionInfo,
    host: String,
    port: u16,
}

/// Why a text is no address that can be used. Never repeats the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// Known, but not spoken yet.
    #[error("{0}:// is not supported yet; give one server as redis://host:port")]
    Unsupported(&'static str),
    /// Not in the form.
    #[error("it is not of the form redis://[user:password@]host[:port][/database]")]
    Malformed,
}

impl ServerUrl {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        for scheme in ["redis+cluster", "redis+sentinel", "rediss", "redis+unix", "unix", "valkeys", "valkey+unix"] {
            if text.strip_prefix(scheme).is_some_and(|rest| rest.starts_with("://")) {
                return Err(InvalidUrl::Unsupported(scheme));
            }
        }
        if !(text.starts_with("redis://") || text.starts_with("valkey://")) {
            return Err(InvalidUrl::Malformed);
        }
        let info = text.into_connection_info().map_err(|_| InvalidUrl::Malformed)?;
        let (host, port) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (host.clone(), *port),
            _ => return Err(InvalidUrl::Malformed),
        };
        let settings = info.redis_settings().clone().set_protocol(redis::ProtocolVersion::RESP3);
        // Calls are small and wait for their answers: Nagle's algorithm would hold them back.
        let info = info.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true));
        Ok(Self { info, host, port })
    }

    pub(super) fn info(&self) -> ConnectionInfo {
        self.info.clone()
    }

    pub(super) fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// User (the default one's name where none is given) and password.
    pub(super) fn credentials(&self) -> Option<(&str, &str)> {
        let settings = self.info.redis_settings();
        settings.password().map(|password| (settings.username().unwrap_or("default"), password))
    }

    pub(super) fn database(&self) -> i64 {
        self.info.redis_settings().db()
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_stays_inside() {
        let url = ServerUrl::parse("redis://bob:s3cret@example.test:7000/2").expect("valid");
        assert_eq!(format!("{url} {url:?}"), "example.test:7000 example.test:7000");
        assert_eq!((url.credentials(), url.database()), (Some(("bob", "s3cret")), 2));
        let url = ServerUrl::parse("redis://:s3cret@[::1]").expect("valid");
        assert_eq!((url.to_string().as_str(), url.credentials()), ("[::1]:6379", Some(("default", "s3cret"))));
    }

    #[test]
    fn what_is_not_spoken_is_refused_by_name() {
        for scheme in ["redis+cluster", "redis+sentinel", "rediss"] {
            let error = ServerUrl::parse(&format!("{scheme}://:pw@host")).expect_err("refused");
            assert!(error.to_string().starts_with(scheme), "{error}");
            assert!(!error.to_string().contains("pw"));
        }
        for bad in ["", "localhost:6379", "http://x", "redis://", "redis://host:notaport", "redis://host/x"] {
            assert_eq!(ServerUrl::parse(bad).expect_err(bad), InvalidUrl::Malformed);
        }
    }
}
