//! A client of durable subscriptions, by calls and by a stream; no wait is for ever.

use std::time::Duration;

use tidings::pb::{
    self, AcknowledgeMessagesRequest, ConsumeMessagesRequest, ConsumeMessagesResponse, CreateSubscriptionRequest,
    ExtendAckDeadlinesRequest, Extension, GetSubscriptionRequest, PullMessagesRequest, ReceivedMessage,
    RejectMessagesRequest, Rejection, Settled, Settlement, StartConsuming, Subscription, SubscriptionState,
    consume_messages_request::Request, consume_messages_response::Response,
    subscription_service_client::SubscriptionServiceClient,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use crate::TEST_TIMEOUT;

/// Calls of one subscription.
#[derive(Debug, Clone)]
pub struct Worker {
    client: SubscriptionServiceClient<Channel>,
    name: String,
}

/// A duration of the contract.
pub fn duration(duration: Duration) -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).expect("not for ever"),
        nanos: i32::try_from(duration.subsec_nanos()).expect("below a second"),
    })
}

impl Worker {
    /// Of a subscription that is there.
    pub fn new(channel: Channel, name: &str) -> Self {
        Self { client: SubscriptionServiceClient::new(channel), name: name.to_owned() }
    }

    /// Of a subscription that is created, with these settings, from the oldest message on.
    pub async fn create(channel: Channel, settings: Subscription) -> Self {
        let mut worker = Self::new(channel, &settings.name);
        let request = CreateSubscriptionRequest { subscription: Some(settings), earliest: true, ..Default::default() };
        worker.client.create_subscription(request).await.expect("created");
        worker
    }

    /// The client.
    pub fn client(&self) -> SubscriptionServiceClient<Channel> {
        self.client.clone()
    }

    /// The subscription as it is.
    pub async fn get(&self) -> Subscription {
        let request = GetSubscriptionRequest { name: self.name.clone() };
        let got = self.client().get_subscription(request).await.expect("a subscription").into_inner();
        got.subscription.expect("a subscription")
    }

    /// Its state.
    pub async fn state(&self) -> SubscriptionState {
        self.get().await.state.expect("a state")
    }

    /// Backlog, outstanding and waiting.
    pub async fn counts(&self) -> (i64, i64, i64) {
        let state = self.state().await;
        (state.backlog_count, state.outstanding_count, state.waiting_count)
    }

    /// Waits until the counts are these.
    pub async fn comes_to(&self, backlog: i64, outstanding: i64, waiting: i64) {
        let counts = (backlog, outstanding, waiting);
        let is_so =
            |state: &SubscriptionState| (state.backlog_count, state.outstanding_count, state.waiting_count) == counts;
        self.becomes(&format!("backlog, outstanding, waiting: {counts:?}"), is_so).await;
    }

    /// Waits until its state is so.
    pub async fn becomes(&self, what: &str, is_so: impl Fn(&SubscriptionState) -> bool) {
        let comes = async {
            while !is_so(&self.state().await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(TEST_TIMEOUT, comes).await.is_err() {
            panic!("not {what}: {:?}", self.state().await);
        }
    }

    /// Waits until so many streams are open on it, as it knows.
    pub async fn comes_to_consumers(&self, count: i32) {
        self.becomes(&format!("{count} consumers"), |state| state.consumer_count == count).await;
    }

    /// Pulls up to so many messages, and waits up to so long for the first.
    pub async fn pull(&self, max_messages: i32, wait: Duration) -> Vec<ReceivedMessage> {
        let request = PullMessagesRequest {
            name: self.name.clone(),
            max_messages,
            max_wait: duration(wait),
            ..PullMessagesRequest::default()
        };
        let pulled = timeout(TEST_TIMEOUT, self.client().pull_messages(request)).await.expect("an answer in time");
        pulled.expect("pulled").into_inner().messages
    }

    /// Pulls until there were so many messages.
    pub async fn pull_all(&self, count: usize) -> Vec<ReceivedMessage> {
        let mut messages = Vec::new();
        while messages.len() < count {
            let most = i32::try_from(count - messages.len()).expect("few");
            let pulled = self.pull(most, Duration::from_secs(10)).await;
            assert!(!pulled.is_empty(), "{} of {count} came", messages.len());
            messages.extend(pulled);
        }
        messages
    }

    /// Acknowledges.
    pub async fn acknowledge(&self, messages: &[ReceivedMessage]) -> Settled {
        self.acknowledge_ids(messages.iter().map(|message| message.ack_id.clone()).collect()).await
    }

    /// Acknowledges by ids.
    pub async fn acknowledge_ids(&self, ack_ids: Vec<String>) -> Settled {
        let request = AcknowledgeMessagesRequest { name: self.name.clone(), ack_ids };
        let settled = self.client().acknowledge_messages(request).await.expect("settled").into_inner();
        settled.settled.expect("outcomes")
    }

    /// Gives back.
    pub async fn reject(&self, messages: &[ReceivedMessage], rejection: Rejection) -> Settled {
        let ack_ids = messages.iter().map(|message| message.ack_id.clone()).collect();
        let rejections = vec![Rejection { ack_ids, ..rejection }];
        let request = RejectMessagesRequest { name: self.name.clone(), rejections };
        let settled = self.client().reject_messages(request).await.expect("settled").into_inner();
        settled.settled.expect("outcomes")
    }

    /// Extends.
    pub async fn extend(&self, messages: &[ReceivedMessage], ack_deadline: Duration) -> Settled {
        let ack_ids = messages.iter().map(|message| message.ack_id.clone()).collect();
        let extensions = vec![Extension { ack_ids, ack_deadline: duration(ack_deadline) }];
        let request = ExtendAckDeadlinesRequest { name: self.name.clone(), extensions };
        let settled = self.client().extend_ack_deadlines(request).await.expect("settled").into_inner();
        settled.settled.expect("outcomes")
    }

    /// Opens a stream with this credit.
    pub async fn consume(&self, max_outstanding_messages: i32) -> Consuming {
        let start = StartConsuming { name: self.name.clone(), max_outstanding_messages, ..Default::default() };
        Consuming::open(self.client(), start).await.expect("a stream")
    }
}

/// An open stream of a consumer.
#[derive(Debug)]
pub struct Consuming {
    requests: mpsc::Sender<ConsumeMessagesRequest>,
    responses: Streaming<ConsumeMessagesResponse>,
    /// What came and was not asked for yet.
    received: std::collections::VecDeque<ReceivedMessage>,
    settled: std::collections::VecDeque<Settled>,
    /// Losses that were reported.
    pub lost: Vec<pb::LostMessages>,
}

impl Consuming {
    /// Opens a stream, whose `started` must be first.
    pub async fn open(mut client: SubscriptionServiceClient<Channel>, start: StartConsuming) -> Result<Self, Status> {
        let (requests, sent) = mpsc::channel(64);
        requests.try_send(of(Request::Start(start))).expect("room");
        let opened = timeout(TEST_TIMEOUT, client.consume_messages(ReceiverStream::new(sent))).await;
        let mut responses = opened.expect("headers in time")?.into_inner();
        let first = timeout(TEST_TIMEOUT, responses.message()).await.expect("a response in time")?;
        let first = first.and_then(|first| first.response);
        assert!(matches!(first, Some(Response::Started(_))), "{first:?}");
        let (received, settled, lost) = Default::default();
        Ok(Self { requests, responses, received, settled, lost })
    }

    /// Sends a request.
    pub async fn send(&self, request: Request) {
        self.requests.send(of(request)).await.expect("the stream is open");
    }

    /// The next response as it is, or the status at the end.
    pub async fn response(&mut self) -> Result<Option<Response>, Status> {
        let response = timeout(TEST_TIMEOUT, self.responses.message()).await.expect("a response in time")?;
        Ok(response.map(|response| response.response.expect("of a known kind")))
    }

    async fn take(&mut self) -> Result<(), Status> {
        match self.response().await?.expect("the stream continues") {
            Response::Received(received) => self.received.extend(received.messages),
            Response::Settled(settled) => self.settled.push_back(settled),
            Response::Lost(lost) => self.lost.push(lost),
            Response::Heartbeat(_) => {}
            other => panic!("{other:?}"),
        }
        Ok(())
    }

    /// The next messages.
    pub async fn receive(&mut self, count: usize) -> Vec<ReceivedMessage> {
        while self.received.len() < count {
            self.take().await.expect("no error");
        }
        self.received.drain(..count).collect()
    }

    /// Whether nothing comes for so long.
    pub async fn is_quiet(&mut self, time: Duration) -> bool {
        self.received.is_empty() && timeout(time, self.responses.message()).await.is_err()
    }

    /// Acknowledges, and waits for the outcomes.
    pub async fn acknowledge(&mut self, messages: &[ReceivedMessage]) -> Settled {
        let ack_ids = messages.iter().map(|message| message.ack_id.clone()).collect();
        self.settle(Settlement { ack_ids, ..Settlement::default() }).await
    }

    /// Settles, and waits for the outcomes.
    pub async fn settle(&mut self, settlement: Settlement) -> Settled {
        self.send(Request::Settlement(settlement)).await;
        while self.settled.is_empty() {
            self.take().await.expect("no error");
        }
        self.settled.pop_front().expect("outcomes")
    }

    /// The status with which the stream ends.
    pub async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.take().await {
                return status;
            }
        }
    }
}

fn of(request: Request) -> ConsumeMessagesRequest {
    ConsumeMessagesRequest { request: Some(request) }
}
