//! TLS on the services' own port: 1.2 and 1.3, for HTTP/2 and HTTP/1.1. Certificate and key are read again when they
//! change; connections that are open stay as they began.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tidings::{
    limits::{AUTH_RELOAD_INTERVAL, TLS_BUFFER_BYTES},
    metrics,
    printable::chain,
};
use tidings_auth::{ClientCertificate, Peer, Unnamed, Watched};
use tokio::{net::TcpStream, time::sleep};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{RootCertStore, ServerConfig, crypto::aws_lc_rs, server::WebPkiClientVerifier},
    server::TlsStream,
};
use tokio_util::sync::CancellationToken;

use crate::accept::read_ahead::ReadAhead;

/// Where a server's certificate is.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// A certificate in PEM, and those that lead to a root.
    pub cert: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
    /// Whose certificates clients must have, in PEM; `None` where they need none.
    pub client_ca: Option<PathBuf>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file holds nothing of what it should.
    #[error("{path}: there is no {what} in PEM")]
    Nothing {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Certificate and key do not fit each other, or are invalid.
    #[error("{cert} and {key} can't be used")]
    Pair {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong.
        source: tokio_rustls::rustls::Error,
    },
    /// Clients can't be identified by these certificates.
    #[error("{path}")]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What accepts TLS connections.
pub struct Tls {
    config: ArcSwap<ServerConfig>,
    needs_certificates: bool,
    files: Mutex<Files>,
}

struct Files {
    cert: Watched,
    key: Watched,
    client_ca: Option<Watched>,
}

/// What was read of them.
struct Read {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    ///
    /// They can't be read, or do not fit each other: nothing is served then.
    pub fn open(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let TlsFiles { cert, key, client_ca } = files;
        let mut files =
            Files { cert: Watched::new(cert), key: Watched::new(key), client_ca: client_ca.map(Watched::new) };
        let (config, needs_certificates) = (files.config()?, files.client_ca.is_some());
        Ok(Arc::new(Self { config: ArcSwap::from_pointee(config), needs_certificates, files: Mutex::new(files) }))
    }

    /// Makes TLS of a connection. How many there are at once is bounded by the permits for connections: a bound of its
    /// own would let a few that stop in the middle keep all others out. What each may send before it is over is bounded
    /// instead.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<ReadAhead<TcpStream>>> {
        let acceptor = TlsAcceptor::from(self.config.load_full());
        let accepting = acceptor
            .accept_with(ReadAhead::new(stream), |connection| connection.set_buffer_limit(Some(TLS_BUFFER_BYTES)));
        let mut stream = accepting.await?;
        stream.get_mut().0.greeted();
        Ok(stream)
    }

    /// Who is at the other end of a connection, by its certificate.
    pub(super) fn peer(&self, stream: &TlsStream<ReadAhead<TcpStream>>) -> Peer {
        let (_, connection) = stream.get_ref();
        let own = connection.peer_certificates().and_then(<[_]>::first);
        let read =
            self.needs_certificates.then(|| own.map_or(Err(Unnamed::Nobody), |own| ClientCertificate::read(own)))?;
        if let Err(error) = &read {
            // Whoever has a certificate could fill the log.
            tracing::debug!(%error, "a client's certificate makes no caller");
        }
        Some(read.map(Arc::new))
    }

    /// Reads the files again whenever they change, until the token is cancelled.
    pub(super) async fn keep_current(self: Arc<Self>, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(sleep(AUTH_RELOAD_INTERVAL)).await.is_some() {
            let this = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || this.reload()).await;
        }
    }

    /// Reads the files again. What can't be used leaves what there was.
    fn reload(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        match files.has_changed().and_then(|changed| if changed { files.config().map(Some) } else { Ok(None) }) {
            Ok(None) => {}
            // Earlier tickets and sessions are void: they are the old configuration's.
            Ok(Some(config)) => {
                metrics::read_again(metrics::File::Certificate, true);
                self.config.store(Arc::new(config));
                tracing::info!(cert = %files.cert.path().display(), "the certificate has changed");
            }
            Err(error) => {
                metrics::read_again(metrics::File::Certificate, false);
                tracing::warn!(error = chain(&error), "the certificate can't be read again; the old one stays");
            }
        }
    }
}

impl Files {
    fn has_changed(&mut self) -> Result<bool, TlsError> {
        let mut changed = false;
        for file in [Some(&mut self.cert), Some(&mut self.key), self.client_ca.as_mut()].into_iter().flatten() {
            let path = file.path().clone();
            changed |= file.read().map_err(|source| TlsError::File { path, source })?.is_some();
        }
        Ok(changed)
    }

    fn read(&mut self) -> Result<Read, TlsError> {
        let read = |file: &Watched| {
            let path = file.path().clone();
            let content = Watched::new(path.clone()).read().map_err(|source| TlsError::File { path, source })?;
            Ok(content.unwrap_or_default())
        };
        Ok(Read {
            cert: read(&self.cert)?,
            key: read(&self.key)?,
            client_ca: self.client_ca.as_ref().map(read).transpose()?,
        })
    }

    fn config(&mut self) -> Result<ServerConfig, TlsError> {
        // They count as read from here on, also where they can't be used: that is said once.
        self.has_changed()?;
        let Read { cert, key, client_ca } = self.read()?;
        let chain = certificates(&cert).filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| TlsError::Nothing { path: self.cert.path().clone(), what: "certificate" })?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|_| TlsError::Nothing { path: self.key.path().clone(), what: "private key" })?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let pair = |source| TlsError::Pair { cert: self.cert.path().clone(), key: self.key.path().clone(), source };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(pair)?;
        let builder = match (&self.client_ca, client_ca) {
            (Some(file), Some(pem)) => {
                let path = || file.path().clone();
                let wrong =
                    |source: Box<dyn std::error::Error + Send + Sync>| TlsError::ClientCa { path: path(), source };
                let found = certificates(&pem).filter(|found| !found.is_empty());
                let found = found.ok_or_else(|| TlsError::Nothing { path: path(), what: "certificate" })?;
                let mut roots = RootCertStore::empty();
                for certificate in found {
                    roots.add(certificate).map_err(|error| wrong(error.into()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| wrong(error.into()))?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
        // What comes before the handshake is over can be sent again by whoever listens in, RFC 8446 appendix E.5.
        config.max_early_data_size = 0;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// All that a file has; `None` where one of them is broken.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
