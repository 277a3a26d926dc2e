//! TLS to Redis: the authorities that are trusted, our own certificate, and errors in words.
//!
//! The files are read again for each connection, so a certificate that was renewed needs no restart. The system's roots
//! are read once.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        AlertDescription, CertificateError, ClientConfig, Error as Failure, InvalidMessage, RootCertStore,
        crypto::aws_lc_rs,
    },
};

/// Files for TLS to Redis, all in PEM.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Whose certificates are trusted instead of those that the system trusts.
    pub ca: Option<PathBuf>,
    /// A certificate to show, and those that lead to a root, with its private key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Why there is no TLS to Redis. Never repeats a file's content.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{path} can't be read")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file lacks its content.
    #[error("{path}: there is no {what} in PEM")]
    Nothing {
        /// Which.
        path: PathBuf,
        /// The content that is missing.
        what: &'static str,
    },
    /// A certificate that can't be trusted at all.
    #[error("{path}: a certificate can't be used")]
    Ca {
        /// The file.
        path: PathBuf,
        /// The problem, in words.
        source: Failure,
    },
    /// Certificate and key do not fit each other.
    #[error("{cert} and {key} can't be used together")]
    Pair {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// The problem, in words.
        source: Failure,
    },
    /// Nothing to trust.
    #[error("the system has no root certificates; give those that are to be trusted with --redis-ca")]
    NoRoots,
    /// Not a name that a certificate can have.
    #[error(
        "no certificate can be for the host in --redis-url, or that its sentinels announce: it is no DNS name and no IP address"
    )]
    Host,
}

/// What makes TLS of connections.
#[derive(Clone)]
pub(super) struct Tls {
    files: TlsFiles,
    /// The system's, where no file has others.
    roots: Option<Arc<RootCertStore>>,
}

impl Tls {
    /// All files are read once, to see whether they can be used.
    pub(super) fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let roots = match &files.ca {
            Some(_) => None,
            None => Some(Arc::new(system_roots()?)),
        };
        let tls = Self { files, roots };
        tls.config()?;
        Ok(tls)
    }

    /// Makes a connection's configuration from the files. Blocks while it reads them.
    pub(super) fn config(&self) -> Result<ClientConfig, TlsError> {
        let roots = match (&self.files.ca, &self.roots) {
            (None, Some(roots)) => Arc::clone(roots),
            (None, None) => return Err(TlsError::NoRoots),
            (Some(path), _) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|source| TlsError::Ca { path: path.clone(), source })?;
                }
                Arc::new(roots)
            }
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        // The provider has what these versions need.
        let builder = builder.with_safe_default_protocol_versions().map_err(|_| TlsError::NoRoots)?;
        let builder = builder.with_root_certificates(roots);
        let Some((cert, key)) = &self.files.client else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates(cert)?;
        let private = PrivateKeyDer::from_pem_slice(&contents(key)?)
            .map_err(|_| TlsError::Nothing { path: key.clone(), what: "private key" })?;
        let pair = |source| TlsError::Pair { cert: cert.clone(), key: key.clone(), source };
        builder.with_client_auth_cert(chain, private).map_err(pair)
    }
}

/// The name that a host's certificate must have.
pub(super) fn name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Host)
}

/// Makes TLS of a connection to a server of this name.
#[cfg_attr(simulation, expect(dead_code, reason = "a simulated network has no TLS"))]
pub(super) async fn connect(
    config: ClientConfig,
    name: ServerName<'static>,
    socket: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

/// Nothing of what the files hold.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // Some of them may be odd, and others good.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}

fn contents(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let contents = contents(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&contents).collect();
    let nothing = || TlsError::Nothing { path: path.to_owned(), what: "certificate" };
    found.ok().filter(|found| !found.is_empty()).ok_or_else(nothing)
}

/// What an error of a connection to this address means, where it is one of TLS.
pub(super) fn words(error: &io::Error, address: SocketAddr) -> Option<String> {
    let failure = error.get_ref()?.downcast_ref::<Failure>()?;
    Some(match failure {
        Failure::InvalidCertificate(reason) => format!("the certificate of {address} {}", of_certificate(reason)),
        Failure::InvalidMessage(InvalidMessage::InvalidContentType) => {
            format!("{address} does not speak TLS: if that is meant, write redis:// in --redis-url")
        }
        Failure::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure) => {
            format!("{address} ended the handshake: it may need a client certificate (--redis-cert, --redis-key)")
        }
        Failure::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied),
        ) => format!("{address} refuses the certificate in --redis-cert: {alert:?}"),
        other => format!("TLS with {address} failed: {other}"),
    })
}

fn of_certificate(reason: &CertificateError) -> String {
    match reason {
        // A root of the same name with another key is another root.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is not signed by anyone trusted here (--redis-ca, or else the system's roots)".to_owned()
        }
        CertificateError::NotValidForName => {
            "is for another name than the host in --redis-url, or that its sentinels announce".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
            format!(
                "is for another name than {}, the host in --redis-url, or that its sentinels announce: it has {names}",
                expected.to_str()
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired, or the clock here is wrong".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet, or the clock here is wrong".to_owned()
        }
        other => format!("can't be trusted: {}", Failure::InvalidCertificate(other.clone())),
    }
}
