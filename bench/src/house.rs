//! What is measured: a `redis-server`, and both services with the defaults of their flags but for a longer
//! history, each on a thread of its own.

use std::{net::SocketAddr, thread::JoinHandle, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use tidings::{
    broker::{Shared, State, redis::Role},
    config::Common,
};
use tidings_testing::RedisServer;
use tokio::{net::TcpListener, runtime::Builder, sync::oneshot, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

/// Everything that runs.
pub(crate) struct House {
    redis: RedisServer,
    publisher: SocketAddr,
    subscriber: SocketAddr,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    common: Common,
}

impl House {
    /// Starts Redis and both services, and waits until they are connected.
    pub(crate) async fn start(appendonly: bool) -> anyhow::Result<Self> {
        let appendonly = if appendonly { "yes" } else { "no" };
        // The default would cut bare subscribers off that are behind for a moment; we measure, they don't die.
        let unlimited = ["--client-output-buffer-limit", "pubsub", "0", "0", "0"];
        let arguments = [&["--save", "", "--appendonly", appendonly][..], &unlimited].concat();
        let redis = tokio::task::spawn_blocking(move || RedisServer::start_with(&arguments)).await?;
        let stop = CancellationToken::new();
        let mut threads = Vec::new();
        let publisher = start(&redis, Role::Publisher, &stop, &mut threads).await?;
        let subscriber = start(&redis, Role::Subscriber, &stop, &mut threads).await?;
        Ok(Self { redis, publisher, subscriber, stop, threads })
    }

    /// A connection to the publisher.
    pub(crate) async fn publisher(&self) -> anyhow::Result<Channel> {
        Ok(Endpoint::from_shared(format!("http://{}", self.publisher))?.connect().await?)
    }

    /// A connection to the subscriber.
    pub(crate) async fn subscriber(&self) -> anyhow::Result<Channel> {
        Ok(Endpoint::from_shared(format!("http://{}", self.subscriber))?.connect().await?)
    }

    /// A bare connection to Redis.
    pub(crate) async fn redis(&self) -> anyhow::Result<redis::aio::MultiplexedConnection> {
        Ok(redis::Client::open(self.redis.url())?.get_multiplexed_async_connection().await?)
    }

    /// Where Redis listens.
    pub(crate) fn redis_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.redis.port()))
    }

    /// Drops what was kept, so that no measurement pays for the one before.
    pub(crate) async fn clear(&self) -> anyhow::Result<()> {
        redis::cmd("FLUSHALL").exec_async(&mut self.redis().await?).await?;
        Ok(())
    }

    /// Ends the services, then Redis.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let threads = self.threads;
        let _ =
            tokio::task::spawn_blocking(move || threads.into_iter().map(JoinHandle::join).all(|end| end.is_ok())).await;
    }
}

async fn start(
    redis: &RedisServer,
    role: Role,
    stop: &CancellationToken,
    threads: &mut Vec<JoinHandle<()>>,
) -> anyhow::Result<SocketAddr> {
    // A reader that falls behind must find everything in the log: what is measured is how fast all of it arrives.
    let history = ["--history-max-messages", "1000000", "--history-max-bytes", "1GiB"];
    let common = Flags::try_parse_from([&["bench", "--redis-url", &redis.url()][..], &history].concat())?.common;
    let broker = common.choose_broker(None, role)?;
    let (ready, address) = oneshot::channel();
    let stop = stop.clone();
    threads.push(std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let broker = broker.start();
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("bound");
            is_up(&broker).await;
            let _ = ready.send(address);
            serve(listener, &broker, &common, role, stop).await;
            broker.close().await;
        });
    }));
    timeout(Duration::from_secs(20), address).await.context("the services do not start")?.context("a service failed")
}

async fn serve(listener: TcpListener, broker: &Shared, common: &Common, role: Role, stop: CancellationToken) {
    let names = common.names().expect("the defaults are valid");
    let server = common.server();
    let served = if role == Role::Publisher {
        let settings = tidings_publisher::Settings { names, server };
        tidings_publisher::serve(listener, broker.clone(), settings, stop).await
    } else {
        let (patience, max_age) = (common.redis_timeout, common.history.max_age);
        let capture = tidings_subscriber::parse_capture(None, &names).expect("the defaults are valid");
        let settings = tidings_subscriber::Settings { names, patience, max_age, capture, server };
        tidings_subscriber::serve(listener, broker.clone(), settings, stop).await
    };
    served.expect("the service serves");
}

async fn is_up(broker: &Shared) {
    let mut state = broker.state();
    let _ = timeout(Duration::from_secs(10), state.wait_for(|state| *state == State::Up)).await;
}
