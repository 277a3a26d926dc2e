//! Asks a key server for its keys: one `GET` over HTTP/1.1, on a connection of its own, since it is asked once in
//! minutes. Who answers is checked by certificate, redirects are not followed, and what comes is bounded.

use std::{
    fmt, fs, io,
    net::{IpAddr, SocketAddr},
    path::Path,
    pin::Pin,
    str::FromStr,
    sync::Arc,
};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header, uri::Scheme};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tidings::limits::{AUTH_FILE_BYTES, HEADER_LIST_BYTES};
use tidings_auth::{FetchError, FetchKeys};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs},
};

/// Where a key server answers: `https://…`, or `http://…` on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUrl(Uri);

/// A key server.
pub struct KeyClient {
    url: KeyUrl,
    /// `None` where it is spoken to in plain text.
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Why a key server can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum KeyClientError {
    /// A file can't be read.
    #[error("{path}")]
    File {
        /// Which.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody's certificate would be believed.
    #[error("there are no certificates of authorities {0}; name a file of them (--auth-jwks-ca)")]
    NoRoots(String),
    /// TLS has no use for its name.
    #[error("{0} is the name of no server")]
    Name(String),
    /// TLS can't be had.
    #[error("TLS can't be spoken")]
    Tls(#[from] tokio_rustls::rustls::Error),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("its name leads to no address of this machine, and plain http goes no further")]
    NotLocal,
    #[error("it can't be reached")]
    Unreachable(#[source] io::Error),
    #[error("TLS fails")]
    Tls(#[source] io::Error),
    #[error("HTTP fails")]
    Http(#[from] hyper::Error),
    #[error("it answers {0}, a redirect, which is not followed: name the address where the keys are")]
    Redirect(u16),
    #[error("it answers {0}")]
    Status(u16),
    #[error("it answers with more than {AUTH_FILE_BYTES} bytes")]
    TooLarge,
}

impl FromStr for KeyUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| "it is no URL such as https://HOST/PATH")?;
        let host = uri.host().unwrap_or_default();
        if uri.authority().is_none_or(|authority| authority.as_str().contains('@')) || host.is_empty() {
            return Err("it is no URL such as https://HOST/PATH; it has no user and no password");
        }
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => Ok(Self(uri)),
            Some(scheme) if *scheme == Scheme::HTTP && may_be_local(host) => Ok(Self(uri)),
            Some(scheme) if *scheme == Scheme::HTTP => {
                Err("whoever is between could give it other keys: use https, or http on the loopback")
            }
            _ => Err("it is no URL such as https://HOST/PATH"),
        }
    }
}

impl KeyUrl {
    fn is_plain(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTP)
    }

    /// Without the brackets of an IPv6 address.
    fn host(&self) -> &str {
        self.0.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_plain() { 80 } else { 443 })
    }
}

impl fmt::Display for KeyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address is looked at now, `localhost` when it is looked up.
fn may_be_local(host: &str) -> bool {
    let address: Result<IpAddr, _> = host.trim_start_matches('[').trim_end_matches(']').parse();
    address.map_or_else(|_| host.eq_ignore_ascii_case("localhost"), |address| address.is_loopback())
}

impl KeyClient {
    /// A client of the server at `url`, whose certificate must come from those in the file `ca`, or else from the
    /// system's.
    ///
    /// # Errors
    ///
    /// There are no such certificates.
    pub fn open(url: KeyUrl, ca: Option<&Path>) -> Result<Arc<Self>, KeyClientError> {
        if url.is_plain() {
            return Ok(Arc::new(Self { url, tls: None }));
        }
        let name = ServerName::try_from(url.host().to_owned());
        let name = name.map_err(|_| KeyClientError::Name(url.host().to_owned()))?;
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let config = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots(ca)?);
        let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
        Ok(Arc::new(Self { url, tls: Some((connector, name)) }))
    }

    async fn get(&self) -> Result<Vec<u8>, Unanswered> {
        let stream = self.connect().await?;
        match &self.tls {
            None => self.ask(stream).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(Unanswered::Tls)?;
                self.ask(stream).await
            }
        }
    }

    /// To the first of its addresses that accepts.
    async fn connect(&self) -> Result<TcpStream, Unanswered> {
        let addresses = lookup_host((self.url.host(), self.url.port())).await.map_err(Unanswered::Unreachable)?;
        let is_allowed = |address: &SocketAddr| self.tls.is_some() || address.ip().is_loopback();
        let mut failed = Unanswered::NotLocal;
        for address in addresses.filter(is_allowed) {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = Unanswered::Unreachable(error),
            }
        }
        Err(failed)
    }

    async fn ask(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<Vec<u8>, Unanswered> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEADER_LIST_BYTES as usize);
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        let answer = async {
            let path = self.url.0.path_and_query().map_or("/", |path| path.as_str());
            let authority = self.url.0.authority().map_or("", |authority| authority.as_str());
            let request = Request::get(path)
                .header(header::HOST, authority)
                .header(header::ACCEPT, "application/jwk-set+json, application/json")
                .header(header::USER_AGENT, concat!("tidings/", env!("CARGO_PKG_VERSION")))
                .header(header::CONNECTION, "close")
                .body(Empty::<Bytes>::new());
            // Its parts were checked as parts of a URL.
            let request = request.map_err(|error| Unanswered::Unreachable(io::Error::other(error)))?;
            let response = sender.send_request(request).await?;
            match response.status() {
                StatusCode::OK => {}
                status if status.is_redirection() => return Err(Unanswered::Redirect(status.as_u16())),
                status => return Err(Unanswered::Status(status.as_u16())),
            }
            let body = Limited::new(response.into_body(), AUTH_FILE_BYTES as usize).collect().await;
            let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
                Ok(error) => Unanswered::Http(*error),
                Err(error) => {
                    debug_assert!(error.is::<LengthLimitError>());
                    Unanswered::TooLarge
                }
            });
            Ok(body?.to_bytes().into())
        };
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            biased;
            answer = answer.as_mut() => return answer,
            // What was read by then can still be returned.
            ended = connection.as_mut() => ended?,
        }
        answer.await
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, KeyClientError> {
    let mut roots = RootCertStore::empty();
    let place = match ca {
        Some(path) => {
            let file = |source| KeyClientError::File { path: path.display().to_string(), source };
            let pem = fs::read(path).map_err(file)?;
            let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
            roots.add_parsable_certificates(found.map_err(|error| file(io::Error::other(error.to_string())))?);
            format!("in {}", path.display())
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            "of this system".to_owned()
        }
    };
    if roots.is_empty() { Err(KeyClientError::NoRoots(place)) } else { Ok(roots) }
}

impl FetchKeys for KeyClient {
    fn url(&self) -> String {
        self.url.to_string()
    }

    fn fetch(&self) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, FetchError>> + Send + '_>> {
        Box::pin(async { self.get().await.map_err(FetchError::from) })
    }
}

impl fmt::Debug for KeyClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyClient").field(&self.url).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_by_https_or_from_this_machine() {
        for good in [
            "https://keys.example/jwks",
            "https://keys.example:8443/a?b=c",
            "https://keys.example",
            "https://[2001:db8::1]/jwks",
            "http://127.0.0.1:8080/jwks",
            "http://127.9.9.9/jwks",
            "http://localhost/jwks",
            "http://[::1]:8080/jwks",
        ] {
            assert_eq!(good.parse::<KeyUrl>().expect(good).to_string().trim_end_matches('/'), good);
        }
        for bad in [
            "http://keys.example/jwks",
            "http://localhost.example/jwks",
            "http://127.0.0.1.example/jwks",
            "http://10.0.0.1/jwks",
            "https://user:password@keys.example/jwks",
            "http://localhost@keys.example/jwks",
            "ftp://keys.example/jwks",
            "https:///jwks",
            "https://",
            "keys.json",
            "",
        ] {
            assert!(bad.parse::<KeyUrl>().is_err(), "{bad}");
        }
    }
}
