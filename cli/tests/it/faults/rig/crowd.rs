//! Publishers that continue through any fault, as clients should: each message has an id of its own and is repeated
//! until there is a receipt.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tidings::pb::{PublishResponse, publisher_service_client::PublisherServiceClient};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::{Code, transport::Channel};
use uuid::Uuid;

use super::until;
use crate::harness::{Publisher, TEST_TIMEOUT, text};

/// Between two messages of one publisher.
const PAUSE: Duration = Duration::from_millis(5);

type Receipts = HashMap<String, Vec<PublishResponse>>;

/// Two publishers a channel.
pub(crate) struct Crowd {
    channels: Vec<String>,
    receipts: Arc<Mutex<Receipts>>,
    enough: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Crowd {
    /// Begins to publish on these channels.
    pub(crate) fn start(publisher: &Publisher, channels: &[&str]) -> Self {
        let (receipts, enough, mut tasks) = (Arc::<Mutex<Receipts>>::default(), Arc::default(), JoinSet::new());
        for (channel, one) in channels.iter().flat_map(|channel| [(channel, 1), (channel, 2)]) {
            let (channel, client) = ((*channel).to_owned(), publisher.client());
            tasks.spawn(keep_publishing(client, channel, one, Arc::clone(&receipts), Arc::clone(&enough)));
        }
        let channels = channels.iter().map(|channel| (*channel).to_owned()).collect();
        Self { channels, receipts, enough, tasks }
    }

    /// How many receipts there are of a channel.
    pub(crate) fn count(&self, channel: &str) -> usize {
        self.receipts.lock().expect("no panic").get(channel).map_or(0, Vec::len)
    }

    /// Waits for so many more receipts on each channel.
    pub(crate) async fn until_more(&self, more: usize) {
        let goals: Vec<_> = self.channels.iter().map(|channel| (channel, self.count(channel) + more)).collect();
        until("more is published", || goals.iter().all(|(channel, goal)| self.count(channel) >= *goal)).await;
    }

    /// Ends when every message has its receipt; answers the receipts of each channel.
    pub(crate) async fn stop(mut self) -> Receipts {
        self.enough.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a publisher that ends well");
        }
        std::mem::take(&mut *self.receipts.lock().expect("no panic"))
    }
}

async fn keep_publishing(
    mut client: PublisherServiceClient<Channel>,
    channel: String,
    one: u32,
    receipts: Arc<Mutex<Receipts>>,
    enough: Arc<AtomicBool>,
) {
    for n in 0.. {
        if enough.load(Ordering::Relaxed) {
            return;
        }
        let receipt = publish(&mut client, &channel, format!("{one}:{n}")).await;
        receipts.lock().expect("no panic").entry(channel.clone()).or_default().push(receipt);
        sleep(PAUSE).await;
    }
}

/// Publishes one message until there is a receipt. Only what the table of errors promises may come instead.
pub(super) async fn publish(
    client: &mut PublisherServiceClient<Channel>,
    channel: &str,
    message: String,
) -> PublishResponse {
    let mut request = text(channel, message);
    request.message_id = Uuid::now_v7().to_string();
    let deadline = Instant::now() + 2 * TEST_TIMEOUT;
    loop {
        let refused = match client.publish(request.clone()).await {
            Ok(response) => return response.into_inner(),
            Err(refused) => refused,
        };
        let reason = crate::harness::reason(&refused);
        let is_promised = matches!(
            (refused.code(), reason.as_str()),
            (Code::Unavailable, "NOT_PUBLISHED") | (Code::Unknown, "OUTCOME_UNKNOWN")
        );
        assert!(is_promised, "{refused:?}");
        assert!(Instant::now() < deadline, "still refused: {refused:?}");
        sleep(Duration::from_millis(20)).await;
    }
}
