//! Programs of an earlier version and of this one, on one Redis: what either wrote the other reads, and both publish on
//! one channel at a time without losing, doubling or reordering anything. `make test-upgrade` builds the earlier
//! programs and runs this.

use std::{
    collections::HashSet,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tidings::pb::{
    ListMessagesRequest, Message, PublishBatchRequest, PublishRequest, PublishResponse, StreamMessagesRequest, message,
    publish_request::Payload, publisher_service_client::PublisherServiceClient, stream_messages_response::Event,
    subscriber_service_client::SubscriberServiceClient,
};
use tidings_testing::{RedisServer, free_port};
use tokio::time::{sleep, timeout};
use tonic::{Streaming, transport::Channel};

const TEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Old and new, and what they are called by.
const VERSIONS: [&str; 2] = ["earlier", "present"];

/// A running service.
struct Service {
    child: Child,
    address: SocketAddr,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the programs of a version are.
fn programs(version: &str) -> PathBuf {
    let own = PathBuf::from(env!("CARGO_BIN_EXE_tidings"));
    match version {
        "present" => own.parent().expect("a folder").to_owned(),
        _ => std::env::var_os("EARLIER_PROGRAMS").expect("EARLIER_PROGRAMS: run `make test-upgrade`").into(),
    }
}

impl Service {
    fn start(version: &str, program: &str, redis: &RedisServer) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let child = Command::new(programs(version).join(program))
            .args([format!("--listen={address}"), format!("--redis-url={}", redis.url())])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{version} {program}: {error}"));
        Self { child, address }
    }

    async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).expect("an address");
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            match endpoint.connect().await {
                Ok(channel) => return channel,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Both versions of a service.
async fn both(program: &str, redis: &RedisServer) -> ([Service; 2], [Channel; 2]) {
    let services = VERSIONS.map(|version| Service::start(version, program, redis));
    let channels = [services[0].channel().await, services[1].channel().await];
    (services, channels)
}

fn text(channel: &str, text: &str, message_id: &str) -> PublishRequest {
    PublishRequest {
        channel: channel.to_owned(),
        payload: Some(Payload::Text(text.to_owned())),
        message_id: message_id.to_owned(),
        ..PublishRequest::default()
    }
}

async fn publish(client: &mut PublisherServiceClient<Channel>, request: PublishRequest) -> PublishResponse {
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        // It may not have found Redis yet.
        match client.publish(request.clone()).await {
            Ok(response) => return response.into_inner(),
            Err(status) => assert!(Instant::now() < deadline, "{status:?}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn follow(channel: &Channel, request: StreamMessagesRequest) -> Streaming<tidings::pb::StreamMessagesResponse> {
    let mut client = SubscriberServiceClient::new(channel.clone());
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        match client.stream_messages(request.clone()).await {
            Ok(response) => return response.into_inner(),
            Err(status) => assert!(Instant::now() < deadline, "{status:?}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn messages(stream: &mut Streaming<tidings::pb::StreamMessagesResponse>, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let next = timeout(TEST_TIMEOUT, stream.message()).await;
        let next = next.unwrap_or_else(|_| panic!("{} of {count} messages came", messages.len()));
        match next.expect("no error").expect("no end").event {
            Some(Event::Message(message)) => messages.push(message),
            Some(Event::Gap(gap)) => panic!("nothing is lost: {gap:?}"),
            _ => {}
        }
    }
    messages
}

fn said(message: &Message) -> (i64, &str, &str, &str) {
    let Some(message::Payload::Text(text)) = &message.payload else { panic!("the tests publish text") };
    (message.sequence, &message.epoch, &message.message_id, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_versions_share_a_channel() {
    const ROUNDS: usize = 300;
    let redis = RedisServer::start();
    let (_publishers, publishing) = both("tidings-publisher", &redis).await;
    let (_subscribers, subscribing) = both("tidings-subscriber", &redis).await;
    let clients = publishing.map(PublisherServiceClient::new);
    // The earlier one begins the channel: its log and head are what the present one finds.
    let first = publish(&mut clients[0].clone(), text("c", "first", "")).await;
    assert_eq!(first.sequence, 1);
    let start = |after: Vec<String>| StreamMessagesRequest {
        channel: "c".to_owned(),
        earliest: after.is_empty(),
        after,
        ..StreamMessagesRequest::default()
    };
    let mut live = [follow(&subscribing[0], start(Vec::new())).await, follow(&subscribing[1], start(Vec::new())).await];

    // In turns, alone and many at once, with ids and without.
    let publish_some = |version: usize| {
        let mut client = clients[version].clone();
        async move {
            let mut receipts = Vec::new();
            for round in 0..ROUNDS {
                let body = format!("{version}.{round}");
                if round % 5 == 0 {
                    let requests = (0..10).map(|n| text("", &format!("{body}.{n}"), "")).collect();
                    let batch = PublishBatchRequest { channel: "c".to_owned(), requests };
                    let answer = client.publish_batch(batch).await.expect("published").into_inner();
                    receipts.extend(answer.responses);
                } else {
                    receipts.push(client.publish(text("c", &body, "")).await.expect("published").into_inner());
                }
            }
            receipts
        }
    };
    let (earlier, present) = tokio::join!(publish_some(0), publish_some(1));
    let receipts: Vec<&PublishResponse> = std::iter::once(&first).chain(&earlier).chain(&present).collect();
    let count = receipts.len();
    let sequences: HashSet<i64> = receipts.iter().map(|receipt| receipt.sequence).collect();
    assert_eq!((sequences.len(), sequences.iter().max()), (count, Some(&(count as i64))));
    for receipts in [&earlier, &present] {
        assert!(receipts.is_sorted_by_key(|receipt| receipt.sequence), "one client's order is kept");
    }
    assert!(receipts.iter().all(|receipt| receipt.epoch == first.epoch), "nothing was lost, and no epoch began");

    // Both subscribers saw all of it as it came, and read the same from the log, by each other's cursors as well.
    let seen = [messages(&mut live[0], count).await, messages(&mut live[1], count).await];
    let expected: Vec<_> = seen[0].iter().map(said).collect();
    assert!(expected.iter().map(|(sequence, ..)| *sequence).eq(1..=count as i64));
    assert_eq!(seen[1].iter().map(said).collect::<Vec<_>>(), expected);
    let middle = count / 2;
    for (version, channel) in subscribing.iter().enumerate() {
        let cursor = seen[1 - version][middle].cursor.clone();
        let mut resumed = follow(channel, start(vec![cursor])).await;
        let rest = messages(&mut resumed, count - middle - 1).await;
        assert_eq!(rest.iter().map(said).collect::<Vec<_>>(), expected[middle + 1..], "{}", VERSIONS[version]);
        let list = ListMessagesRequest { channel: "c".to_owned(), page_size: 50, ..ListMessagesRequest::default() };
        let page =
            SubscriberServiceClient::new(channel.clone()).list_messages(list).await.expect("a page").into_inner();
        assert_eq!(page.messages.iter().map(said).collect::<Vec<_>>(), expected[..50]);
        assert!(!page.next_page_token.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_version_published_is_a_repeat_for_the_other() {
    let redis = RedisServer::start();
    let (_publishers, publishing) = both("tidings-publisher", &redis).await;
    let clients = publishing.map(PublisherServiceClient::new);
    for (one, other) in [(0, 1), (1, 0)] {
        let id = format!("0192f0c1-2a3b-7c4d-8e5f-0123456789a{one}");
        let first = publish(&mut clients[one].clone(), text("ids", "once", &id)).await;
        let again = publish(&mut clients[other].clone(), text("ids", "again", &id)).await;
        assert!(again.duplicate && !first.duplicate, "{first:?} {again:?}");
        assert_eq!((again.sequence, &again.epoch), (first.sequence, &first.epoch));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_under_both_versions_is_a_gap() {
    let redis = RedisServer::start();
    let (_publishers, publishing) = both("tidings-publisher", &redis).await;
    let (_subscribers, subscribing) = both("tidings-subscriber", &redis).await;
    let clients = publishing.map(PublisherServiceClient::new);
    let start = StreamMessagesRequest { channel: "c".to_owned(), earliest: true, ..StreamMessagesRequest::default() };
    let mut streams = Vec::new();
    for version in [0, 1, 0, 1] {
        publish(&mut clients[version].clone(), text("c", "kept by nobody", "")).await;
    }
    for channel in &subscribing {
        let mut stream = follow(channel, start.clone()).await;
        messages(&mut stream, 4).await;
        streams.push(stream);
    }
    redis.command(&["FLUSHALL"]);
    // Each knows of what it has receipts for.
    for version in [1, 0] {
        publish(&mut clients[version].clone(), text("c", "after the flush", "")).await;
    }
    for stream in &mut streams {
        let mut lost = 0;
        let gap = loop {
            let next = timeout(TEST_TIMEOUT, stream.message()).await.expect("in time").expect("no error");
            match next.expect("no end").event {
                Some(Event::Gap(gap)) => break gap,
                Some(Event::Message(message)) => panic!("before the gap: {message:?}"),
                _ => lost += 1,
            }
            assert!(lost < 100);
        };
        assert!(gap.first_missing <= 5, "{gap:?}");
    }
}
