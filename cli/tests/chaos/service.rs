//! A publisher or a subscriber, in a runtime of its own, so that it can be stopped in good order or dropped as a crash
//! does.

use std::{net::SocketAddr, time::Duration};

use clap::Parser as _;
use tidings_runtime::{
    Role,
    config::{self, Common},
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long a port may stay taken by the one before.
const TEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Which service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Publisher,
    Subscriber,
}

/// How to start one.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    /// The command line after the address.
    pub(crate) args: Vec<String>,
}

/// One that runs.
pub(crate) struct Service {
    runtime: Option<Runtime>,
    stop: CancellationToken,
    served: JoinHandle<Result<(), String>>,
}

impl Service {
    /// Starts one and waits until it listens.
    pub(crate) async fn start(recipe: &Recipe) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let stop = CancellationToken::new();
        let (listens, listening) = oneshot::channel();
        let served = runtime.spawn(serve(recipe.clone(), stop.clone(), listens));
        let service = Self { runtime: Some(runtime), stop, served };
        timeout(TEST_TIMEOUT * 2, listening).await.expect("a service starts in time").expect("a service starts");
        service
    }

    /// Has it do nothing for so long, as SIGSTOP does: its one thread sleeps.
    pub(crate) fn freeze(&self, time: Duration) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move { std::thread::sleep(time) });
        }
    }

    /// Stops it as SIGTERM does; answers what went wrong.
    pub(crate) async fn stop(mut self) -> Result<(), String> {
        self.stop.cancel();
        let served = timeout(TEST_TIMEOUT, &mut self.served).await;
        served.map_err(|_| "it does not stop".to_owned())?.map_err(|error| format!("it ended with {error}"))?
    }
}

impl Drop for Service {
    /// Ends it as a crash does.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(recipe: Recipe, stop: CancellationToken, listens: oneshot::Sender<()>) -> Result<(), String> {
    let listen = format!("--listen={}", recipe.address);
    let args = ["tidings".to_owned(), listen].into_iter().chain(recipe.args);
    match recipe.kind {
        Kind::Publisher => {
            let asked = tidings_publisher::config::Cli::try_parse_from(args).map_err(|error| error.to_string())?.serve;
            let settings = asked.settings().map_err(|error| error.to_string())?;
            let listener = bind(asked.listen.address, &asked.common).await?;
            let broker = asked.common.broker(None, Role::Publisher).map_err(|error| error.to_string())?;
            let _ = listens.send(());
            let served = tidings_publisher::serve(listener, broker.clone(), settings, stop).await;
            broker.close().await;
            served.map_err(|error| error.to_string())
        }
        Kind::Subscriber => {
            let asked = tidings_subscriber::config::Cli::try_parse_from(args).map_err(|error| error.to_string())?.serve;
            let settings = asked.settings().map_err(|error| error.to_string())?;
            let listener = bind(asked.listen.address, &asked.common).await?;
            let broker = asked.common.broker(None, Role::Subscriber).map_err(|error| error.to_string())?;
            let _ = listens.send(());
            let served = tidings_subscriber::serve(listener, broker.clone(), settings, stop).await;
            broker.close().await;
            served.map_err(|error| error.to_string())
        }
    }
}

/// Takes the port, as soon as the one before has let go of it.
async fn bind(address: SocketAddr, common: &Common) -> Result<TcpListener, String> {
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        match config::listen(address, "--listen", common.may_be_exposed()).await {
            Ok(listener) => return Ok(listener),
            Err(error) if Instant::now() > deadline => return Err(error.to_string()),
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}
