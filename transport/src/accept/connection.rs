//! One connection, from its first words to its end: a peer that is gone or frozen does not keep it, age ends it in
//! good order, a drain as well, and a cut at once.

use std::{io, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use socket2::{SockRef, TcpKeepalive};
use tidings::{
    limits,
    metrics::{self, Limit},
};
use tidings_auth::Peer;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, split},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{sleep, timeout},
};
use tokio_util::{either::Either, sync::CancellationToken, task::TaskTracker};

use super::{
    cork::{Cork, Corked},
    frames::CountFrames,
    peers::Peers,
    write_timeout::WithWriteTimeout,
};
use crate::{
    Options, Tls,
    backlog::{Backlog, Room},
    context,
    drain_signal::DrainSignal,
    front::Front,
};

/// What an HTTP/2 client says first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What each connection needs.
#[derive(Clone)]
pub(super) struct Connection {
    builder: Arc<auto::Builder<Tracked>>,
    front: Front,
    terms: Terms,
    peers: Arc<Peers>,
    tls: Option<Arc<Tls>>,
    drain: CancellationToken,
    cut: CancellationToken,
}

/// How long a connection lasts.
#[derive(Debug, Clone, Copy)]
struct Terms {
    keepalive_interval: Duration,
    keepalive_timeout: Duration,
    age: Option<Duration>,
    grace: Duration,
}

impl Connection {
    /// Connections that run their calls among `tasks`, end when `drain` is cancelled, and are gone when `cut` is.
    pub(super) fn new(
        options: &Options,
        front: Front,
        tasks: TaskTracker,
        drain: CancellationToken,
        cut: CancellationToken,
    ) -> Self {
        let terms = Terms {
            keepalive_interval: options.keepalive_interval,
            keepalive_timeout: options.keepalive_timeout,
            age: options.max_connection_age,
            grace: options.max_connection_age_grace,
        };
        let (peers, tls) = (Arc::new(Peers::new(options)), options.tls.clone());
        Self { builder: Arc::new(builder(options, tasks)), front, terms, peers, tls, drain, cut }
    }

    pub(super) async fn run(self, stream: TcpStream, _permit: OwnedSemaphorePermit) {
        let _counted = metrics::Client::connected();
        let cut = self.cut.clone();
        cut.run_until_cancelled(self.serve(stream)).await;
    }

    async fn serve(self, stream: TcpStream) {
        let Self { builder, front, terms, peers, tls, drain, .. } = self;
        prepare(&stream, &terms);
        // Boxed: what a handshake takes is not held as long as the connection.
        let greeted = Box::pin(timeout(limits::GREETING_TIMEOUT, async {
            let (peer, stream) = peers.admit(stream).await?;
            let backlog = Backlog::of(peer.account.clone());
            let greeted = greet(stream, terms, tls, Arc::clone(&backlog)).await.ok()?;
            Some((peer, backlog, greeted))
        }));
        let (peer, backlog, Greeted { io, cork, certificate }) = match drain.run_until_cancelled(greeted).await {
            Some(Ok(Some(greeted))) => greeted,
            Some(Err(_)) => return metrics::limited(Limit::GreetingTime),
            // Not admitted, not understood, or draining.
            _ => return,
        };
        let signal = DrainSignal::new(&drain);
        let shared = context::Connection::new(signal.clone(), peer.address, peer.account, certificate, backlog);
        let unread = Arc::clone(&shared);
        let calls = service_fn(move |request: Request<Incoming>| front.call(request, &shared));
        let mut connection = std::pin::pin!(Corked::new(builder.serve_connection(TokioIo::new(io), calls), cork));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = drain.cancelled() => {
                connection.as_mut().connection().graceful_shutdown();
                connection.await
            }
            () = unread.unread().watch() => return,
            () = aged(terms.age) => {
                // Calls are notified first: a stream that ends in time needs no grace.
                signal.begin();
                connection.as_mut().connection().graceful_shutdown();
                timeout(terms.grace, connection).await.unwrap_or_else(|_| {
                    tracing::debug!(grace = ?terms.grace, "cut a connection whose calls continued beyond its maximum age");
                    Ok(())
                })
            }
        };
        if let Err(error) = ended {
            // What strangers do to their connections is no failure of the server.
            tracing::debug!(%error, "a connection broke");
        }
    }
}

/// Waits until a connection is as old as it may get, give or take a tenth: clients that came together after a restart
/// must not all come again together (gRFC A9).
async fn aged(age: Option<Duration>) {
    match age {
        Some(age) => sleep(age.mul_f64(0.9 + 0.2 * fastrand::f64())).await,
        None => std::future::pending().await,
    }
}

/// Sets the socket up. What the system refuses is done without.
fn prepare(stream: &TcpStream, terms: &Terms) {
    // Small answers must not wait for more to come.
    let _ = stream.set_nodelay(true);
    // HTTP/1.1 has no ping: it is the kernel that notices hosts which are gone.
    let keepalive = TcpKeepalive::new()
        .with_time(terms.keepalive_interval)
        .with_interval((terms.keepalive_timeout / limits::TCP_PROBES).max(limits::TCP_PROBE_PAUSE))
        .with_retries(limits::TCP_PROBES);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// A connection whose client has begun to speak.
struct Greeted<I, W> {
    io: I,
    cork: Cork<W>,
    /// Who that is, by its certificate.
    certificate: Peer,
}

/// Waits for the client's first words, as many as distinguish HTTP/2 from HTTP/1: hyper's own limits begin only after
/// them. Where there is TLS, its handshake comes before, in the same time.
async fn greet(
    stream: TcpStream,
    terms: Terms,
    tls: Option<Arc<Tls>>,
    backlog: Arc<Backlog>,
) -> io::Result<Greeted<impl AsyncRead + AsyncWrite + Unpin, impl AsyncWrite + Unpin>> {
    let (mut read, write, certificate) = match tls {
        None => {
            let (read, write) = stream.into_split();
            (Either::Left(read), Either::Left(write), None)
        }
        Some(tls) => {
            let stream = tls.accept(stream).await?;
            let certificate = tls.peer(&stream);
            let (read, write) = split(stream);
            (Either::Right(read), Either::Right(write), certificate)
        }
    };
    let mut said = [0; PREFACE.len()];
    let mut length = 0;
    while length < said.len() && PREFACE.starts_with(&said[..length]) {
        match read.read(&mut said[length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            some => length += some,
        }
    }
    let is_http2 = said[..length] == *PREFACE;
    let said = io::Cursor::new(said).take(length as u64);
    let write_timeout = terms.keepalive_interval + terms.keepalive_timeout;
    let cork = Cork::new(WithWriteTimeout::new(write, write_timeout));
    let handle = cork.handle();
    let read = match is_http2 {
        true => {
            let sent = cork.handle();
            Either::Left(CountFrames::new(read, move || sent.taken(), Room::new(backlog)))
        }
        false => Either::Right(read),
    };
    Ok(Greeted { io: tokio::io::join(said.chain(read), cork), cork: handle, certificate })
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
        .max_pending_accept_reset_streams(limits::CANCELLED_CALLS)
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
    use tokio::{net::TcpListener, time::Instant};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ages_differ_by_a_tenth_at_most() {
        let age = Duration::from_secs(1000);
        let mut ages = Vec::new();
        for _ in 0..200 {
            let began = Instant::now();
            aged(Some(age)).await;
            ages.push(began.elapsed().as_secs());
        }
        assert!(ages.iter().all(|age| (900..=1101).contains(age)), "{ages:?}");
        let (least, most) = (ages.iter().min(), ages.iter().max());
        assert!(least < Some(&950) && most > Some(&1050), "they are spread: {least:?} {most:?}");
    }

    #[tokio::test]
    async fn the_kernel_looks_after_hosts_that_are_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (stream, _) = accepted.expect("accepted");
        let terms = Terms {
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            age: None,
            grace: Duration::ZERO,
        };
        prepare(&stream, &terms);
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("readable") && stream.nodelay().expect("readable"));
        assert_eq!(socket.tcp_keepalive_time().expect("readable"), Duration::from_secs(30));
        assert_eq!(socket.tcp_keepalive_interval().expect("readable"), Duration::from_secs(3));
        drop(client);
    }
}
