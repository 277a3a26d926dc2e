//! The socket below TLS, read a record at a time.
//!
//! rustls asks for 4 KiB, so that a whole record took five system calls. What it does not take at once is kept here
//! until it does, and no memory while there is nothing.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tidings::limits::{TLS_HANDSHAKE_BYTES, TLS_READ_BYTES};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A socket whose bytes are read ahead of those who ask for few. Until the handshake is over it gives no more than
/// [`TLS_HANDSHAKE_BYTES`]: rustls keeps a message of the handshake, up to 64 KiB, until all of it is there.
#[derive(Debug)]
pub(crate) struct ReadAhead<S> {
    inner: S,
    /// How much of the handshake may still come; `None` once it is over.
    handshake: Option<usize>,
    /// What was read and not asked for yet.
    ahead: Vec<u8>,
    /// How many of these bytes are taken.
    taken: usize,
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; TLS_READ_BYTES]);
}

impl<S> ReadAhead<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, handshake: Some(TLS_HANDSHAKE_BYTES), ahead: Vec::new(), taken: 0 }
    }

    /// The handshake is over.
    pub(crate) fn greeted(&mut self) {
        self.handshake = None;
    }

    /// Counts what the socket gave.
    ///
    /// # Errors
    ///
    /// No handshake is so long.
    fn count(&mut self, bytes: usize) -> io::Result<()> {
        if let Some(left) = &mut self.handshake {
            *left = left.checked_sub(bytes).ok_or(io::ErrorKind::InvalidData)?;
        }
        Ok(())
    }

    /// Hands out of what was read before.
    fn take(&mut self, into: &mut ReadBuf<'_>) {
        let rest = &self.ahead[self.taken..];
        let length = rest.len().min(into.remaining());
        into.put_slice(&rest[..length]);
        self.taken += length;
        if self.taken == self.ahead.len() {
            (self.ahead, self.taken) = (Vec::new(), 0);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            this.take(into);
            return Poll::Ready(Ok(()));
        }
        if into.remaining() >= TLS_READ_BYTES {
            let before = into.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(context, into))?;
            return Poll::Ready(this.count(into.filled().len() - before));
        }
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut buffer))?;
            this.count(buffer.filled().len())?;
            let (now, later) = buffer.filled().split_at(buffer.filled().len().min(into.remaining()));
            into.put_slice(now);
            this.ahead = later.to_vec();
            Poll::Ready(Ok(()))
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn all_comes_in_its_order_and_nothing_stays() {
        let (mut theirs, ours) = duplex(3 * TLS_READ_BYTES);
        let sent: Vec<u8> = (0..3 * TLS_READ_BYTES).map(|i| (i % 251) as u8).collect();
        theirs.write_all(&sent).await.expect("there is room");
        drop(theirs);
        let (mut reader, mut received) = (ReadAhead::new(ours), Vec::new());
        reader.greeted();
        // A little, more than there is ahead, and as much as a record: the largest goes past the buffer.
        for length in [1, 4_096, TLS_READ_BYTES, 100, 2 * TLS_READ_BYTES, 4_096, TLS_READ_BYTES] {
            let mut buffer = vec![0; length];
            let read = reader.read(&mut buffer).await.expect("readable");
            assert!(reader.ahead.len() <= TLS_READ_BYTES);
            received.extend_from_slice(&buffer[..read]);
        }
        reader.read_to_end(&mut received).await.expect("readable");
        assert_eq!(received, sent);
        assert_eq!((reader.ahead.capacity(), reader.taken), (0, 0));
    }

    #[tokio::test]
    async fn one_read_of_the_socket_answers_many_small_ones() {
        let (mut theirs, ours) = duplex(TLS_READ_BYTES);
        theirs.write_all(&[7; 10_000]).await.expect("there is room");
        let mut reader = ReadAhead::new(ours);
        reader.greeted();
        reader.read_exact(&mut [0; 100]).await.expect("readable");
        assert_eq!(reader.ahead.len(), 9_900);
        // Nothing more is asked of the socket before that is taken.
        theirs.write_all(&[8; 10]).await.expect("there is room");
        let mut rest = vec![0; 20_000];
        assert_eq!(reader.read(&mut rest).await.expect("readable"), 9_900);
        assert_eq!(reader.read(&mut rest).await.expect("readable"), 10);
    }

    #[tokio::test]
    async fn a_handshake_has_its_bytes_and_no_more() {
        let (mut theirs, ours) = duplex(2 * TLS_HANDSHAKE_BYTES);
        theirs.write_all(&vec![7; TLS_HANDSHAKE_BYTES]).await.expect("there is room");
        let (mut reader, mut buffer) = (ReadAhead::new(ours), vec![0; TLS_HANDSHAKE_BYTES]);
        reader.read_exact(&mut buffer).await.expect("that much is a handshake");
        theirs.write_all(&[7]).await.expect("there is room");
        assert_eq!(reader.read(&mut buffer).await.expect_err("too much").kind(), io::ErrorKind::InvalidData);
        reader.greeted();
        theirs.write_all(&vec![7; TLS_HANDSHAKE_BYTES]).await.expect("there is room");
        reader.read_exact(&mut buffer).await.expect("it is over");
    }
}
