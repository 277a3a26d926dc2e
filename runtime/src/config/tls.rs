//! TLS on the services' ports.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use tidings_transport::{Tls, TlsFiles};

use super::Error;

/// The certificate of a service, and whose certificates its clients must have.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(next_help_heading = "TLS")]
pub struct TlsFlags {
    /// A file with the service's certificate (PEM), followed by its chain: clients connect with TLS 1.2
    /// or 1.3, at https://. Read again when it changes [default: plain text]
    #[arg(long, env = "TIDINGS_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// A file with its private key (PEM) [default: none]
    #[arg(long, env = "TIDINGS_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// A file with certificates (PEM): clients must present one signed by one of these, or are refused.
    /// Its one name, a SPIFFE ID or a DNS name, says who calls [default: they need none]
    #[arg(long, env = "TIDINGS_TLS_CLIENT_CA", value_name = "FILE", requires = "tls_cert", group = "signing_in")]
    pub tls_client_ca: Option<PathBuf>,
}

impl TlsFlags {
    /// Whether clients need a certificate.
    pub(super) fn is_mutual(&self) -> bool {
        self.tls_client_ca.is_some()
    }

    /// Reads certificate and key, where there are any.
    ///
    /// # Errors
    ///
    /// They can't be read, or do not fit each other: then nothing is served.
    pub fn open(&self) -> Result<Option<Arc<Tls>>, Error> {
        let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) else { return Ok(None) };
        let files = TlsFiles { cert: cert.clone(), key: key.clone(), client_ca: self.tls_client_ca.clone() };
        Ok(Some(Tls::open(files)?))
    }
}
