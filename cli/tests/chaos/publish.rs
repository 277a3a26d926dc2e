//! Clients that publish: one by one, in batches and on streams, most with ids of their own, which they repeat until
//! they have an answer. Plain Redis programs beside them.

mod answer;
mod call;
mod plain;

use std::{sync::Arc, time::Duration};

use tidings::pb::{PublishRequest, publish_request::Payload, publisher_service_client::PublisherServiceClient};
use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

pub(crate) use self::plain::{connect, last_plain, plain};
use crate::{
    board::{Board, Phase, body, ordering_key},
    history::{Attempt, Outcome},
};

/// How long an answer may take: far longer than a service waits for Redis.
const TEST_TIMEOUT: Duration = Duration::from_secs(15);

/// A message that is to be published.
#[derive(Debug, Clone)]
struct Message {
    channel: String,
    label: String,
    id: Option<Uuid>,
}

/// A client of all publishers.
pub(crate) struct Client {
    board: Arc<Board>,
    rng: fastrand::Rng,
    name: String,
    count: usize,
    stubs: Vec<PublisherServiceClient<Channel>>,
}

impl Client {
    pub(crate) fn new(board: &Arc<Board>, name: String, rng: fastrand::Rng) -> Self {
        let stubs = board.publishers.iter().map(|slot| {
            let endpoint = Endpoint::from_shared(format!("http://{}", slot.address)).expect("an address");
            PublisherServiceClient::new(endpoint.connect_lazy())
        });
        Self { board: Arc::clone(board), rng, name, count: 0, stubs: stubs.collect() }
    }

    /// Publishes until the faults are over.
    pub(crate) async fn run(mut self) {
        while self.board.is(Phase::Wild) {
            let channel = self.board.some_channel(&mut self.rng);
            match self.rng.u8(..10) {
                0..=5 => {
                    let with_id = self.rng.u8(..6) > 0;
                    let message = self.message(&channel, with_id);
                    self.one(&message).await;
                    if with_id && self.rng.u8(..20) == 0 {
                        // Once more, as a client does that has lost the answer.
                        self.one(&message).await;
                    }
                }
                6 | 7 => self.batch(&channel).await,
                _ => self.stream().await,
            }
            sleep(Duration::from_millis(self.rng.u64(..80))).await;
        }
    }

    /// Publishes one message more, until it has a receipt.
    pub(crate) async fn last(&mut self, channel: &str) {
        let message = self.message(channel, true);
        self.one(&message).await;
    }

    fn message(&mut self, channel: &str, with_id: bool) -> Message {
        self.count += 1;
        let label = format!("{}.{}", self.name, self.count);
        let id = with_id.then(|| Uuid::from_u128(self.rng.u128(..) | 1));
        Message { channel: channel.to_owned(), label, id }
    }

    /// Messages of one channel.
    fn messages(&mut self, channel: &str, most: usize) -> Vec<Message> {
        let mut messages = Vec::new();
        for _ in 0..self.rng.usize(2..=most) {
            let with_id = self.rng.u8(..6) > 0;
            messages.push(self.message(channel, with_id));
        }
        messages
    }

    /// One by one, each until it has an answer that is one.
    async fn one(&mut self, message: &Message) {
        while !self.board.is(Phase::Over) {
            let outcome = self.unary(message).await;
            if message.id.is_none() || matches!(outcome, Outcome::Receipt { .. } | Outcome::Odd(_)) {
                return;
            }
            sleep(Duration::from_millis(self.rng.u64(20..150))).await;
        }
        if message.id.is_some() {
            self.board.trouble(format!("{} could not be published when all was calm", message.label));
        }
    }

    /// Those that had no answer are repeated one by one, where they may be.
    async fn again(&mut self, messages: Vec<Message>, outcomes: Vec<Outcome>) {
        for (message, outcome) in messages.into_iter().zip(outcomes) {
            if message.id.is_some() && matches!(outcome, Outcome::Refused | Outcome::Unknown) {
                self.one(&message).await;
            }
        }
    }

    fn note(&self, message: &Message, call: &call::Call, ended: crate::history::At, outcome: Outcome) {
        self.board.history().attempts.push(Attempt {
            channel: message.channel.clone(),
            body: message.label.clone(),
            id: message.id,
            instance: call.instance,
            call: call.number,
            began: call.began,
            ended,
            outcome,
        });
    }
}

fn request(message: &Message) -> PublishRequest {
    PublishRequest {
        channel: message.channel.clone(),
        payload: Some(Payload::Text(body(&message.label))),
        message_id: message.id.map(|id| id.to_string()).unwrap_or_default(),
        ordering_key: ordering_key(&message.label),
        ..PublishRequest::default()
    }
}
