//! With a good token: what it does not allow of durable subscriptions.

use serde_json::{Value, json};
use tidings::pb::{
    AcknowledgeMessagesRequest, ConsumeMessagesRequest, CreateSubscriptionRequest, DeleteSubscriptionRequest,
    ExtendAckDeadlinesRequest, Extension, GetSubscriptionRequest, ListDeadLettersRequest, ListSubscriptionsRequest,
    PullMessagesRequest, RedriveDeadLettersRequest, RejectMessagesRequest, Rejection, SeekSubscriptionRequest,
    StartConsuming, Subscription, UpdateSubscriptionRequest, consume_messages_request,
    subscription_service_client::SubscriptionServiceClient,
};
use tidings_testing::RedisServer;
use tonic::{Status, transport::Channel};

use super::{
    Tried, denied,
    keys::{Keys, claims, with},
    refs, signed,
};
use crate::harness::{Publisher, Subscriber, text};

const PULL: &str = "pull from a subscription that one may only manage";
const STREAM: &str = "a stream of a subscription that one may only manage";
const SETTLE: &str = "settle deliveries of a subscription that one may only manage";
const OTHER: &str = "consume another subscription, or one that there is not";
const FOREIGN: &str = "an ack id of another subscription";
const CREATE: &str = "create a subscription of a name that one may only consume";
const CHANNEL: &str = "create a subscription of a channel that one may not read";
const DEAD: &str = "create a subscription whose dead letters go where one may not publish";
const CHANGE: &str = "change, move or delete a subscription that one may only consume";
const LETTERS: &str = "the dead letters of a subscription that one may only consume";
const SHOW: &str = "show a subscription that one may neither consume nor manage";
const NAMES: &str = "the names of subscriptions that one may neither consume nor manage";

pub(super) const WAYS: &[&str] =
    &[PULL, STREAM, SETTLE, OTHER, FOREIGN, CREATE, CHANNEL, DEAD, CHANGE, LETTERS, SHOW, NAMES];

type Client = SubscriptionServiceClient<Channel>;

/// A token with these lists of rights.
fn token(keys: &Keys, subject: &str, rights: &[(&str, &[&str])]) -> String {
    let none =
        ["consume", "manage"].into_iter().fold(claims(subject, &[], &[]), |all, name| with(all, name, json!([])));
    let all = rights.iter().fold(none, |all: Value, (name, list)| with(all, name, json!(list)));
    keys.signer.sign(&all)
}

fn named(name: &str, channel: &str, dead_letters: &str) -> CreateSubscriptionRequest {
    let subscription = Subscription {
        name: name.to_owned(),
        channel: channel.to_owned(),
        dead_letter_channel: dead_letters.to_owned(),
        ..Subscription::default()
    };
    CreateSubscriptionRequest {
        subscription: Some(subscription),
        earliest: true,
        ..CreateSubscriptionRequest::default()
    }
}

async fn pull(client: &mut Client, token: &str, name: &str) -> Result<Vec<String>, Status> {
    let request = PullMessagesRequest { name: name.to_owned(), max_messages: 1, ..PullMessagesRequest::default() };
    let pulled = client.pull_messages(signed(token, request)).await?.into_inner();
    Ok(pulled.messages.into_iter().map(|message| message.ack_id).collect())
}

async fn stream(client: &mut Client, token: &str, name: &str) -> Result<(), Status> {
    let start = StartConsuming { name: name.to_owned(), max_outstanding_messages: 1, ..StartConsuming::default() };
    let start = ConsumeMessagesRequest { request: Some(consume_messages_request::Request::Start(start)) };
    let opened = client.consume_messages(signed(token, tokio_stream::iter([start]))).await?;
    opened.into_inner().message().await.map(|_| ())
}

/// What becomes of settling in each of the three ways: how many are stale.
async fn settle(client: &mut Client, token: &str, name: &str, id: &str) -> [Result<usize, Status>; 3] {
    let (name, ack_ids) = (name.to_owned(), vec![id.to_owned()]);
    let stale = |settled: Option<tidings::pb::Settled>| settled.expect("outcomes").stale_ids.len();
    let request = AcknowledgeMessagesRequest { name: name.clone(), ack_ids: ack_ids.clone() };
    let acknowledged = client.acknowledge_messages(signed(token, request)).await;
    let rejections = vec![Rejection { ack_ids: ack_ids.clone(), ..Rejection::default() }];
    let rejected =
        client.reject_messages(signed(token, RejectMessagesRequest { name: name.clone(), rejections })).await;
    let extensions = vec![Extension { ack_ids, ..Extension::default() }];
    let extended = client.extend_ack_deadlines(signed(token, ExtendAckDeadlinesRequest { name, extensions })).await;
    [
        acknowledged.map(|answer| stale(answer.into_inner().settled)),
        rejected.map(|answer| stale(answer.into_inner().settled)),
        extended.map(|answer| stale(answer.into_inner().settled)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_the_subscriptions_that_it_grants_and_no_others() {
    let (redis, keys) = (RedisServer::start(), Keys::new());
    let mut tried = Tried::of(WAYS);
    let args = keys.args(&[]);
    let publisher = Publisher::start(&redis.url(), &refs(&args)).await;
    let subscriber = Subscriber::start(&redis.url(), &refs(&args)).await;
    let mut client = SubscriptionServiceClient::new(subscriber.channel());
    let all: &[&str] = &["*"];
    let root = token(&keys, "root", &[("publish", all), ("subscribe", all), ("consume", all), ("manage", all)]);
    for _ in 0..3 {
        publisher.client().publish(signed(&root, text("orders", "x"))).await.expect("allowed");
    }
    for name in ["mail", "bills"] {
        client.create_subscription(signed(&root, named(name, "orders", ""))).await.expect("allowed");
    }
    let worker = token(&keys, "worker", &[("consume", &["mail"])]);
    let manager = token(
        &keys,
        "manager",
        &[("manage", &["mail", "new"]), ("subscribe", &["orders"]), ("publish", &["dead-letter.new", "graveyard"])],
    );
    let nobody = token(&keys, "nobody", &[("publish", all), ("subscribe", all)]);

    // A worker needs no right on the channel. Whoever may only manage consumes nothing.
    let ids = pull(&mut client, &worker, "mail").await.expect("allowed");
    denied(pull(&mut client, &manager, "mail").await, PULL);
    tried.closed(PULL);
    denied(stream(&mut client, &manager, "mail").await, STREAM);
    tried.closed(STREAM);
    for answer in settle(&mut client, &manager, "mail", &ids[0]).await {
        denied(answer, SETTLE);
    }
    tried.closed(SETTLE);
    // Whether there is one is not said.
    let mut texts = Vec::new();
    for name in ["bills", "nothing"] {
        let refused = pull(&mut client, &worker, name).await;
        texts.push(refused.as_ref().expect_err("denied").message().replace(name, ""));
        denied(refused, OTHER);
        denied(stream(&mut client, &worker, name).await, OTHER);
        for answer in settle(&mut client, &worker, name, "id").await {
            denied(answer, OTHER);
        }
    }
    assert_eq!(texts[0], texts[1]);
    tried.closed(OTHER);
    // Its own right does not reach another's delivery.
    let foreign = pull(&mut client, &root, "bills").await.expect("allowed");
    for answer in settle(&mut client, &worker, "mail", &foreign[0]).await {
        assert_eq!(answer.expect("allowed"), 1, "it is stale");
    }
    assert_eq!(settle(&mut client, &root, "bills", &foreign[0]).await[0].as_ref().expect("allowed"), &0);
    tried.closed(FOREIGN);

    denied(client.create_subscription(signed(&worker, named("mail", "orders", ""))).await, CREATE);
    tried.closed(CREATE);
    denied(client.create_subscription(signed(&manager, named("new", "other", ""))).await, CHANNEL);
    tried.closed(CHANNEL);
    let field = "subscription.dead_letter_channel";
    for (name, to) in [("mail", ""), ("new", "dead-letter.mail"), ("new", "nowhere")] {
        let refused = client.create_subscription(signed(&manager, named(name, "orders", to))).await;
        assert!(refused.as_ref().is_err_and(|status| status.message().starts_with(field)), "{refused:?}");
        denied(refused, DEAD);
    }
    for to in ["", "graveyard"] {
        client.create_subscription(signed(&manager, named("new", "orders", to))).await.expect("allowed");
        let delete = DeleteSubscriptionRequest { name: "new".to_owned(), ..DeleteSubscriptionRequest::default() };
        client.delete_subscription(signed(&manager, delete)).await.expect("allowed");
    }
    tried.closed(DEAD);

    let name = "mail".to_owned();
    for by in [&worker, &nobody] {
        let subscription = Some(Subscription { name: name.clone(), paused: true, ..Subscription::default() });
        let update = UpdateSubscriptionRequest { subscription, ..UpdateSubscriptionRequest::default() };
        denied(client.update_subscription(signed(by, update)).await, CHANGE);
        let seek = SeekSubscriptionRequest { name: name.clone(), latest: true, ..SeekSubscriptionRequest::default() };
        denied(client.seek_subscription(signed(by, seek)).await, CHANGE);
        let delete = DeleteSubscriptionRequest { name: name.clone(), ..DeleteSubscriptionRequest::default() };
        denied(client.delete_subscription(signed(by, delete)).await, CHANGE);
        let list = ListDeadLettersRequest { name: name.clone(), ..ListDeadLettersRequest::default() };
        denied(client.list_dead_letters(signed(by, list)).await, LETTERS);
        let redrive = RedriveDeadLettersRequest { name: name.clone(), all: true, ..Default::default() };
        denied(client.redrive_dead_letters(signed(by, redrive)).await, LETTERS);
    }
    tried.closed(CHANGE);
    tried.closed(LETTERS);

    for (by, may_see) in [(&worker, true), (&manager, true), (&nobody, false)] {
        let shown = client.get_subscription(signed(by, GetSubscriptionRequest { name: name.clone() })).await;
        let missing = client.get_subscription(signed(by, GetSubscriptionRequest { name: "none".to_owned() })).await;
        let listed = client.list_subscriptions(signed(by, ListSubscriptionsRequest::default())).await;
        let listed = listed.expect("signed in").into_inner().subscriptions;
        let names: Vec<_> = listed.iter().map(|subscription| subscription.name.as_str()).collect();
        assert_eq!(names, if may_see { vec!["mail"] } else { vec![] });
        if may_see {
            shown.expect("allowed");
        } else {
            denied(shown, SHOW);
        }
        denied(missing, SHOW);
    }
    tried.closed(SHOW);
    tried.closed(NAMES);
    tried.all();
    publisher.stop();
    subscriber.stop();
}
