//! A key server: answers each connection with what it is told to, and counts them.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use super::Pair;

/// One that runs.
pub(crate) struct KeyServer {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    answer: Mutex<Answer>,
    asked: AtomicUsize,
    tls: Option<TlsAcceptor>,
}

/// What it answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// 200 with this body.
    Body(String),
    /// Another status, with a header.
    Status(&'static str, String),
    /// 200 with as many bytes, of which nobody said how many come.
    Endless,
    /// Nothing, for so long.
    Slow(Duration),
}

impl KeyServer {
    /// In plain text.
    pub(crate) async fn start(address: SocketAddr, answer: Answer) -> Self {
        Self::serve(address, answer, None).await
    }

    /// With TLS.
    pub(crate) async fn start_tls(address: SocketAddr, answer: Answer, pair: &Pair) -> Self {
        let certs = CertificateDer::pem_slice_iter(pair.cert.as_bytes()).collect::<Result<_, _>>().expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_no_client_auth().with_single_cert(certs, key).expect("a pair");
        Self::serve(address, answer, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn serve(address: SocketAddr, answer: Answer, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared { answer: Mutex::new(answer), asked: AtomicUsize::new(0), tls });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("it accepts");
                let shared = Arc::clone(&serving);
                connections.spawn(async move {
                    // The client may go away whenever it likes.
                    let _ = match &shared.tls {
                        None => shared.answer(stream).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => shared.answer(stream).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        Self { address, shared, task }
    }

    /// What it answers from now on.
    pub(crate) fn answer(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// How many requests have come.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }
}

impl Shared {
    async fn answer(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        assert!(head.starts_with(b"GET /keys?of=tidings HTTP/1.1\r\n"), "{:?}", String::from_utf8_lossy(&head));
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match answer {
            Answer::Body(body) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(body.as_bytes()).await?;
            }
            Answer::Status(status, header) => {
                let head = format!("HTTP/1.1 {status}\r\n{header}content-length: 0\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
            }
            Answer::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"keys\": [").await?;
                loop {
                    stream.write_all(&[b' '; 4096]).await?;
                }
            }
            Answer::Slow(time) => tokio::time::sleep(time).await,
        }
        stream.shutdown().await
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
