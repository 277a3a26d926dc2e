//! A house: both services and clients of them.

use std::{net::SocketAddr, time::Duration};

use tidings::{
    broker::{Retention, Shared, memory::Memory},
    channel::Names,
    pb::{
        Message, PublishRequest, PublishResponse, StreamMessagesRequest, Subscription,
        publisher_service_client::PublisherServiceClient, subscriber_service_client::SubscriberServiceClient,
    },
};
use tidings_testing::{Publisher, RedisServer, Stream, Subscriber, Worker, connect, list, with_fast_paths};
use tidings_transport::{Options, Origins};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

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
            keeps_history: true,
            hold_limits: tidings_subscriber::HoldLimits { channel: 256 << 20, total: 1 << 40 },
            watched: Vec::new(),
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
            publisher: publisher.channel(),
            subscriber: subscriber.channel(),
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

    /// A worker of a subscription that is created, from the oldest message on.
    pub(crate) async fn work(&self, settings: Subscription) -> Worker {
        Worker::create(self.subscriber.clone(), settings).await
    }

    /// The way to the subscriber.
    pub(crate) fn subscriber_channel(&self) -> Channel {
        self.subscriber.clone()
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
