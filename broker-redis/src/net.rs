//! The two halves of a connection to Redis: over a socket of the operating system, plain or encrypted, or over one of a
//! simulated network. What is read ends when the server is the primary no more.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::WaitForCancellationFutureOwned;
#[cfg(not(simulation))]
use {
    std::{
        future::poll_fn,
        sync::{Mutex, MutexGuard, PoisonError},
        task::Waker,
    },
    tokio::{
        io::{ReadHalf, WriteHalf, split},
        net::{
            TcpStream,
            tcp::{OwnedReadHalf, OwnedWriteHalf},
        },
    },
    tokio_rustls::client::TlsStream,
};

#[cfg(simulation)]
use crate::simulation::{OwnedReadHalf, OwnedWriteHalf, TcpStream};

#[cfg(not(simulation))]
type Tls = TlsStream<TcpStream>;

/// The reading half of a connection to Redis.
pub(super) struct Reader {
    half: ReadingHalf,
    /// Nothing is read any more after this: an answer that came later is worth nothing.
    end: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

enum ReadingHalf {
    Plain(OwnedReadHalf),
    #[cfg(not(simulation))]
    Tls(ReadHalf<Tls>),
}

/// What goes to Redis. Besides the usual writes it can be written to through a shared reference, which never waits;
/// whoever does so keeps others from doing it at the same time.
pub(super) enum Writer {
    Plain(OwnedWriteHalf),
    #[cfg(not(simulation))]
    Tls(Mutex<WriteHalf<Tls>>),
}

/// The halves of a socket.
pub(super) fn plain(socket: TcpStream) -> (Reader, Writer) {
    let (reader, writer) = socket.into_split();
    (Reader::over(ReadingHalf::Plain(reader)), Writer::Plain(writer))
}

/// The halves of an encrypted connection.
#[cfg(not(simulation))]
pub(super) fn encrypted(stream: Tls) -> (Reader, Writer) {
    let (reader, writer) = split(stream);
    (Reader::over(ReadingHalf::Tls(reader)), Writer::Tls(Mutex::new(writer)))
}

impl Reader {
    fn over(half: ReadingHalf) -> Self {
        Self { half, end: None }
    }

    /// The same until this happens: from then on reading fails, also where the server has answered meanwhile.
    pub(super) fn until(self, end: WaitForCancellationFutureOwned) -> Self {
        Self { end: Some(Box::pin(end)), ..self }
    }
}

impl Writer {
    /// Writes as many bytes as the socket takes now, or returns WouldBlock. Encrypted bytes may wait for
    /// [`try_flush`](Self::try_flush).
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(half) => half.try_write(bytes),
            #[cfg(not(simulation))]
            Self::Tls(half) => {
                let polled = Pin::new(&mut *lock(half)).poll_write(&mut Context::from_waker(Waker::noop()), bytes);
                match polled {
                    Poll::Ready(written) => written,
                    Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
                }
            }
        }
    }

    /// Whether all that was written has left for the socket; tries to see to it. Where it has not, somebody is to wait
    /// for [`writable`](Self::writable).
    pub(super) fn try_flush(&self) -> io::Result<bool> {
        match self {
            Self::Plain(_) => Ok(true),
            #[cfg(not(simulation))]
            Self::Tls(half) => {
                let polled = Pin::new(&mut *lock(half)).poll_flush(&mut Context::from_waker(Waker::noop()));
                match polled {
                    Poll::Ready(flushed) => flushed.map(|()| true),
                    Poll::Pending => Ok(false),
                }
            }
        }
    }

    /// Waits until something can be written. For one task, which begins again when somebody else has written meanwhile:
    /// of an encrypted connection only the last who tried is woken.
    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Plain(half) => half.writable().await,
            #[cfg(not(simulation))]
            Self::Tls(half) => poll_fn(|cx| Pin::new(&mut *lock(half)).poll_flush(cx)).await,
        }
    }
}

#[cfg(not(simulation))]
fn lock<T>(half: &Mutex<T>) -> MutexGuard<'_, T> {
    half.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { half, end } = self.get_mut();
        if end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "another server is the primary")));
        }
        match half {
            ReadingHalf::Plain(half) => Pin::new(half).poll_read(cx, buffer),
            #[cfg(not(simulation))]
            ReadingHalf::Tls(half) => Pin::new(half).poll_read(cx, buffer),
        }
    }
}

/// Calls the half that there is.
macro_rules! of_half {
    ($this:expr, $half:ident => $call:expr) => {
        match $this.get_mut() {
            Writer::Plain(half) => {
                let $half = Pin::new(half);
                $call
            }
            #[cfg(not(simulation))]
            Writer::Tls(half) => {
                let $half = Pin::new(half.get_mut().unwrap_or_else(PoisonError::into_inner));
                $call
            }
        }
    };
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        of_half!(self, half => half.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        of_half!(self, half => half.poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(half) => half.is_write_vectored(),
            #[cfg(not(simulation))]
            Self::Tls(half) => lock(half).is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_half!(self, half => half.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_half!(self, half => half.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_not_read_after_the_end_though_it_has_come() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (ours, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (ours, mut server) = (ours.expect("connected"), server.expect("accepted").0);
        let replaced = CancellationToken::new();
        let mut reader = plain(ours).0.until(replaced.clone().cancelled_owned());
        let mut byte = [0];
        server.write_all(b"ab").await.expect("written");
        assert_eq!(reader.read(&mut byte).await.expect("read"), 1);
        replaced.cancel();
        let error = reader.read(&mut byte).await.expect_err("nothing is read any more");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        // One that waits is woken.
        let (ours, _server) = tokio::join!(TcpStream::connect(address), listener.accept());
        let replaced = CancellationToken::new();
        let mut reader = plain(ours.expect("connected")).0.until(replaced.clone().cancelled_owned());
        let (read, ()) = tokio::join!(reader.read(&mut byte), async { replaced.cancel() });
        assert_eq!(read.expect_err("it has ended").kind(), io::ErrorKind::ConnectionAborted);
    }
}
