//! Processes of the services, and clients of them.

use std::{net::SocketAddr, time::Duration};

use tidings::pb::{
    ListChannelsRequest, ListMessagesRequest, Message, StreamMessagesRequest,
    publisher_service_client::PublisherServiceClient, subscriber_service_client::SubscriberServiceClient,
};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{Admin, Process, Stream, TEST_TIMEOUT, free_port};

/// A publisher process.
pub type Publisher = Service<PublisherServiceClient<Channel>>;
/// A subscriber process.
pub type Subscriber = Service<SubscriberServiceClient<Channel>>;

/// A process of one of the services.
pub struct Service<C> {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    channel: Channel,
    client: C,
}

/// A client, and the program that serves it.
pub trait Client: Clone {
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
    pub async fn start(redis_url: &str, args: &[&str]) -> Self {
        let service = Self::start_alone(redis_url, args).await;
        service.becomes(ServingStatus::Serving).await;
        service
    }

    /// The same with an admin listener.
    pub async fn start_with_admin(redis_url: &str, args: &[&str]) -> (Self, Admin) {
        let admin = Admin::choose();
        let flag = admin.flag();
        (Self::start(redis_url, &[&[flag.as_str()], args].concat()).await, admin)
    }

    /// Starts one and waits until it listens, whether it has a Redis or not.
    pub async fn start_alone(redis_url: &str, args: &[&str]) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut all = vec![format!("--listen={address}"), format!("--redis-url={redis_url}")];
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let process = Process::start(C::PROGRAM, &all);
        let channel = connect(address).await;
        Self { process, address, client: C::on(channel.clone()), channel }
    }

    /// The connection of its clients.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A client.
    pub fn client(&self) -> C {
        self.client.clone()
    }

    /// Waits until its health, as a whole, is as expected.
    pub async fn becomes(&self, expected: ServingStatus) {
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
    pub fn stop(mut self) {
        self.process.signal("TERM");
        assert!(self.process.wait(TEST_TIMEOUT).success());
    }
}

impl Subscriber {
    /// Opens a stream.
    pub async fn stream(&self, request: StreamMessagesRequest) -> Stream {
        Stream::open(self.client(), request).await
    }

    /// A client that shares no connection with others.
    pub async fn another_client(&self) -> SubscriberServiceClient<Channel> {
        SubscriberServiceClient::new(connect(self.address).await)
    }

    /// Opens a stream, which has started.
    pub async fn started_stream(&self, request: StreamMessagesRequest) -> Stream {
        let mut stream = self.stream(request).await;
        stream.started().await;
        stream
    }

    /// Opens a stream that shares no connection with others.
    pub async fn stream_on_its_own_connection(&self, request: StreamMessagesRequest) -> Stream {
        Stream::open(self.another_client().await, request).await
    }

    /// All that a channel retains.
    pub async fn list(&self, channel: &str) -> Vec<Message> {
        list(self.client(), channel).await
    }

    /// How many streams follow a channel that has messages, as `ListChannels` says.
    pub async fn subscribers(&self, channel: &str) -> i64 {
        let request = ListChannelsRequest { pattern: channel.to_owned(), ..ListChannelsRequest::default() };
        let listed = self.client().list_channels(request).await.expect("a list").into_inner().channels;
        listed.iter().find(|listed| listed.name == channel).expect("it has messages").subscriber_count
    }

    /// Waits until as many streams follow a channel; answers how long that took.
    pub async fn has_subscribers(&self, channel: &str, expected: i64) -> Duration {
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
pub async fn connect(address: SocketAddr) -> Channel {
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

/// All that a channel retains, page by page.
pub async fn list(mut client: SubscriberServiceClient<Channel>, channel: &str) -> Vec<Message> {
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
