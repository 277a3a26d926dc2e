//! The address of a Redis server.

use std::fmt;

use redis::{ConnectionAddr, IntoConnectionInfo as _};

use super::password::Password;

/// A checked `redis://[user[:password]@]host[:port][/database]`, or the same with `rediss://` for TLS. Its `Display`
/// and `Debug` keep the password to themselves.
#[derive(Clone)]
pub struct ServerUrl {
    host: String,
    port: u16,
    user: Option<String>,
    password: Option<Password>,
    database: i64,
    is_tls: bool,
}

/// Why a text is no address that can be used. Never repeats the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// Known, but not spoken yet.
    #[error("{0}:// is not supported yet; give one server as redis://host:port, or rediss://host:port for TLS")]
    Unsupported(&'static str),
    /// Asks for TLS that checks nothing.
    #[error("rediss://…#insecure is not supported: give the certificates that are to be trusted with --redis-ca")]
    Insecure,
    /// Not in the form.
    #[error("it is not of the form redis://[user:password@]host[:port][/database] (rediss:// for TLS)")]
    Malformed,
}

impl ServerUrl {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        for scheme in ["redis+cluster", "redis+sentinel", "rediss+cluster", "rediss+sentinel", "redis+unix", "unix"] {
            if text.strip_prefix(scheme).is_some_and(|rest| rest.starts_with("://")) {
                return Err(InvalidUrl::Unsupported(scheme));
            }
        }
        let rest = |schemes: [&str; 2]| schemes.into_iter().find_map(|scheme| text.strip_prefix(scheme));
        let (rest, is_tls) = match (rest(["redis://", "valkey://"]), rest(["rediss://", "valkeys://"])) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            _ => return Err(InvalidUrl::Malformed),
        };
        if is_tls && rest.ends_with("#insecure") {
            return Err(InvalidUrl::Insecure);
        }
        // TLS is ours: the library reads the rest of the address.
        let info = format!("redis://{rest}").into_connection_info().map_err(|_| InvalidUrl::Malformed)?;
        let (host, port) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (host.clone(), *port),
            _ => return Err(InvalidUrl::Malformed),
        };
        let settings = info.redis_settings();
        Ok(Self {
            host,
            port,
            user: settings.username().filter(|user| !user.is_empty()).map(str::to_owned),
            password: settings.password().map(|password| Password::new(password.to_owned())),
            database: settings.db(),
            is_tls,
        })
    }

    /// Whether the server is spoken to in TLS.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    pub(super) fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// The user to sign in as; the default one where none is given.
    pub(super) fn user(&self) -> &str {
        self.user.as_deref().unwrap_or("default")
    }

    pub(super) fn names_user(&self) -> bool {
        self.user.is_some()
    }

    pub(super) fn password(&self) -> Option<&Password> {
        self.password.as_ref()
    }

    pub(super) fn database(&self) -> i64 {
        self.database
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

    fn signs_in(url: &ServerUrl) -> (&str, Option<&str>) {
        (url.user(), url.password().map(Password::reveal))
    }

    #[test]
    fn the_password_stays_inside() {
        let url = ServerUrl::parse("redis://bob:s3cret@example.test:7000/2").expect("valid");
        assert_eq!(format!("{url} {url:?}"), "example.test:7000 example.test:7000");
        assert_eq!((signs_in(&url), url.database(), url.is_tls()), (("bob", Some("s3cret")), 2, false));
        let url = ServerUrl::parse("redis://:s3cret@[::1]").expect("valid");
        assert_eq!((url.to_string().as_str(), signs_in(&url)), ("[::1]:6379", ("default", Some("s3cret"))));
        let url = ServerUrl::parse("redis://bob@host").expect("valid");
        assert_eq!((signs_in(&url), url.names_user()), (("bob", None), true));
    }

    #[test]
    fn two_schemes_ask_for_tls() {
        for (text, is_tls) in
            [("redis://h", false), ("valkey://h", false), ("rediss://bob:pw@h:7000/3", true), ("valkeys://h", true)]
        {
            let url = ServerUrl::parse(text).expect(text);
            assert_eq!((url.address().0, url.is_tls()), ("h", is_tls), "{text}");
        }
        assert_eq!(ServerUrl::parse("rediss://h/#insecure").expect_err("refused"), InvalidUrl::Insecure);
    }

    #[test]
    fn what_is_not_spoken_is_refused_by_name() {
        for scheme in ["redis+cluster", "redis+sentinel", "rediss+cluster", "unix"] {
            let error = ServerUrl::parse(&format!("{scheme}://:pw@host")).expect_err("refused");
            assert!(error.to_string().starts_with(scheme), "{error}");
            assert!(!error.to_string().contains("pw"));
        }
        for bad in
            ["", "localhost:6379", "http://x", "redis://", "redis://host:notaport", "redis://host/x", "rediss://"]
        {
            assert_eq!(ServerUrl::parse(bad).expect_err(bad), InvalidUrl::Malformed);
        }
    }
}
