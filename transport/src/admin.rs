//! The admin listener: `/metrics`, `/livez` and `/readyz`, plain HTTP/1.1 on a listener of its own. It stays open while
//! the services drain, and closes last.
//!
//! Each connection carries one request, in a bounded time, and there are few of them: neither a scraper that hangs nor
//! a stranger costs more. A page in a browser whose own name leads here gets nothing (`host`). Nothing here reveals a
//! channel's name or anything of a message.

use std::sync::Arc;

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tidings::{
    broker::{self, State},
    limits::{ACCEPT_PAUSE, ADMIN_GRACE, ADMIN_TIMEOUT, HEADER_LIST_BYTES, METRICS_TIDY},
    metrics::Part,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{answer::Answers, host::Hosts};
use super::{Auth, Readiness, descriptors};

mod answer;
mod host;
mod process;
mod recorder;

pub use host::{InvalidHost, parse as parse_host};
pub use recorder::{AlreadyInstalled, Scrape, install};

/// An admin listener that is bound and does not answer yet; all that happens from now on is counted.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    scrape: Scrape,
    follows_pushes: bool,
    hosts: Hosts,
}

/// An admin listener that answers.
#[derive(Debug)]
pub struct Admin {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl AdminServer {
    /// On a listener, in a process that has these parts.
    pub fn new(listener: TcpListener, scrape: Scrape, parts: &[Part]) -> Self {
        Self { listener, scrape, follows_pushes: parts.contains(&Part::Subscriber), hosts: Hosts::default() }
    }

    /// Answers those as well who ask for it by one of these names.
    #[must_use]
    pub fn with_hosts(self, names: &[String]) -> Self {
        Self { hosts: Hosts::new(names), ..self }
    }

    /// Answers from now on. The process is ready while its broker is and `shutdown` was not cancelled. Stop it by
    /// [`Admin::stop`].
    pub fn open(self, broker: broker::Shared, auth: Option<&Auth>, shutdown: CancellationToken) -> Admin {
        let Self { listener, scrape, follows_pushes, hosts } = self;
        let state: watch::Receiver<State> = if follows_pushes { broker.live_state() } else { broker.state() };
        let answers = Arc::new(Answers {
            scrape,
            broker,
            readiness: Readiness::new(state, auth),
            shutdown,
            hosts,
            since: Instant::now(),
        });
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "/metrics, /livez and /readyz are answered");
        }
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, answers, stop.clone()));
        Admin { stop, task }
    }
}

impl Admin {
    /// Closes it; answers under way may end.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the admin listener ended badly");
        }
    }
}

async fn serve(listener: TcpListener, answers: Arc<Answers>, stop: CancellationToken) {
    let (tasks, permits) = (TaskTracker::new(), Arc::new(Semaphore::new(descriptors::of_admin())));
    let cut = CancellationToken::new();
    let mut tidy = interval(METRICS_TIDY);
    tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = tidy.tick() => answers.scrape.tidy(),
            (connected, permit) = accept(&listener, &permits) => match connected {
                Some(stream) => {
                    let (connected, cut) = (connection(stream, Arc::clone(&answers), permit), cut.clone());
                    tasks.spawn(async move { cut.run_until_cancelled(connected).await });
                }
                None => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    tasks.close();
    if timeout(ADMIN_GRACE, tasks.wait()).await.is_err() {
        cut.cancel();
        tasks.wait().await;
    }
}

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (Option<TcpStream>, OwnedSemaphorePermit) {
    let permit = Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed");
    let accepted = listener.accept().await;
    if let Err(error) = &accepted {
        tracing::debug!(%error, "the admin listener can't accept a connection");
    }
    (accepted.ok().map(|(stream, _)| stream), permit)
}

async fn connection(stream: TcpStream, answers: Arc<Answers>, _permit: OwnedSemaphorePermit) {
    let service = service_fn(move |request| {
        let answer = answers.answer(&request);
        async move { Ok::<_, std::convert::Infallible>(answer) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).keep_alive(false).max_buf_size(HEADER_LIST_BYTES as usize);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    match timeout(ADMIN_TIMEOUT, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection broke"),
        Err(_) => tracing::debug!("an admin connection took too long"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use tidings::broker::{Retention, memory::Memory};

    #[tokio::test(start_paused = true)]
    async fn clients_that_send_nothing_or_little_are_cut() {
        let keep = Retention { max_messages: 1, max_bytes: 1, max_age_ms: 1, dedup_window_ms: 1, dedup_max_ids: 1 };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = AdminServer::new(listener, Scrape::of_nothing(), &[Part::Publisher]);
        let admin = server.open(Memory::new(keep), None, CancellationToken::new());
        for said in ["", "GET /livez HTTP/1.1\r\nhost:"] {
            let began = Instant::now();
            let mut stream = TcpStream::connect(address).await.expect("accepted");
            stream.write_all(said.as_bytes()).await.expect("sent");
            // However it ends: a timeout is an end without an answer.
            let _ = stream.read_to_end(&mut Vec::new()).await;
            let took = began.elapsed();
            assert!(took >= ADMIN_TIMEOUT && took < ADMIN_TIMEOUT * 2, "{said:?}: {took:?}");
        }
        admin.stop().await;
    }
}
