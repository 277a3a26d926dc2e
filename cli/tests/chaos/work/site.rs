//! Calls about one subscription at any subscriber, and what their errors mean.

use std::{future::Future, sync::Arc, time::Duration};

use tidings::pb::{
    AcknowledgeMessagesRequest, ConsumeMessagesRequest, ConsumeMessagesResponse, CreateSubscriptionRequest, DeadLetter,
    ExtendAckDeadlinesRequest, Extension, GetSubscriptionRequest, ListDeadLettersRequest, PullMessagesRequest,
    PullMessagesResponse, RedriveDeadLettersRequest, RejectMessagesRequest, Rejection, Settlement, Subscription,
    subscription_service_client::SubscriptionServiceClient,
};
use tidings_testing::duration;
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Code, Response, Status, Streaming,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use super::{
    fate::Intent,
    notes::{NONSENSE, Notes},
    story::{Answer, Deed},
};
use crate::board::{Board, NOBODY, Phase};

/// How long an answer may take: far longer than a service waits for Redis.
const TEST_TIMEOUT: Duration = Duration::from_secs(15);

/// The way to a subscription.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) board: Arc<Board>,
    pub(super) notes: Notes,
    settings: Subscription,
    stubs: Vec<SubscriptionServiceClient<Channel>>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// Nothing was done.
    Away,
    /// It may have been done.
    Unknown,
    /// There is no such subscription.
    Missing,
}

impl Site {
    pub(super) fn new(board: &Arc<Board>, notes: &Notes, settings: Subscription) -> Self {
        let stubs = board.subscribers.iter().map(|slot| {
            let endpoint = Endpoint::from_shared(format!("http://{}", slot.address)).expect("an address");
            SubscriptionServiceClient::new(endpoint.connect_lazy())
        });
        Self { board: Arc::clone(board), notes: notes.clone(), settings, stubs: stubs.collect() }
    }

    pub(super) fn name(&self) -> String {
        self.settings.name.clone()
    }

    pub(super) fn any(&self, rng: &mut fastrand::Rng) -> usize {
        rng.usize(..self.stubs.len())
    }

    /// The ack deadline of those who ask for none.
    pub(super) fn ack_deadline(&self) -> Duration {
        let ack_deadline = self.settings.ack_deadline.unwrap_or_default();
        ack_deadline.try_into().unwrap_or_default()
    }

    async fn call<T>(
        &self,
        slot: usize,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failed> {
        match timeout(TEST_TIMEOUT, answer).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failed(slot, &status)),
            Err(_) => {
                self.board.trouble(format!("no answer about {} within {TEST_TIMEOUT:?}", self.settings.name));
                Err(Failed::Unknown)
            }
        }
    }

    /// What an error means. Clients make some by themselves, where a service went away: these have no details.
    fn failed(&self, slot: usize, status: &Status) -> Failed {
        let info = status.get_details_error_info().filter(|info| info.domain == "tidings");
        let reason = info.as_ref().map(|info| info.reason.as_str());
        match (status.code(), reason) {
            (Code::Unavailable, Some("BROKER_UNAVAILABLE" | "DRAINING")) => Failed::Away,
            (Code::Unknown, Some("OUTCOME_UNKNOWN")) => Failed::Unknown,
            (Code::NotFound, Some("SUBSCRIPTION_NOT_FOUND")) => {
                self.notes.missing();
                Failed::Missing
            }
            _ => {
                let slots = self.board.publishers.len() + self.board.subscribers.len();
                if reason.is_some() || !self.board.subscribers[slot].was_restarted(slots) {
                    let (name, code, text) = (&self.settings.name, status.code(), status.message());
                    self.board.trouble(format!("a call about {name} is answered with {code:?}, {reason:?}: {text}"));
                }
                Failed::Unknown
            }
        }
    }

    /// Creates the subscription, from the oldest message on, unless it is there; until it is.
    pub(super) async fn create(&self, rng: &mut fastrand::Rng) {
        while !self.board.is(Phase::Over) {
            let slot = self.any(rng);
            let subscription = Some(self.settings.clone());
            let request = CreateSubscriptionRequest { subscription, earliest: true, ..Default::default() };
            let answer = timeout(TEST_TIMEOUT, self.stubs[slot].clone().create_subscription(request)).await;
            match answer {
                Ok(Ok(_)) => return,
                Ok(Err(status)) if status.code() == Code::AlreadyExists => return,
                Ok(Err(status)) => _ = self.failed(slot, &status),
                Err(_) => self.board.trouble(format!("{} is not created within {TEST_TIMEOUT:?}", self.name())),
            }
            sleep(Duration::from_millis(rng.u64(20..200))).await;
        }
    }

    /// The subscription, and its state.
    pub(super) async fn get(&self, slot: usize) -> Result<Subscription, Failed> {
        let request = GetSubscriptionRequest { name: self.name() };
        let answer = self.call(slot, self.stubs[slot].clone().get_subscription(request)).await?;
        answer.subscription.ok_or(Failed::Unknown)
    }

    /// Opens a stream; answers the subscriber that has it as well.
    pub(super) async fn consume(
        &self,
        slot: usize,
        requests: UnboundedReceiver<ConsumeMessagesRequest>,
    ) -> Result<(Streaming<ConsumeMessagesResponse>, usize), Failed> {
        let instance = self.board.subscribers[slot].instance();
        let requests = UnboundedReceiverStream::new(requests);
        let stream = self.call(slot, self.stubs[slot].clone().consume_messages(requests)).await?;
        let is_known = instance != NOBODY;
        Ok((stream, if is_known { instance } else { self.board.subscribers[slot].instance() }))
    }

    /// How a stream has ended.
    pub(super) fn why(&self, status: &Status) -> String {
        let info = status.get_details_error_info().filter(|info| info.domain == "tidings");
        if status.code() == Code::NotFound {
            self.notes.missing();
        }
        info.map_or_else(|| status.message().to_owned(), |info| info.reason)
    }

    pub(super) async fn pull(
        &self,
        slot: usize,
        max_messages: i32,
        wait: Duration,
        ack_deadline: Option<Duration>,
    ) -> Result<PullMessagesResponse, Failed> {
        let request = PullMessagesRequest {
            name: self.name(),
            max_messages,
            max_wait: duration(wait),
            ack_deadline: ack_deadline.and_then(duration),
        };
        self.call(slot, self.stubs[slot].clone().pull_messages(request)).await
    }

    /// Settles by calls, one for each kind of decision; answers what became of each.
    pub(super) async fn settle(&self, slot: usize, intents: &[Intent], with_nonsense: bool) -> Vec<Answer> {
        let (name, Settlement { ack_ids, rejections, extensions }) = (self.name(), settlement(intents, with_nonsense));
        let mut stub = self.stubs[slot].clone();
        let settled = if !rejections.is_empty() {
            let request = RejectMessagesRequest { name, rejections };
            self.call(slot, stub.reject_messages(request)).await.map(|answer| answer.settled)
        } else if !extensions.is_empty() {
            let request = ExtendAckDeadlinesRequest { name, extensions };
            self.call(slot, stub.extend_ack_deadlines(request)).await.map(|answer| answer.settled)
        } else {
            let request = AcknowledgeMessagesRequest { name, ack_ids };
            self.call(slot, stub.acknowledge_messages(request)).await.map(|answer| answer.settled)
        };
        match settled {
            Ok(settled) => {
                let is_acknowledged = intents.iter().all(|intent| intent.deed == Deed::Acknowledge);
                self.notes.read_settled(intents, with_nonsense && is_acknowledged, &settled.unwrap_or_default())
            }
            // Of a subscription that is not there no delivery is known.
            Err(Failed::Missing) => vec![Answer::Stale; intents.len()],
            Err(Failed::Away | Failed::Unknown) => vec![Answer::Unknown; intents.len()],
        }
    }

    /// All dead letters.
    pub(super) async fn dead_letters(&self, slot: usize) -> Result<Vec<DeadLetter>, Failed> {
        let mut letters = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListDeadLettersRequest { name: self.name(), page_size: 70, page_token };
            let page = self.call(slot, self.stubs[slot].clone().list_dead_letters(request)).await?;
            letters.extend(page.dead_letters);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(letters);
            }
        }
    }

    pub(super) async fn redrive(&self, slot: usize, ids: Vec<String>, all: bool) -> Result<i64, Failed> {
        let request = RedriveDeadLettersRequest { name: self.name(), dead_letter_ids: ids, all, max_per_second: 0 };
        let answer = self.call(slot, self.stubs[slot].clone().redrive_dead_letters(request)).await?;
        Ok(answer.redriven_count)
    }
}

/// Decisions as one request has them.
pub(super) fn settlement(intents: &[Intent], with_nonsense: bool) -> Settlement {
    let mut settlement = Settlement::default();
    for intent in intents {
        let ack_ids = vec![intent.ack_id.clone()];
        match intent.deed {
            Deed::Acknowledge => settlement.ack_ids.extend(ack_ids),
            Deed::Reject { uncounted, dead: dead_letter, delay } => settlement.rejections.push(Rejection {
                ack_ids,
                delay: delay.and_then(duration),
                dead_letter,
                reason: if dead_letter { "no use".to_owned() } else { String::new() },
                uncounted,
            }),
            Deed::Extend(time) => settlement.extensions.push(Extension { ack_ids, ack_deadline: duration(time) }),
        }
    }
    if with_nonsense {
        settlement.ack_ids.insert(0, NONSENSE.to_owned());
    }
    settlement
}
