//! Sockets of a simulated network, for `simulation/` and nobody else: it is built with `--cfg simulation`.
//!
//! A schedule runs on one thread, which has a [`Network`]. Bytes that are written to a socket go there at once; bytes
//! that come back wait in its [`Pipe`] until they are read. Nothing here knows Redis.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The other end of all sockets of a thread.
pub trait Network {
    /// Somebody connects to a host.
    fn dial(&self, host: &str) -> io::Result<Arc<Pipe>>;
    /// Bytes were written to a socket.
    fn receive(&self, pipe: &Pipe, bytes: &[u8]);
    /// A socket was closed by its owner.
    fn hang_up(&self, pipe: &Pipe);
}

thread_local! {
    static NETWORK: RefCell<Option<Rc<dyn Network>>> = const { RefCell::new(None) };
}

/// Sets the network of this thread.
pub fn set_network(network: Option<Rc<dyn Network>>) {
    NETWORK.set(network);
}

static SECOND_CALLS: AtomicU64 = AtomicU64::new(0);

/// An optimistic call was sent while the one before it was under way.
pub(crate) fn count_second_call() {
    SECOND_CALLS.fetch_add(1, Ordering::Relaxed);
}

/// How many of those there were in this process.
pub fn second_calls() -> u64 {
    SECOND_CALLS.load(Ordering::Relaxed)
}

fn with<T>(call: impl FnOnce(&dyn Network) -> T) -> Option<T> {
    let network = NETWORK.try_with(|network| network.borrow().clone()).ok()??;
    Some(call(&*network))
}

/// Bytes on their way to a socket's owner.
#[derive(Debug)]
pub struct Pipe {
    /// The network's own name for it.
    pub id: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: BytesMut,
    is_cut: bool,
    waker: Option<Waker>,
}

impl Pipe {
    /// A new one.
    pub fn new(id: u64) -> Arc<Self> {
        Arc::new(Self { id, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes arrive at the owner.
    pub fn deliver(&self, bytes: &[u8]) {
        let mut state = self.state();
        state.bytes.extend_from_slice(bytes);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// The connection is lost; bytes that have arrived can still be read.
    pub fn cut(&self) {
        let mut state = self.state();
        state.is_cut = true;
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

/// Its drop is the owner's goodbye.
#[derive(Debug)]
struct Socket(Arc<Pipe>);

impl Drop for Socket {
    fn drop(&mut self) {
        with(|network| network.hang_up(&self.0));
    }
}

impl Socket {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.state();
        if state.bytes.is_empty() && !state.is_cut {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let some = state.bytes.len().min(buffer.remaining());
        buffer.put_slice(&state.bytes[..some]);
        state.bytes.advance(some);
        Poll::Ready(Ok(()))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.state().is_cut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        with(|network| network.receive(&self.0, bytes));
        Ok(bytes.len())
    }
}

/// As Tokio's.
#[derive(Debug)]
pub struct TcpStream(Arc<Socket>);

/// As Tokio's.
#[derive(Debug)]
pub struct OwnedReadHalf(Arc<Socket>);

/// As Tokio's.
#[derive(Debug)]
pub struct OwnedWriteHalf(Arc<Socket>);

impl TcpStream {
    /// Connects to a host of the thread's network.
    #[expect(clippy::unused_async, reason = "as Tokio's")]
    pub async fn connect((host, _): (&str, u16)) -> io::Result<Self> {
        let pipe = with(|network| network.dial(host)).unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()))?;
        Ok(Self(Arc::new(Socket(pipe))))
    }

    /// As Tokio's.
    pub fn set_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    /// As Tokio's.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        (OwnedReadHalf(Arc::clone(&self.0)), OwnedWriteHalf(self.0))
    }
}

impl OwnedWriteHalf {
    /// As Tokio's.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    /// As Tokio's: there is always room.
    #[expect(clippy::unused_async, reason = "as Tokio's")]
    pub async fn writable(&self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for OwnedReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read(cx, buffer)
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read(cx, buffer)
    }
}

macro_rules! writes {
    ($half:ty) => {
        impl AsyncWrite for $half {
            fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                Poll::Ready(self.0.write(bytes))
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
    };
}

writes!(OwnedWriteHalf);
writes!(TcpStream);
