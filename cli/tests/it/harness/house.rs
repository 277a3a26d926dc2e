//! A house: both services and clients of them.

use std::{net::SocketAddr, time::Duration};

use tidings::{
    broker::{Retention, Shared, memory::Memory},
    channel::Names,
    pb::{
        ListChannelsRequest, ListMessagesRequest, Message, PublishRequest, PublishResponse, StreamMessagesRequest,
        publisher_service_client::PublisherServiceClient, subscriber_service_client::SubscriberServiceClient,
    },
};
use tidings_testing::{RedisServer, free_port};
use tidings_transport::{Options, Origins};
use tokio::{net::TcpListener, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{Process, Stream, TEST_TIMEOUT, process::with_fast_paths};

/// Both services, on one of the brokers.
pub(crate) struct House {
    publisher: Channel,
    subscriber: Channel,
    subscriber_address: SocketAddr,
    parts: Parts,
}

enum Parts {
    Embedded { stop: CancellationToken, services: JoinSet<()>, broker: Shared },
    Redis { _redis: RedisServer, publisher: Box<Publisher>, subscriber: Box<Subscriber> },
}

impl House {
    /// In this process, on an embedded broker.
    pub(crate) async fn embedded() -> Self {
        let broker: Shared = Memory::new(Retention {
            max_messages: 100_000,
            max_bytes: 64 << 20,
            max_age_ms: 24 * 3600 * 1000,
            dedup_window_ms: 120_000,
            dedup_max_ids: 1_000_000,
        });
        let names = Names::new("tidings", "channel1").expect("valid");
        let (publisher, subscriber) = (listener().await, listener().await);
        let addresses = [&publisher, &subscriber].map(|listener| listener.local_addr().expect("bound"));
        let stop = CancellationToken::new();
        let mut services = JoinSet::new();
        let for_publisher = tidings_publisher::Settings { names: names.clone(), server: options() };
        let serving = tidings_publisher::serve(publisher, broker.clone(), for_publisher, stop.clone());
        services.spawn(async { serving.await.expect("the publisher serves") });
        let for_subscriber = tidings_subscriber::Settings {
            names,
            broker_timeout: Duration::from_secs(5),
            max_age: Duration::from_secs(24 * 3600),
            capture: Vec::new(),
            server: options(),
        };
        let serving = tidings_subscriber::serve(subscriber, broker.clone(), for_subscriber, stop.clone());
        services.spawn(async { serving.await.expect("the subscriber serves") });
        Self {
            publisher: connect(addresses[0]).await,
            subscriber: connect(addresses[1]).await,
            subscriber_address: addresses[1],
            parts: Parts::Embedded { stop, services, broker },
        }
    }

    /// As processes of the built binaries, on a Redis of their own.
    pub(crate) async fn redis() -> Self {
        Self::on(RedisServer::start()).await
    }

    /// The same on a Redis that runs already.
    pub(crate) async fn on(redis: RedisServer) -> Self {
        let publisher = Publisher::start(&redis.url(), &[]).await;
        let subscriber = Subscriber::start(&redis.url(), &[]).await;
        Self {
            publisher: publisher.channel.clone(),
            subscriber: subscriber.channel.clone(),
            subscriber_address: subscriber.address,
            parts: Parts::Redis { _redis: redis, publisher: Box::new(publisher), subscriber: Box::new(subscriber) },
        }
    }

    /// A client of the publisher.
    pub(crate) fn publisher(&self) -> PublisherServiceClient<Channel> {
        PublisherServiceClient::new(self.publisher.clone())
    }

    /// A client of the subscriber.
    pub(crate) fn subscriber(&self) -> SubscriberServiceClient<Channel> {
        SubscriberServiceClient::new(self.subscriber.clone())
    }

    /// Publishes.
    pub(crate) async fn publish(&self, request: PublishRequest) -> PublishResponse {
        self.publisher().publish(request).await.expect("published").into_inner()
    }

    /// Opens a stream.
    pub(crate) async fn stream(&self, request: StreamMessagesRequest) -> Stream {
        Stream::open(self.subscriber(), request).await
    }

    /// Opens a stream that shares no connection with others.
    pub(crate) async fn stream_on_its_own_connection(&self, request: StreamMessagesRequest) -> Stream {
        Stream::alone(self.subscriber_address, request).await
    }

    /// All that a channel retains.
    pub(crate) async fn list(&self, channel: &str) -> Vec<Message> {
        list(self.subscriber(), channel).await
    }

    /// Stops both services, which must end well.
    pub(crate) async fn stop(self) {
        match self.parts {
            Parts::Embedded { stop, mut services, broker } => {
                stop.cancel();
                while let Some(ended) = services.join_next().await {
                    ended.expect("a service that ends well");
                }
                broker.close().await;
            }
            Parts::Redis { publisher, subscriber, .. } => {
                publisher.stop();
                subscriber.stop();
            }
        }
    }
}

/// A publisher process.
pub(crate) type Publisher = Service<PublisherServiceClient<Channel>>;
/// A subscriber process.
pub(crate) type Subscriber = Service<SubscriberServiceClient<Channel>>;

/// A process of one of the services.
pub(crate) struct Service<C> {
    /// The process.
    pub(crate) process: Process,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    channel: Channel,
    client: C,
}

/// A client, and the program that serves it.
pub(crate) trait Client: Clone {
    /// The program.
    const PROGRAM: &str;

    /// On a connection.
    fn on(channel: Channel) -> Self;
}

impl Client for PublisherServiceClient<Channel> {
    const PROGRAM: &str = "tidings-publisher";

    fn on(channel: Channel) -> Self {
        Self::new(channel)
    }
}

impl Client for SubscriberServiceClient<Channel> {
    const PROGRAM: &str = "tidings-subscriber";

    fn on(channel: Channel) -> Self {
        Self::new(channel)
    }
}

impl<C: Client> Service<C> {
    /// Starts one and waits until it serves.
    pub(crate) async fn start(redis_url: &str, args: &[&str]) -> Self {
        let service = Self::start_alone(redis_url, args).await;
        service.becomes(ServingStatus::Serving).await;
        service
    }

    /// Starts one and waits until it listens, whether it has a Redis or not.
    pub(crate) async fn start_alone(redis_url: &str, args: &[&str]) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut all = vec![format!("--listen={address}"), format!("--redis-url={redis_url}")];
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let process = Process::start(C::PROGRAM, &all);
        let channel = connect(address).await;
        Self { process, address, client: C::on(channel.clone()), channel }
    }

    /// A client.
    pub(crate) fn client(&self) -> C {
        self.client.clone()
    }

    /// Waits until its health, as a whole, is as expected.
    pub(crate) async fn becomes(&self, expected: ServingStatus) {
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            let answer = HealthClient::new(self.channel.clone()).check(HealthCheckRequest::default()).await;
            let status = answer.map(|answer| answer.into_inner().status());
            if status.as_ref().is_ok_and(|status| *status == expected) {
                return;
            }
            assert!(Instant::now() < deadline, "expected {expected:?}, got {status:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it with SIGTERM; it must end well.
    pub(crate) fn stop(mut self) {
        self.process.signal("TERM");
        assert!(self.process.wait(TEST_TIMEOUT).success());
    }
}

impl Subscriber {
    /// Opens a stream.
    pub(crate) async fn stream(&self, request: StreamMessagesRequest) -> Stream {
        Stream::open(self.client(), request).await
    }

    /// A client that shares no connection with others.
    pub(crate) async fn another_client(&self) -> SubscriberServiceClient<Channel> {
        SubscriberServiceClient::new(connect(self.address).await)
    }

    /// Opens a stream that shares no connection with others.
    pub(crate) async fn stream_on_its_own_connection(&self, request: StreamMessagesRequest) -> Stream {
        Stream::open(self.another_client().await, request).await
    }

    /// All that a channel retains.
    pub(crate) async fn list(&self, channel: &str) -> Vec<Message> {
        list(self.client(), channel).await
    }

    /// How many streams follow a channel that has messages, as `ListChannels` says.
    pub(crate) async fn subscribers(&self, channel: &str) -> i64 {
        let request = ListChannelsRequest { pattern: channel.to_owned(), ..ListChannelsRequest::default() };
        let listed = self.client().list_channels(request).await.expect("a list").into_inner().channels;
        listed.iter().find(|listed| listed.name == channel).expect("it has messages").subscriber_count
    }

    /// Waits until as many streams follow a channel; answers how long that took.
    pub(crate) async fn has_subscribers(&self, channel: &str, expected: i64) -> Duration {
        let began = Instant::now();
        loop {
            let count = self.subscribers(channel).await;
            if count == expected {
                return began.elapsed();
            }
            assert!(began.elapsed() < TEST_TIMEOUT, "{channel} has {count} subscribers, not {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Connects to a service, which may be about to start.
pub(crate) async fn connect(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        match endpoint.connect().await {
            Ok(channel) => return channel,
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn list(mut client: SubscriberServiceClient<Channel>, channel: &str) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut request =
        ListMessagesRequest { channel: channel.to_owned(), page_size: 1_000, ..ListMessagesRequest::default() };
    loop {
        let page = client.list_messages(request.clone()).await.expect("a page").into_inner();
        messages.extend(page.messages);
        if page.next_page_token.is_empty() {
            return messages;
        }
        request.page_token = page.next_page_token;
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}

fn options() -> Options {
    Options {
        keepalive_interval: Duration::from_secs(30),
        keepalive_timeout: Duration::from_secs(10),
        max_connection_age: None,
        max_connection_age_grace: Duration::from_secs(30),
        shutdown_timeout: Duration::from_secs(5),
        origins: Origins::Localhost,
        fast_path: with_fast_paths(),
        tls: None,
        auth: None,
        accounts: tidings_transport::Accounts::new(tidings_transport::Quotas::UNLIMITED),
        trusted_proxies: Vec::new(),
        elsewhere: None,
    }
}
