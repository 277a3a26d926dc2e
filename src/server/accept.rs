//! The accept loop: a bounded number of connections, each a task that the loop owns, and a drain with a deadline.

use std::{io, sync::Arc, time::Duration};

use hyper_util::{rt::TokioIo, rt::TokioTimer, server::conn::auto};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Error, Options, front::Front};
use crate::limits;

/// How long to wait when the process has no file descriptors or memory for another connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// How long cut calls may take to notice.
const CUT_GRACE: Duration = Duration::from_secs(1);
/// What an HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Runs the loop until the token is cancelled, then drains.
pub(super) async fn run(
    listener: TcpListener,
    front: Front,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let tasks = TaskTracker::new();
    let cut = CancellationToken::new();
    let connection = Connection {
        builder: Arc::new(builder(&options, tasks.clone())),
        front,
        drain: shutdown.clone(),
        cut: cut.clone(),
    };
    let accepted = accept_all(&listener, &connection, &tasks, &shutdown, limits::CONNECTIONS).await;
    // The port is free for a successor as soon as nothing new is accepted.
    drop(listener);
    shutdown.cancel();
    tasks.close();
    if timeout(options.shutdown_timeout, tasks.wait()).await.is_err() {
        tracing::warn!(open = tasks.len(), after = ?options.shutdown_timeout, "cut the calls that were still open");
        cut.cancel();
        if timeout(CUT_GRACE, tasks.wait()).await.is_err() {
            tracing::error!(open = tasks.len(), "calls that were cut have not ended");
        }
    }
    accepted
}

async fn accept_all(
    listener: &TcpListener,
    connection: &Connection,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
    places: usize,
) -> Result<(), Error> {
    let places = Arc::new(Semaphore::new(places));
    loop {
        let next = async {
            // Without a place nothing is accepted: clients wait in the kernel's queue, which is bounded as well.
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            listener.accept().await.map(|(stream, _)| (stream, place))
        };
        match shutdown.run_until_cancelled(next).await {
            None => return Ok(()),
            Some(Ok((stream, place))) => {
                tasks.spawn(connection.clone().run(stream, place));
            }
            Some(Err(error)) => match error.kind() {
                io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => {}
                _ if is_exhaustion(&error) => {
                    tracing::warn!(%error, "can't accept connections at the moment");
                    shutdown.run_until_cancelled(sleep(EXHAUSTED_PAUSE)).await;
                }
                _ => return Err(error.into()),
            },
        }
    }
}

/// ENOMEM, ENFILE, EMFILE and ENOBUFS, which pass.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(12 | 23 | 24 | 105))
}

/// What each connection needs.
#[derive(Clone)]
struct Connection {
    builder: Arc<auto::Builder<Tracked>>,
    front: Front,
    drain: CancellationToken,
    cut: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream, _place: OwnedSemaphorePermit) {
        let Self { builder, front, drain, cut } = self;
        let serve = async {
            // Small answers must not wait for more to come.
            let _ = stream.set_nodelay(true);
            let greeted = timeout(limits::GREETING_TIMEOUT, greet(stream));
            let Some(Ok(Ok(io))) = drain.run_until_cancelled(greeted).await else { return };
            let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), front));
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = drain.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                // What strangers do to their connections is no failure of the server.
                tracing::debug!(%error, "a connection broke");
            }
        };
        cut.run_until_cancelled(serve).await;
    }
}

/// Waits for the client's first words, as many as tell HTTP/2 from HTTP/1: hyper's own limits begin only after them.
async fn greet(mut stream: TcpStream) -> io::Result<impl AsyncRead + AsyncWrite + Unpin> {
    let mut said = [0; PREFACE.len()];
    let mut length = 0;
    while length < said.len() && PREFACE.starts_with(&said[..length]) {
        match stream.read(&mut said[length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => length += read,
        }
    }
    let (read, write) = stream.into_split();
    let said = io::Cursor::new(said).take(length as u64);
    Ok(tokio::io::join(said.chain(read), write))
}

fn builder(options: &Options, tasks: TaskTracker) -> auto::Builder<Tracked> {
    let mut builder = auto::Builder::new(Tracked(tasks));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::GREETING_TIMEOUT)
        .max_buf_size(limits::HEADER_LIST_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::CALLS_PER_CONNECTION)
        .max_header_list_size(limits::HEADER_LIST_BYTES)
        .max_send_buf_size(limits::SEND_BUFFER_BYTES)
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout);
    builder
}

/// Runs hyper's tasks (one an HTTP/2 call) among ours, so that a drain waits for them too.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

#[cfg(test)]
mod tests {
    use tonic::service::Routes;

    use super::*;
    use crate::server::Origins;

    /// Says the first words of HTTP/2.
    async fn connect(listener: &TcpListener) -> TcpStream {
        let address = listener.local_addr().expect("bound");
        let mut stream = TcpStream::connect(address).await.expect("the kernel's queue has room");
        tokio::io::AsyncWriteExt::write_all(&mut stream, PREFACE).await.expect("sent");
        stream
    }

    /// Whether the server answers with its own first words.
    async fn is_served(stream: &mut TcpStream, patience: Duration) -> bool {
        matches!(timeout(patience, stream.read(&mut [0; 9])).await, Ok(Ok(9)))
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_for_a_place() {
        let options = Options {
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(10),
            origins: Origins::Localhost,
            elsewhere: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (tasks, shutdown, cut) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let connection = Connection {
            builder: Arc::new(builder(&options, tasks.clone())),
            front: Front::new(Routes::default(), Origins::Localhost),
            drain: shutdown.clone(),
            cut: cut.clone(),
        };
        let clients = async {
            let patience = Duration::from_secs(10);
            let (mut first, mut second) = (connect(&listener).await, connect(&listener).await);
            assert!(is_served(&mut first, patience).await && is_served(&mut second, patience).await);
            let mut third = connect(&listener).await;
            assert!(!is_served(&mut third, Duration::from_millis(300)).await, "there are two places");
            drop(first);
            assert!(is_served(&mut third, patience).await, "a place is free");
            shutdown.cancel();
        };
        let (accepted, ()) = tokio::join!(accept_all(&listener, &connection, &tasks, &shutdown, 2), clients);
        accepted.expect("it accepts until the end");
        cut.cancel();
        tasks.close();
        timeout(Duration::from_secs(10), tasks.wait()).await.expect("the connections end");
    }
}
