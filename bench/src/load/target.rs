//! Where a server is and how it is spoken to: in plain text, or with TLS; as nobody, or with a token.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use anyhow::ensure;
use http::HeaderValue;
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{CipherSuite, ClientConfig, HandshakeKind, ProtocolVersion, pki_types::ServerName},
};

use super::resp::{self, READ_BYTES, connect};

/// What is negotiated, and what the share of AES-GCM is worked out for.
const SUITE: CipherSuite = CipherSuite::TLS13_AES_256_GCM_SHA384;

/// A server as its clients see it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Whom to believe; `None` = plain text.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// `Bearer TOKEN`.
    pub(crate) token: Option<HeaderValue>,
    /// Bytes that came out of TLS, on all its connections.
    pub(crate) decrypted: Rc<Cell<u64>>,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { address, tls: None, token: None, decrypted: Rc::default() }
    }
}

impl Target {
    /// Connects, and ends TLS's handshake.
    pub(crate) async fn connect(&self) -> anyhow::Result<Socket> {
        let socket = connect(self.address).await?;
        let Some(config) = &self.tls else { return Ok(Socket::Plain(socket)) };
        let connector = TlsConnector::from(Arc::clone(config));
        let stream =
            connector.connect(ServerName::from(self.address.ip()), BufReader::with_capacity(READ_BYTES, socket));
        let stream = stream.await?;
        let (_, connection) = stream.get_ref();
        let suite = connection.negotiated_cipher_suite().map(|suite| suite.suite());
        ensure!(connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) && suite == Some(SUITE), "{suite:?}");
        Ok(Socket::Tls(Box::new(stream), Rc::clone(&self.decrypted)))
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// A connection to a target.
pub(crate) enum Socket {
    Plain(TcpStream),
    /// rustls asks for 4 KiB at a time: without a buffer below it a client would be busy with system calls.
    Tls(Box<TlsStream<BufReader<TcpStream>>>, Rc<Cell<u64>>),
}

impl Socket {
    /// How TLS began.
    pub(crate) fn handshake(&self) -> Option<HandshakeKind> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream, _) => stream.get_ref().1.handshake_kind(),
        }
    }

    /// Waits until there is something, and shows it, as [`resp::read`] does.
    pub(super) async fn read(&mut self, mut see: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        thread_local! {
            static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
        }
        if let Self::Plain(socket) = self {
            return resp::read(socket, see).await;
        }
        poll_fn(|context| {
            BUFFER.with_borrow_mut(|buffer| {
                let mut buffer = ReadBuf::new(buffer);
                ready!(Pin::new(&mut *self).poll_read(context, &mut buffer))?;
                Poll::Ready(match buffer.filled() {
                    [] => Err(anyhow::anyhow!("the server closed the connection")),
                    bytes => see(bytes),
                })
            })
        })
        .await
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(stream, decrypted) => {
                let before = buffer.filled().len();
                let read = Pin::new(stream).poll_read(context, buffer);
                decrypted.set(decrypted.get() + (buffer.filled().len() - before) as u64);
                read
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(stream, _) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Tls(stream, _) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(stream, _) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(stream, _) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
