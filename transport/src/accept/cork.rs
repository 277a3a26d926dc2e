//! Gathers what one turn of a connection writes, so that it leaves in a few large pieces.
//!
//! h2 writes and flushes each DATA frame by itself, at most 16 KiB (`FramedWrite::flush` in h2 0.4). With many streams
//! most of a connection's time then goes into system calls and packets. Here a flush means nothing; the connection's
//! task lets everything go when the protocol has no more to do for now.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tidings::limits::CORK_BYTES;
use tokio::io::AsyncWrite;

/// What a connection writes at most in a turn that does not make it one that writes much.
const SMALL_BYTES: usize = CORK_BYTES / 8;
/// Room for the frames that follow a lone answer.
const TRAILERS_BYTES: usize = 256;

/// The writer that the protocol is given.
#[derive(Debug)]
pub(super) struct Cork<W>(Arc<Mutex<Gathered<W>>>);

#[derive(Debug)]
struct Gathered<W> {
    inner: W,
    bytes: Vec<u8>,
    /// How many of the bytes are written.
    written: usize,
    /// How many bytes were ever taken.
    taken: u64,
    /// Whether much was written in the turn before, as it is on a connection with streams.
    writes_much: bool,
    /// The socket took less than there was: nothing more is gathered until it has taken that.
    is_blocked: bool,
    /// Reported at the next write.
    failed: Option<io::Error>,
}

pin_project! {
    /// A connection that lets go what it has written whenever it has no more to do.
    pub(super) struct Corked<F, W> {
        #[pin]
        connection: F,
        cork: Cork<W>,
    }
}

impl<W> Cork<W> {
    pub(super) fn new(inner: W) -> Self {
        let gathered = Gathered {
            inner,
            bytes: Vec::new(),
            written: 0,
            taken: 0,
            writes_much: false,
            is_blocked: false,
            failed: None,
        };
        Self(Arc::new(Mutex::new(gathered)))
    }

    /// The other end, for the task that runs the connection.
    pub(super) fn handle(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// How many bytes the protocol has written so far.
    pub(super) fn taken(&self) -> u64 {
        self.gathered().taken
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered<W>> {
        // Both ends belong to one task, so nobody waits here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: AsyncWrite + Unpin> Gathered<W> {
    fn poll_let_go(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            let written = Pin::new(&mut self.inner).poll_write(context, &self.bytes[self.written..]);
            self.is_blocked = written.is_pending();
            if self.is_blocked {
                // A reader that takes nothing holds what is left, and no more.
                self.bytes.drain(..std::mem::take(&mut self.written));
                self.bytes.shrink_to_fit();
            }
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        if self.written > 0 {
            self.writes_much = self.written > SMALL_BYTES;
        }
        // Idle connections hold no memory.
        self.bytes = Vec::new();
        self.written = 0;
        // TLS takes bytes before the socket does.
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.is_blocked = flushed.is_pending();
        flushed
    }

    /// Makes room for so many bytes.
    fn poll_room(&mut self, context: &mut Context<'_>, length: usize) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        if self.is_blocked || self.bytes.len() + length > CORK_BYTES {
            ready!(self.poll_let_go(context))?;
        }
        if self.bytes.len() + length > self.bytes.capacity() {
            // A lone small answer needs little. Whatever is more is mostly much more, and all of it would be copied
            // again with each step.
            let is_lone = self.bytes.is_empty() && length <= SMALL_BYTES && !self.writes_much;
            let room = if is_lone { length + TRAILERS_BYTES } else { CORK_BYTES - self.bytes.len() };
            self.bytes.reserve_exact(room.max(length));
        }
        Poll::Ready(Ok(()))
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Cork<W> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut gathered = self.gathered();
        let bytes = &bytes[..bytes.len().min(CORK_BYTES)];
        ready!(gathered.poll_room(context, bytes.len()))?;
        gathered.bytes.extend_from_slice(bytes);
        gathered.taken += bytes.len() as u64;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut gathered = self.gathered();
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>().min(CORK_BYTES);
        ready!(gathered.poll_room(context, length))?;
        let mut rest = length;
        for slice in slices {
            let taken = rest.min(slice.len());
            gathered.bytes.extend_from_slice(&slice[..taken]);
            rest -= taken;
        }
        gathered.taken += length as u64;
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.gathered().failed.take().map_or(Ok(()), Err))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.gathered();
        ready!(gathered.poll_let_go(context))?;
        Pin::new(&mut gathered.inner).poll_shutdown(context)
    }
}

impl<F, W> Corked<F, W> {
    /// Runs a connection that writes into the cork of this handle.
    pub(super) fn new(connection: F, cork: Cork<W>) -> Self {
        Self { connection, cork }
    }

    pub(super) fn connection(self: Pin<&mut Self>) -> Pin<&mut F> {
        self.project().connection
    }
}

impl<F: Future, W: AsyncWrite + Unpin> Future for Corked<F, W> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let ended = this.connection.poll(context);
        let mut gathered = this.cork.gathered();
        if let Poll::Ready(Err(error)) = gathered.poll_let_go(context) {
            gathered.bytes = Vec::new();
            gathered.written = 0;
            gathered.failed = Some(error);
            context.waker().wake_by_ref();
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    async fn read(theirs: &mut DuplexStream, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        theirs.read_exact(&mut bytes).await.expect("there is as much");
        bytes
    }

    /// Whether the other side has nothing to read.
    async fn is_quiet(theirs: &mut DuplexStream) -> bool {
        let mut byte = [0];
        tokio::select! {
            biased;
            _ = theirs.read(&mut byte) => false,
            () = std::future::ready(()) => true,
        }
    }

    #[tokio::test]
    async fn what_one_turn_writes_leaves_at_its_end() {
        let (ours, mut theirs) = duplex(CORK_BYTES);
        let mut cork = Cork::new(ours);
        let handle = cork.handle();
        let turn = async {
            for part in ["a", "bc", "def"] {
                cork.write_all(part.as_bytes()).await.expect("it is gathered");
                cork.flush().await.expect("which means nothing");
            }
            assert!(is_quiet(&mut theirs).await, "nothing has left");
            tokio::task::yield_now().await;
            assert_eq!(read(&mut theirs, 6).await, b"abcdef");
            assert_eq!(cork.gathered().bytes.capacity(), 0, "idle, it holds nothing");
        };
        Corked::new(turn, handle).await;
    }

    #[tokio::test]
    async fn no_more_is_gathered_than_the_limit_and_nothing_while_the_socket_takes_nothing() {
        let (ours, mut theirs) = duplex(8);
        let mut cork = Cork::new(ours);
        let sent: Vec<u8> = (0..3 * CORK_BYTES).map(|i| (i % 251) as u8).collect();
        let mut taken = 0;
        while let Poll::Ready(written) =
            poll_fn(|context| Poll::Ready(Pin::new(&mut cork).poll_write(context, &sent[taken..taken + 1_000]))).await
        {
            taken += written.expect("it is gathered");
            assert!(cork.gathered().bytes.len() <= CORK_BYTES);
        }
        assert!(cork.gathered().is_blocked && taken <= CORK_BYTES);
        let (_, received) = tokio::join!(
            async {
                cork.write_all(&sent[taken..]).await.expect("the rest is taken");
                cork.shutdown().await.expect("and let go");
            },
            async { read(&mut theirs, sent.len()).await }
        );
        assert_eq!(received, sent);
    }

    #[tokio::test]
    async fn a_failure_is_reported_at_the_next_write() {
        let (ours, theirs) = duplex(8);
        drop(theirs);
        let mut cork = Cork::new(ours);
        let handle = cork.handle();
        let turn = async {
            cork.write_all(b"x").await.expect("it is gathered");
            tokio::task::yield_now().await;
            cork.write_all(b"y").await.expect_err("nobody is there").kind()
        };
        assert_eq!(Corked::new(turn, handle).await, io::ErrorKind::BrokenPipe);
    }
}
