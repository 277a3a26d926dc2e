//! The server: how a connection to it is made, and how we sign in. Where it is, `topology` knows. All connections of
//! the broker are made here, those of the `redis` crate too, which gets them signed in and never sees a password; and
//! those to sentinels, each of which is a server of its own.

#[cfg(not(simulation))]
use std::sync::Arc;
use std::{fmt, io, net::SocketAddr, path::PathBuf, time::Duration};

use tidings::limits::CONNECT_PART;

#[cfg(not(simulation))]
mod dial;
#[cfg(not(simulation))]
mod resolve;
mod steps;
mod tls;

pub(crate) use self::steps::Steps;
pub use self::tls::{TlsError, TlsFiles};
use super::{
    address::Address,
    net::{self, Reader, Writer},
    password::{self, Password, PasswordError},
    role,
    topology::{Moves, Primary, Topology},
    url::{Place, ServerUrl, Service},
};

/// A Redis server, and what it takes to sign in there.
#[derive(Clone)]
pub struct Server {
    url: ServerUrl,
    topology: Topology,
    /// What is expected to listen there.
    kind: Kind,
    password_file: Option<PathBuf>,
    sentinels: SentinelLogin,
    #[cfg_attr(simulation, expect(dead_code, reason = "a simulated network has no TLS"))]
    tls: Option<tls::Tls>,
    #[cfg(not(simulation))]
    resolver: Arc<resolve::Resolver>,
}

/// What listens at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Redis,
    Sentinel,
}

/// A connection that was just opened.
pub(super) struct Dialled {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) address: SocketAddr,
    pub(super) primary: Primary,
}

/// Files that a connection to Redis needs.
#[derive(Debug, Clone, Default)]
pub struct ServerFiles {
    /// One with the password, read again for each connection.
    pub password: Option<PathBuf>,
    /// Those for TLS.
    pub tls: TlsFiles,
    /// How to sign in to sentinels.
    pub sentinels: SentinelLogin,
}

/// How to sign in to sentinels, which have users of their own; by default nobody has to.
#[derive(Debug, Clone, Default)]
pub struct SentinelLogin {
    /// The user; the default one where there is a password alone.
    pub user: Option<String>,
    /// A file with the password, read again for each connection.
    pub password: Option<PathBuf>,
}

/// Why a server can't be connected to, whether it is there or not.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// There are two passwords.
    #[error("--redis-password-file: the URL has a password as well; give one of them")]
    TwoPasswords,
    /// The file has none.
    #[error("--redis-password-file")]
    Password(#[from] PasswordError),
    /// The file for sentinels has none.
    #[error("--sentinel-password-file")]
    SentinelPassword(#[source] PasswordError),
    /// A login for sentinels, and none of them.
    #[error(
        "--sentinel-user and --sentinel-password-file are for sentinels: write redis+sentinel:// in --redis-url, or leave them out"
    )]
    NoSentinels,
    /// There is no TLS.
    #[error("TLS to Redis (--redis-ca, --redis-cert, --redis-key)")]
    Tls(#[from] TlsError),
    /// Files for TLS, and a server without.
    #[error("--redis-ca, --redis-cert and --redis-key are for TLS: write rediss:// in --redis-url, or leave them out")]
    NoTls,
}

impl Server {
    /// Reads all files once, to see whether they can be used. Nothing is connected.
    ///
    /// # Errors
    ///
    /// A file can't be used, or does not fit the address.
    pub fn open(url: ServerUrl, files: ServerFiles) -> Result<Self, ServerError> {
        if let Some(path) = &files.password {
            if url.password().is_some() {
                return Err(ServerError::TwoPasswords);
            }
            password::read(path)?;
        }
        if !url.has_sentinels() && (files.sentinels.user.is_some() || files.sentinels.password.is_some()) {
            return Err(ServerError::NoSentinels);
        }
        if let Some(path) = &files.sentinels.password {
            password::read(path).map_err(ServerError::SentinelPassword)?;
        }
        let tls = match url.is_tls() {
            true => Some(tls::Tls::open(files.tls)?),
            false if files.tls.ca.is_some() || files.tls.client.is_some() => return Err(ServerError::NoTls),
            false => None,
        };
        if tls.is_some() {
            url.addresses().iter().try_for_each(|address| tls::name(&address.host).map(|_| ()))?;
        }
        Ok(Self { sentinels: files.sentinels, ..Self::new(url, files.password, tls) })
    }

    fn new(url: ServerUrl, password_file: Option<PathBuf>, tls: Option<tls::Tls>) -> Self {
        let topology = match url.place() {
            Place::At(address) => Topology::fixed(address.clone()),
            Place::Watched(_) => Topology::unknown(),
        };
        Self {
            url,
            topology,
            kind: Kind::Redis,
            password_file,
            sentinels: SentinelLogin::default(),
            tls,
            #[cfg(not(simulation))]
            resolver: Arc::new(resolve::Resolver::new()),
        }
    }

    /// The service whose primary this is, where sentinels are asked for it.
    pub(super) fn service(&self) -> Option<&Service> {
        self.url.service()
    }

    /// A sentinel that may be asked.
    pub(super) fn sentinel(&self, address: Address) -> Self {
        let SentinelLogin { user, password } = self.sentinels.clone();
        Self { kind: Kind::Sentinel, ..Self::new(self.url.of_sentinel(address, user), password, self.tls.clone()) }
    }

    /// What is known of where it is.
    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// What listens there.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Notices from now on what becomes known of the primary.
    pub(super) fn moves(&self) -> Moves {
        self.topology.moves()
    }

    /// It can't be used, so it may not be the primary any more.
    pub(super) fn doubt(&self) {
        self.topology.doubt();
    }

    /// What people read where it is a replica.
    pub(super) fn not_primary(&self) -> String {
        match self.service() {
            Some(_) => {
                "it is a read-only replica, though the sentinels announce it: they may be changing over".to_owned()
            }
            None => role::NO_PRIMARY.to_owned(),
        }
    }

    pub(super) fn database(&self) -> i64 {
        self.url.database()
    }

    /// How long an attempt to connect may take where calls wait so long.
    pub(super) fn attempt_limit(timeout: Duration) -> Duration {
        timeout / CONNECT_PART
    }

    /// User and password as they are now; `None` where nobody has to sign in.
    pub(super) async fn credentials(&self) -> Result<Option<(String, Password)>, String> {
        let user = self.url.user().to_owned();
        if let Some(password) = self.url.password() {
            return Ok(Some((user, password.clone())));
        }
        match self.password_file.clone() {
            Some(path) => {
                let read = read_file(move || password::read(&path)).await?;
                Ok(Some((user, read)))
            }
            // A user without a password signs in with an empty one, as a user with `nopass` may.
            None => Ok(self.url.names_user().then(|| (user, Password::new(String::new())))),
        }
    }

    /// Opens a connection to the primary, which ends when another one replaces it. Nothing was said over it yet but
    /// TLS's own words.
    pub(super) async fn connect(&self, steps: &Steps) -> Result<Dialled, String> {
        if let Some(Service { name, .. }) = self.service() {
            steps.begin(format!("asking the sentinels where the primary of {name} is"));
        }
        let primary = self.topology.primary().await?;
        if let Some(Service { name, .. }) = self.service() {
            steps.aim(format!("the sentinels announce {} as the primary of {name}", primary.address()));
        }
        let Some(reached) = primary.unless_replaced(self.reach(primary.address(), steps)).await else {
            return Err("another server has become the primary".to_owned());
        };
        let (reader, writer, address) = reached?;
        Ok(Dialled { reader: reader.until(primary.replaced()), writer, address, primary })
    }

    #[cfg(not(simulation))]
    async fn reach(&self, at: &Address, steps: &Steps) -> Result<(Reader, Writer, SocketAddr), String> {
        let Address { host, port } = at;
        let tls = match self.tls.clone() {
            Some(tls) => {
                steps.begin("reading the files for TLS".to_owned());
                let name = tls::name(host).map_err(|error| error.to_string())?;
                Some((name, read_file(move || tls.config()).await?))
            }
            None => None,
        };
        steps.begin(format!("resolving the name {host}"));
        let addresses = self.resolver.addresses(host, *port).await?;
        let (socket, address) = dial::dial(&addresses, steps).await?;
        // Calls are small and wait for their answers: Nagle's algorithm would hold them back.
        socket.set_nodelay(true).map_err(|error| words(&error, address))?;
        let Some((name, config)) = tls else {
            let (reader, writer) = net::plain(socket);
            return Ok((reader, writer, address));
        };
        steps.begin(format!("the TLS handshake with {address} (a server without TLS is at redis://)"));
        let stream = tls::connect(config, name, socket).await.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                format!("{address} closed the connection in the TLS handshake: it may not speak TLS (redis://)")
            }
            _ => words(&error, address),
        })?;
        let (reader, writer) = net::encrypted(stream);
        Ok((reader, writer, address))
    }

    /// The same in a simulated network.
    #[cfg(simulation)]
    async fn reach(&self, at: &Address, steps: &Steps) -> Result<(Reader, Writer, SocketAddr), String> {
        let address = SocketAddr::from(([127, 0, 0, 1], at.port));
        steps.begin(format!("connecting to {address}"));
        let socket = crate::simulation::TcpStream::connect((at.host.as_str(), at.port)).await;
        let (reader, writer) = net::plain(socket.map_err(|error| words(&error, address))?);
        Ok((reader, writer, address))
    }
}

/// Without files.
impl From<ServerUrl> for Server {
    /// # Panics
    ///
    /// Where the address asks for TLS: that needs [`Server::open`].
    fn from(url: ServerUrl) -> Self {
        assert!(!url.is_tls(), "TLS needs certificates");
        Self::new(url, None, None)
    }
}

/// The address, or the service, with its primary where that is known.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.service(), self.topology.current()) {
            (Some(service), Some(primary)) => write!(f, "{primary}, the primary of {}", service.name),
            _ => self.url.fmt(f),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads a file where that may block; an error in words.
async fn read_file<T, E>(read: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, String>
where
    T: Send + 'static,
    E: std::error::Error + Send + 'static,
{
    match tokio::task::spawn_blocking(read).await {
        Ok(read) => read.map_err(|error| tidings::printable::chain(&error)),
        Err(_) => Err("a file could not be read".to_owned()),
    }
}

/// What an error of a connection to this address means.
pub(super) fn words(error: &io::Error, address: SocketAddr) -> String {
    match tls::words(error, address) {
        Some(words) => words,
        None if error.kind() == io::ErrorKind::ConnectionRefused => format!("{address} refuses connections"),
        None => format!("{address}: {error}"),
    }
}
