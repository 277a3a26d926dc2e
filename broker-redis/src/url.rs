//! Where Redis is, as `--redis-url` says it: one server, or a service whose primary sentinels know.

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};
use tidings::limits::SENTINELS;

use super::{address::Address, password::Password};

/// Where sentinels listen if nothing else is said.
const SENTINEL_PORT: u16 = 26379;
const NOT_SPOKEN: [&str; 4] = ["redis+cluster", "rediss+cluster", "redis+unix", "unix"];

/// A checked `redis://[user[:password]@]host[:port][/database]`, or
/// `redis+sentinel://[user[:password]@]host[:port],…/service[?db=database]`, whose hosts are sentinels and whose user
/// is one of Redis; or the same with `rediss` for TLS. Its `Display` and `Debug` keep the password to themselves.
#[derive(Clone)]
pub struct ServerUrl {
    place: Place,
    user: Option<String>,
    password: Option<Password>,
    database: i64,
    is_tls: bool,
}

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Here.
    At(Address),
    /// Where these sentinels say.
    Watched(Service),
}

/// A service, and sentinels that watch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) name: String,
    /// One at least.
    pub(super) sentinels: Vec<Address>,
}

/// Why a text is no address that can be used. Never repeats the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// Known, but not spoken yet.
    #[error("{0}:// is not supported; give one server as redis://host:port, or rediss://host:port for TLS")]
    Unsupported(&'static str),
    /// Asks for TLS that checks nothing.
    #[error("rediss://…#insecure is not supported: give the certificates that are to be trusted with --redis-ca")]
    Insecure,
    /// Not in the form.
    #[error("it is not of the form redis://[user:password@]host[:port][/database] (rediss:// for TLS)")]
    Malformed,
    /// Sentinels, not in the form.
    #[error(
        "it is not of the form redis+sentinel://[user:password@]host:port,host:port/service[?db=0] (rediss+sentinel:// for TLS)"
    )]
    MalformedSentinels,
    /// Sentinels, and not which service.
    #[error(
        "redis+sentinel:// needs the name of the service behind the sentinels: redis+sentinel://host:port/mymaster"
    )]
    NoService,
    /// Several hosts, and no sentinels.
    #[error("redis:// has one host; several sentinels of a service are redis+sentinel://host:port,host:port/service")]
    SeveralServers,
    /// More sentinels than are asked.
    #[error("it names more than {SENTINELS} sentinels; some are enough, since they know the others")]
    TooManySentinels,
}

impl ServerUrl {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidUrl::Malformed)?;
        if let Some(scheme) = NOT_SPOKEN.into_iter().find(|unspoken| *unspoken == scheme) {
            return Err(InvalidUrl::Unsupported(scheme));
        }
        let (is_tls, has_sentinels) = match scheme {
            "redis" | "valkey" => (false, false),
            "rediss" | "valkeys" => (true, false),
            "redis+sentinel" | "valkey+sentinel" => (false, true),
            "rediss+sentinel" | "valkeys+sentinel" => (true, true),
            _ => return Err(InvalidUrl::Malformed),
        };
        if is_tls && rest.ends_with("#insecure") {
            return Err(InvalidUrl::Insecure);
        }
        if has_sentinels { Self::watched(rest, is_tls) } else { Self::at(rest, is_tls) }
    }

    fn at(rest: &str, is_tls: bool) -> Result<Self, InvalidUrl> {
        let hosts = rest.split('/').next().unwrap_or_default().rsplit('@').next().unwrap_or_default();
        if hosts.contains(',') {
            return Err(InvalidUrl::SeveralServers);
        }
        let (address, info) = read(rest).ok_or(InvalidUrl::Malformed)?;
        Ok(Self::new(Place::At(address), &info, is_tls))
    }

    fn watched(rest: &str, is_tls: bool) -> Result<Self, InvalidUrl> {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.split_once('@') {
            Some((login, hosts)) => (format!("{login}@"), hosts),
            None => (String::new(), authority),
        };
        let sentinels = hosts.split(',').map(sentinel).collect::<Option<Vec<_>>>();
        let sentinels = sentinels.ok_or(InvalidUrl::MalformedSentinels)?;
        if sentinels.len() > SENTINELS {
            return Err(InvalidUrl::TooManySentinels);
        }
        let (name, query) = path.split_once('?').unwrap_or((path, "db=0"));
        if name.is_empty() {
            return Err(InvalidUrl::NoService);
        }
        // Sentinel allows a service no other signs.
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        let database = query.strip_prefix("db=").filter(|_| is_name).ok_or(InvalidUrl::MalformedSentinels)?;
        // The library reads the user, the password and the database, as they stand for one server.
        let (_, info) = read(&format!("{login}unused/{database}")).ok_or(InvalidUrl::MalformedSentinels)?;
        Ok(Self::new(Place::Watched(Service { name: name.to_owned(), sentinels }), &info, is_tls))
    }

    fn new(place: Place, info: &ConnectionInfo, is_tls: bool) -> Self {
        let settings = info.redis_settings();
        Self {
            place,
            user: settings.username().filter(|user| !user.is_empty()).map(str::to_owned),
            password: settings.password().map(|password| Password::new(password.to_owned())),
            database: settings.db(),
            is_tls,
        }
    }

    /// A sentinel at this address, spoken to as this says.
    pub(super) fn of_sentinel(&self, address: Address, user: Option<String>) -> Self {
        Self { place: Place::At(address), user, password: None, database: 0, is_tls: self.is_tls }
    }

    /// Whether the server is spoken to in TLS.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Whether sentinels are asked where it is.
    pub fn has_sentinels(&self) -> bool {
        self.service().is_some()
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn service(&self) -> Option<&Service> {
        match &self.place {
            Place::Watched(service) => Some(service),
            Place::At(_) => None,
        }
    }

    /// The hosts that it names.
    pub(super) fn addresses(&self) -> &[Address] {
        match &self.place {
            Place::At(address) => std::slice::from_ref(address),
            Place::Watched(service) => &service.sentinels,
        }
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

/// Reads what stands behind a scheme. TLS is ours: the library reads the rest of the address.
fn read(rest: &str) -> Option<(Address, ConnectionInfo)> {
    let info = format!("redis://{rest}").into_connection_info().ok()?;
    let address = match info.addr() {
        ConnectionAddr::Tcp(host, port) => Address { host: host.clone(), port: *port },
        _ => return None,
    };
    Some((address, info))
}

/// Reads the address of a sentinel, and nothing else.
fn sentinel(host: &str) -> Option<Address> {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let host = if has_port { host.to_owned() } else { format!("{host}:{SENTINEL_PORT}") };
    read(&host).filter(|_| !host.contains(['?', '#', '@'])).map(|(address, _)| address)
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::At(address) => address.fmt(f),
            Place::Watched(Service { name, sentinels }) => {
                let sentinels: Vec<_> = sentinels.iter().map(ToString::to_string).collect();
                write!(f, "{name} of the sentinels {}", sentinels.join(", "))
            }
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
            assert_eq!((url.addresses()[0].host.as_str(), url.is_tls()), ("h", is_tls), "{text}");
        }
        assert_eq!(ServerUrl::parse("rediss://h/#insecure").expect_err("refused"), InvalidUrl::Insecure);
    }

    #[test]
    fn what_is_not_spoken_is_refused_by_name() {
        for scheme in ["redis+cluster", "rediss+cluster", "redis+unix", "unix"] {
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

    #[test]
    fn sentinels_stand_before_their_service_and_the_user_is_one_of_redis() {
        let text = "rediss+sentinel://bob:s3%40cret@a.test:5000,[::1]:5001,b.test,[::2]/my.master_1-x?db=3";
        let url = ServerUrl::parse(text).expect("valid");
        let shown = "my.master_1-x of the sentinels a.test:5000, [::1]:5001, b.test:26379, [::2]:26379";
        assert_eq!(format!("{url} / {url:?}"), format!("{shown} / {shown}"));
        assert_eq!((signs_in(&url), url.database(), url.is_tls()), (("bob", Some("s3@cret")), 3, true));
        let url = ServerUrl::parse("redis+sentinel://h:1/m").expect("valid");
        assert_eq!((signs_in(&url), url.database(), url.is_tls()), (("default", None), 0, false));
        assert!(!url.names_user() && url.has_sentinels());
        let sentinel = url.of_sentinel(url.addresses()[0].clone(), Some("eve".to_owned()));
        assert_eq!((sentinel.to_string().as_str(), signs_in(&sentinel)), ("h:1", ("eve", None)));
    }

    #[test]
    fn what_is_wrong_with_sentinels_is_said_in_words() {
        for text in [
            "redis+sentinel:///m",
            "redis+sentinel://h:1,/m",
            "redis+sentinel://h:1,redis://h:2/m",
            "redis+sentinel://h:x/m",
            "redis+sentinel://h:1/m/2",
            "redis+sentinel://h:1/m?db=x",
            "redis+sentinel://h:1/m?name=x",
            "redis+sentinel://h:1/m m",
            "redis+sentinel://a@b:1,c@d:2/m",
        ] {
            assert_eq!(ServerUrl::parse(text).expect_err(text), InvalidUrl::MalformedSentinels, "{text}");
        }
        for text in ["redis+sentinel://h:1", "redis+sentinel://:pw@h:1/", "rediss+sentinel://h:1/?db=1"] {
            assert_eq!(ServerUrl::parse(text).expect_err(text), InvalidUrl::NoService, "{text}");
        }
        for text in ["redis://a:1,b:2", "rediss://:p,w@a,b/0"] {
            assert_eq!(ServerUrl::parse(text).expect_err(text), InvalidUrl::SeveralServers, "{text}");
        }
        assert!(ServerUrl::parse("redis://:p,w@a/0").is_ok(), "a password may have one");
        let many = vec!["h:1"; SENTINELS + 1].join(",");
        let error = ServerUrl::parse(&format!("redis+sentinel://{many}/m")).expect_err("too many");
        assert_eq!(error, InvalidUrl::TooManySentinels);
    }
}
