//! The accept loop: a bounded number of connections, each a task that the loop owns, and a drain with a deadline.

use std::{io, sync::Arc};

use tidings::limits::{ACCEPT_LOG_INTERVAL, ACCEPT_PAUSE, CUT_GRACE};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::connection::Connection;
use super::{Error, Options, descriptors, front::Front};

mod connection;
mod cork;
mod frames;
mod peers;
pub(super) mod read_ahead;
mod write_timeout;

/// Runs the loop until the token is cancelled, then drains.
pub(super) async fn run(
    listener: TcpListener,
    front: Front,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let tasks = TaskTracker::new();
    let cut = CancellationToken::new();
    let connection = Connection::new(&options, front, tasks.clone(), shutdown.clone(), cut.clone());
    let accepted = accept_all(&listener, &connection, &tasks, &shutdown, descriptors::available()).await;
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
    limit: usize,
) -> Result<(), Error> {
    let permits = Arc::new(Semaphore::new(limit));
    let (mut full, mut exhausted) = (Occasionally::default(), Occasionally::default());
    loop {
        let next = async {
            if permits.available_permits() == 0 && full.is_due() {
                tracing::warn!(open = limit, "no more connections can be taken; clients wait until one of them ends");
            }
            // Without a permit nothing is accepted: clients wait in the kernel's queue, which is bounded as well.
            let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
            listener.accept().await.map(|(stream, _)| (stream, permit))
        };
        match shutdown.run_until_cancelled(next).await {
            None => return Ok(()),
            Some(Ok((stream, permit))) => {
                tasks.spawn(connection.clone().run(stream, permit));
            }
            Some(Err(error)) => match error.kind() {
                io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => {}
                _ if is_exhaustion(&error) => {
                    if exhausted.is_due() {
                        tracing::warn!(%error, "can't accept connections now; clients must wait");
                    }
                    shutdown.run_until_cancelled(sleep(ACCEPT_PAUSE)).await;
                }
                _ => return Err(error.into()),
            },
        }
    }
}

/// Lets the first of many equal warnings through, and then one in a while.
#[derive(Debug, Default)]
struct Occasionally {
    last: Option<Instant>,
}

impl Occasionally {
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.last.is_none_or(|last| now.duration_since(last) >= ACCEPT_LOG_INTERVAL);
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

/// ENOMEM, ENFILE, EMFILE and ENOBUFS, which pass.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(12 | 23 | 24 | 105))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings_auth::{Accounts, Quotas};
    use tokio::{io::AsyncReadExt as _, net::TcpStream};
    use tonic::service::Routes;

    use super::{connection::PREFACE, *};
    use crate::{Origins, dispatch::Dispatch, gate::Gate, methods::Methods};

    /// Says the first words of HTTP/2.
    async fn connect(listener: &TcpListener) -> TcpStream {
        let address = listener.local_addr().expect("bound");
        let mut stream = TcpStream::connect(address).await.expect("the kernel's queue has room");
        tokio::io::AsyncWriteExt::write_all(&mut stream, PREFACE).await.expect("sent");
        stream
    }

    /// Whether the server answers with its own first words.
    async fn is_served(stream: &mut TcpStream, limit: Duration) -> bool {
        matches!(timeout(limit, stream.read(&mut [0; 9])).await, Ok(Ok(9)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_warning_comes_once_in_a_while() {
        let mut warning = Occasionally::default();
        assert!(warning.is_due());
        for _ in 0..5 {
            assert!(!warning.is_due());
        }
        sleep(ACCEPT_LOG_INTERVAL).await;
        assert!(warning.is_due() && !warning.is_due());
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_for_a_free_one() {
        let options = Options {
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            max_connection_age: None,
            max_connection_age_grace: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(10),
            origins: Origins::Localhost,
            fast_path: true,
            tls: None,
            auth: None,
            accounts: Accounts::new(Quotas::UNLIMITED),
            trusted_proxies: Vec::new(),
            elsewhere: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (tasks, shutdown, cut) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let methods = Methods::new(Vec::new(), Vec::new(), None);
        let front = Front::new(Dispatch::new(Gate::new(methods, None), Routes::default()), Origins::Localhost);
        let connection = Connection::new(&options, front, tasks.clone(), shutdown.clone(), cut.clone());
        let clients = async {
            let limit = Duration::from_secs(10);
            let (mut first, mut second) = (connect(&listener).await, connect(&listener).await);
            assert!(is_served(&mut first, limit).await && is_served(&mut second, limit).await);
            let mut third = connect(&listener).await;
            assert!(!is_served(&mut third, Duration::from_millis(300)).await, "there are two permits");
            drop(first);
            assert!(is_served(&mut third, limit).await, "a permit is free");
            shutdown.cancel();
        };
        let (accepted, ()) = tokio::join!(accept_all(&listener, &connection, &tasks, &shutdown, 2), clients);
        accepted.expect("it accepts until the end");
        cut.cancel();
        tasks.close();
        timeout(Duration::from_secs(10), tasks.wait()).await.expect("the connections end");
    }
}
