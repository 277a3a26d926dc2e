//! The server: where it is, how we sign in, and how a connection to it is made. All connections of the broker are made
//! here, those of the `redis` crate too, which gets them signed in and never sees a password.

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
    net::{self, Reader, Writer},
    password::{self, Password, PasswordError},
    url::ServerUrl,
};

/// A Redis server, and what it takes to sign in there.
#[derive(Clone)]
pub struct Server {
    url: ServerUrl,
    password_file: Option<PathBuf>,
    #[cfg_attr(simulation, expect(dead_code, reason = "a simulated network has no TLS"))]
    tls: Option<tls::Tls>,
    #[cfg(not(simulation))]
    resolver: Arc<resolve::Resolver>,
}

/// Files that a connection to Redis needs.
#[derive(Debug, Clone, Default)]
pub struct ServerFiles {
    /// One with the password, read again for each connection.
    pub password: Option<PathBuf>,
    /// Those for TLS.
    pub tls: TlsFiles,
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
        let tls = match url.is_tls() {
            true => Some(tls::Tls::open(url.address().0, files.tls)?),
            false if files.tls.ca.is_some() || files.tls.client.is_some() => return Err(ServerError::NoTls),
            false => None,
        };
        Ok(Self::new(url, files.password, tls))
    }

    fn new(url: ServerUrl, password_file: Option<PathBuf>, tls: Option<tls::Tls>) -> Self {
        Self {
            url,
            password_file,
            tls,
            #[cfg(not(simulation))]
            resolver: Arc::new(resolve::Resolver::new()),
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

    /// Opens a connection, and answers where it leads to. Nothing was said over it yet but TLS's own words.
    #[cfg(not(simulation))]
    pub(super) async fn connect(&self, steps: &Steps) -> Result<(Reader, Writer, SocketAddr), String> {
        let (host, port) = self.url.address();
        let tls = match self.tls.clone() {
            Some(tls) => {
                steps.begin("reading the files for TLS".to_owned());
                Some((read_file(move || tls.config().map(|config| (tls, config))).await)?)
            }
            None => None,
        };
        steps.begin(format!("resolving the name {host}"));
        let addresses = self.resolver.addresses(host, port).await?;
        let (socket, address) = dial::dial(&addresses, steps).await?;
        // Calls are small and wait for their answers: Nagle's algorithm would hold them back.
        socket.set_nodelay(true).map_err(|error| words(&error, address))?;
        let Some((tls, config)) = tls else {
            let (reader, writer) = net::plain(socket);
            return Ok((reader, writer, address));
        };
        steps.begin(format!("the TLS handshake with {address} (a server without TLS is at redis://)"));
        let stream = tls.connect(config, socket).await.map_err(|error| match error.kind() {
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
    pub(super) async fn connect(&self, steps: &Steps) -> Result<(Reader, Writer, SocketAddr), String> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.url.address().1));
        steps.begin(format!("connecting to {address}"));
        let socket = crate::simulation::TcpStream::connect(self.url.address()).await;
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

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.url, f)
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
