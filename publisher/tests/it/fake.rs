//! A broker that the tests direct, and a publisher that runs on it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use tidings::{
    broker::{
        Broker, DataSetNow, Error, From, HeadOf, LiveControl, LiveEvents, Page, PageLimit, Published, Receipt, State,
        Subscriptions,
    },
    channel::{ChannelName, Names, Pattern},
    message::{Draft, Epoch, Payload},
    pb::publisher_service_client::PublisherServiceClient,
};
use tidings_publisher::Settings;
use tidings_transport::{Error as ServerError, Options, Origins};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Numbers what it gets. Texts direct it: `unknown` and `away` fail, `panic` panics.
pub(crate) struct Fake {
    pub(crate) state: watch::Sender<State>,
    /// Publishes are answered while this is true.
    pub(crate) answering: watch::Sender<bool>,
    /// Texts in the order of the calls.
    pub(crate) seen: Mutex<Vec<String>>,
    pub(crate) min_replicas: Mutex<Vec<u32>>,
    last: AtomicI64,
}

impl Fake {
    fn new() -> Self {
        Self {
            state: watch::Sender::new(State::Up),
            answering: watch::Sender::new(true),
            seen: Mutex::default(),
            min_replicas: Mutex::default(),
            last: AtomicI64::new(0),
        }
    }

    pub(crate) fn seen(&self) -> usize {
        self.seen.lock().expect("not poisoned").len()
    }

    /// Waits until as many publishes have come.
    pub(crate) async fn until_seen(&self, count: usize) {
        let waiting = async {
            while self.seen() < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_secs(10), waiting).await.expect("the publishes arrive");
    }
}

#[async_trait::async_trait]
impl Broker for Fake {
    fn publish(&self, _: &ChannelName, drafts: Vec<Draft>, min_replicas: u32) -> BoxFuture<'static, Published> {
        let epoch = Epoch::from_u64(7).expect("not 0");
        self.min_replicas.lock().expect("not poisoned").push(min_replicas);
        let mut answer = Ok(Vec::new());
        for draft in drafts {
            let Payload::Text(text) = draft.payload else { panic!("the tests send text") };
            self.seen.lock().expect("not poisoned").push(text.clone());
            match text.as_str() {
                "panic" => panic!("as the test wants it"),
                "unknown" => answer = Err(Error::OutcomeUnknown("the connection broke".into())),
                "away" => answer = Err(Error::Unavailable("Redis is away".into())),
                _ => {
                    let sequence = self.last.fetch_add(1, Ordering::SeqCst) + 1;
                    let receipt =
                        Receipt { id: draft.id, epoch, sequence, time_ms: 1_500, duplicate: false, replicas: 0 };
                    if let Ok(receipts) = &mut answer {
                        receipts.push(receipt);
                    }
                }
            }
        }
        let mut answering = self.answering.subscribe();
        Box::pin(async move {
            answering.wait_for(|answering| *answering).await.expect("the fake lives");
            answer
        })
    }

    async fn heads(&self, _: &[ChannelName]) -> Result<Vec<HeadOf>, Error> {
        unreachable!("a publisher reads nothing")
    }

    async fn data_set(&self) -> Result<DataSetNow, Error> {
        unreachable!("a publisher reads nothing")
    }

    async fn report_loss(&self, _: &ChannelName, _: Epoch, _: i64) -> Result<(), Error> {
        unreachable!("a publisher receives nothing")
    }

    async fn register_again(&self, _: &[ChannelName]) -> Result<usize, Error> {
        unreachable!("a publisher has no readers")
    }

    async fn read(&self, _: &ChannelName, _: From, _: PageLimit) -> Result<Page, Error> {
        unreachable!("a publisher reads nothing")
    }

    async fn sequence_before(&self, _: &ChannelName, _: i64) -> Result<i64, Error> {
        unreachable!("a publisher reads nothing")
    }

    async fn channels(&self, _: Option<&Pattern>, _: &str, _: usize) -> Result<Vec<ChannelName>, Error> {
        unreachable!("a publisher reads nothing")
    }

    fn live(&self) -> (LiveControl, LiveEvents) {
        unreachable!("a publisher follows nothing")
    }

    fn subscriptions(&self) -> Arc<dyn Subscriptions> {
        unreachable!("a publisher keeps no books")
    }

    fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    fn probe_age(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }

    fn describe(&self) -> String {
        "a fake".to_owned()
    }

    async fn close(&self) {}
}

/// A publisher that runs, on the fake.
pub(crate) struct Running {
    pub(crate) broker: Arc<Fake>,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    task: JoinHandle<Result<(), ServerError>>,
}

impl Running {
    /// Waits for its end, which must come within this time.
    pub(crate) async fn ends_within(self, time: Duration) {
        let ended = timeout(time, self.task).await.expect("it ends in time");
        ended.expect("no panic").expect("no error");
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).expect("an address");
        endpoint.connect().await.expect("it listens")
    }

    pub(crate) async fn client(&self) -> PublisherServiceClient<Channel> {
        PublisherServiceClient::new(self.channel().await)
    }
}

pub(crate) fn options() -> Options {
    Options {
        keepalive_interval: Duration::from_secs(30),
        keepalive_timeout: Duration::from_secs(10),
        max_connection_age: None,
        max_connection_age_grace: Duration::from_secs(30),
        shutdown_timeout: Duration::from_secs(10),
        origins: Origins::Localhost,
        fast_path: std::env::var_os("WITHOUT_FAST_PATHS").is_none(),
        tls: None,
        auth: None,
        accounts: tidings_transport::Accounts::new(tidings_transport::Quotas::UNLIMITED),
        trusted_proxies: Vec::new(),
        elsewhere: None,
    }
}

pub(crate) async fn start() -> Running {
    start_with(options()).await
}

pub(crate) async fn start_with(server: Options) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let broker = Arc::new(Fake::new());
    let shutdown = CancellationToken::new();
    let names = Names::new("tidings", "channel1").expect("valid");
    let served = tidings_publisher::serve(listener, broker.clone(), Settings { names, server }, shutdown.clone());
    Running { broker, address, shutdown, task: tokio::spawn(served) }
}
