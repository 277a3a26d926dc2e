//! What happens to work when something dies, stops, or comes back with less than it had.

use std::time::SystemTime;

use tidings::pb::{ReceivedMessage, Rejection, Subscription};
use tidings_testing::{DURABLE, How, Links, Proxy, RedisServer, eventually};
use tokio::time::Instant;

use super::{SECOND, attempts, numbers, settings, texts};
use crate::harness::{Publisher, Subscriber, Worker, duration, text};

/// A publisher, two subscribers, and a Redis.
struct Site {
    redis: RedisServer,
    publisher: Publisher,
    subscribers: Vec<Subscriber>,
}

impl Site {
    async fn new(redis: RedisServer) -> Self {
        Self::with(redis, &[]).await
    }

    async fn with(redis: RedisServer, args: &[&str]) -> Self {
        let url = redis.url();
        let publisher = Publisher::start(&url, args).await;
        let subscribers = vec![Subscriber::start(&url, args).await, Subscriber::start(&url, args).await];
        Self { redis, publisher, subscribers }
    }

    async fn publish(&self, channel: &str, numbers: std::ops::RangeInclusive<usize>) {
        for n in numbers {
            self.publisher.client().publish(text(channel, n.to_string())).await.expect("published");
        }
    }

    /// A worker at a replica.
    fn worker(&self, replica: usize, name: &str) -> Worker {
        Worker::new(self.subscribers[replica].channel(), name)
    }

    async fn work(&self, settings: Subscription) -> Worker {
        Worker::create(self.subscribers[0].channel(), settings).await
    }

    fn stop(self) {
        self.publisher.stop();
        self.subscribers.into_iter().for_each(Subscriber::stop);
    }
}

fn deadline_of(deliveries: &[ReceivedMessage]) -> SystemTime {
    deliveries[0].ack_deadline_time.expect("a deadline").try_into().expect("a time")
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_settled_at_any_replica() {
    let site = Site::new(RedisServer::start()).await;
    site.publish("anywhere", 1..=10).await;
    let here = site.work(Subscription { ack_deadline: duration(2 * SECOND), ..settings("anywhere") }).await;
    let there = site.worker(1, "anywhere");
    let came = here.pull_all(10).await;
    let settled = there.acknowledge(&came[..4]).await;
    assert_eq!(settled.acknowledged_ids.len(), 4, "{settled:?}");
    let settled = there.extend(&came[4..6], 60 * SECOND).await;
    assert_eq!(settled.extended_ids.len(), 2, "{settled:?}");
    let later = Rejection { delay: duration(600 * SECOND), ..Rejection::default() };
    let settled = there.reject(&came[6..8], later).await;
    assert_eq!(settled.rejected_ids.len(), 2, "{settled:?}");
    // Here it is the same.
    let settled = here.acknowledge(&came[..4]).await;
    assert_eq!(settled.acknowledged_ids.len(), 4, "{settled:?}");
    let settled = here.acknowledge(&came[6..8]).await;
    assert_eq!(settled.stale_ids.len(), 2, "{settled:?}");
    // The lease that was not touched ends in its time, those that were extended don't.
    let again = there.pull_all(2).await;
    assert_eq!((texts(&again), attempts(&again)), (vec!["9".to_owned(), "10".to_owned()], vec![2, 2]));
    there.acknowledge(&again).await;
    assert!(here.pull(10, 2 * SECOND).await.is_empty());
    let settled = here.acknowledge(&came[4..6]).await;
    assert_eq!(settled.acknowledged_ids.len(), 2, "{settled:?}");
    assert_eq!(here.counts().await, (2, 0, 2));
    site.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_replica_had_comes_back_in_time() {
    let mut site = Site::new(RedisServer::start()).await;
    site.publish("dead", 1..=20).await;
    let settings = Subscription { ack_deadline: duration(3 * SECOND), ..settings("dead") };
    let worker = site.work(settings).await;
    let mut doomed = worker.consume(20).await;
    let came = doomed.receive(20).await;
    let settled = doomed.acknowledge(&came[..5]).await;
    assert_eq!(settled.acknowledged_ids.len(), 5);
    let until = deadline_of(&came);
    let other = site.worker(1, "dead");
    let mut stream = other.consume(100).await;
    let killed = site.subscribers.remove(0);
    killed.process.signal("KILL");
    let again = stream.receive(15).await;
    let late = SystemTime::now().duration_since(until).expect("not before it ended");
    assert!(late < 5 * SECOND, "{late:?}");
    assert_eq!(texts(&again), &numbers(20)[5..]);
    assert_eq!(attempts(&again), [2; 15]);
    let settled = stream.acknowledge(&came[5..]).await;
    assert_eq!(settled.stale_ids.len(), 15, "{settled:?}");
    let settled = stream.acknowledge(&again).await;
    assert_eq!(settled.acknowledged_ids.len(), 15, "{settled:?}");
    assert_eq!(other.counts().await, (0, 0, 0));
    site.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_stopped_has_lost_its_leases() {
    let site = Site::new(RedisServer::start()).await;
    let worker = site.work(Subscription { ack_deadline: duration(SECOND), ..settings("stopped") }).await;
    let mut frozen = worker.consume(10).await;
    site.publish("stopped", 1..=5).await;
    let came = frozen.receive(5).await;
    site.subscribers[0].process.signal("STOP");
    let other = site.worker(1, "stopped");
    let again = other.pull_all(5).await;
    assert!(SystemTime::now() > deadline_of(&came), "they were leased to two");
    let settled = other.acknowledge(&again[..3]).await;
    assert_eq!(settled.acknowledged_ids.len(), 3, "{settled:?}");
    site.publish("stopped", 6..=8).await;
    site.subscribers[0].process.signal("CONT");
    let settled = frozen.acknowledge(&came).await;
    let (done, stale) = (settled.acknowledged_ids.len(), settled.stale_ids.len());
    // Those that the other has acknowledged are done, whoever asks.
    assert_eq!((done, stale), (3, 2), "{settled:?}");
    let fresh = frozen.receive(3).await;
    assert_eq!(texts(&fresh), ["6", "7", "8"]);
    frozen.acknowledge(&fresh).await;
    let settled = other.acknowledge(&again[3..]).await;
    assert_eq!(settled.stale_ids.len() + settled.acknowledged_ids.len(), 2, "{settled:?}");
    site.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_away_has_forgotten_nothing() {
    let mut site = Site::new(RedisServer::start_with(&DURABLE)).await;
    site.publish("away", 1..=10).await;
    let worker = site.work(settings("away")).await;
    let mut stream = worker.consume(6).await;
    let came = stream.receive(6).await;
    stream.acknowledge(&came[..2]).await;
    let more = stream.receive(2).await;
    site.redis.kill();
    let settled = stream.acknowledge(&came[2..4]).await;
    assert_eq!(settled.unknown_ids.len(), 2, "{settled:?}");
    site.redis.run();
    // Settled again, they are done.
    let outcome = eventually_settled(&mut stream, &came[2..4]).await;
    assert_eq!(outcome.acknowledged_ids.len(), 2, "{outcome:?}");
    let rest = stream.receive(2).await;
    assert_eq!(texts(&rest), ["9", "10"]);
    for deliveries in [&came[4..], &more, &rest] {
        let settled = eventually_settled(&mut stream, deliveries).await;
        assert_eq!(settled.acknowledged_ids.len(), 2, "{settled:?}");
    }
    worker.comes_to(0, 0, 0).await;
    site.stop();
}

/// Acknowledges until the outcome is known.
async fn eventually_settled(
    stream: &mut tidings_testing::Consuming,
    deliveries: &[ReceivedMessage],
) -> tidings::pb::Settled {
    let began = Instant::now();
    loop {
        let settled = stream.acknowledge(deliveries).await;
        if settled.unknown_ids.is_empty() {
            return settled;
        }
        assert!(began.elapsed() < 20 * SECOND, "{settled:?}");
        tokio::time::sleep(SECOND / 5).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_loses_writes_loses_no_work_without_a_word() {
    let primary = RedisServer::start();
    let replica = RedisServer::replica_of(&primary);
    replica.catch_up_with(&primary);
    let proxy = Proxy::to(&primary).await;
    let publisher = Publisher::start(&proxy.url(), &[]).await;
    let subscriber = Subscriber::start(&proxy.url(), &["--log-filter=info,tidings_subscriber=trace"]).await;
    let publish = |n: usize| {
        let mut client = publisher.client();
        async move { client.publish(text("failover", n.to_string())).await.is_ok() }
    };
    for n in 1..=6 {
        assert!(publish(n).await);
    }
    let worker = Worker::create(subscriber.channel(), settings("failover")).await;
    let first = worker.pull_all(4).await;
    worker.acknowledge(&first[..2]).await;
    replica.catch_up_with(&primary);
    // The replica hears no more: what is done from here on is lost.
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    for n in 7..=9 {
        assert!(publish(n).await);
    }
    let lost = worker.pull_all(5).await;
    assert_eq!(texts(&lost), ["5", "6", "7", "8", "9"]);
    let settled = worker.acknowledge(&lost).await;
    assert_eq!(settled.acknowledged_ids.len(), 5);
    proxy.retarget(&replica);
    proxy.cut(Links::All, How::Reset);
    eventually("the new primary takes writes", async || publish(10).await).await;
    let mut stream = loop {
        let start = tidings::pb::StartConsuming { name: "failover".to_owned(), ..Default::default() };
        match tidings_testing::Consuming::open(worker.client(), start).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(SECOND / 5).await,
        }
    };
    // What the new primary has is delivered; what it has not is told.
    let came = stream.receive(3).await;
    assert_eq!(texts(&came), ["5", "6", "10"]);
    assert_eq!(attempts(&came), [1, 1, 1]);
    let told: i64 = stream.lost.iter().map(|lost| lost.count).sum();
    assert_eq!(told, 3, "{:?}", stream.lost);
    assert_eq!((stream.lost[0].first_sequence, stream.lost[0].last_sequence), (7, 9));
    // No ack of what was lost settles what came in its stead.
    let settled = stream.acknowledge(&lost).await;
    assert_eq!(settled.stale_ids.len(), 5, "{settled:?}");
    let settled = stream.acknowledge(&came).await;
    assert_eq!(settled.acknowledged_ids.len(), 3, "{settled:?}");
    // What was leased before is leased still.
    let settled = stream.acknowledge(&first[2..]).await;
    assert_eq!(settled.acknowledged_ids.len(), 2, "{settled:?}");
    let state = worker.state().await;
    assert_eq!((state.backlog_count, state.lost_count), (0, 3));
    publisher.stop();
    subscriber.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_trimmed_beyond_the_hold_is_told_once() {
    // A log of 10 messages may grow to 100 while they are not acknowledged.
    let site = Site::with(RedisServer::start(), &["--history-max-messages=10"]).await;
    let worker = site.work(settings("held")).await;
    site.publish("held", 1..=60).await;
    assert_eq!(worker.counts().await, (60, 0, 0));
    site.publish("held", 61..=500).await;
    let state = worker.state().await;
    assert_eq!(state.backlog_count + state.lost_count, 500);
    assert!((100..=240).contains(&state.backlog_count), "{state:?}");
    let retained = usize::try_from(state.backlog_count).expect("a count");
    let mut stream = worker.consume(1_000).await;
    let came = stream.receive(retained).await;
    assert_eq!(texts(&came), &numbers(500)[500 - retained..]);
    let told: i64 = stream.lost.iter().map(|lost| lost.count).sum();
    assert_eq!(told, state.lost_count);
    stream.acknowledge(&came).await;
    let state = worker.state().await;
    assert_eq!((state.backlog_count, state.lost_count), (0, told));
    drop(stream);
    let other = site.worker(1, "held");
    let mut stream = other.consume(10).await;
    assert!(stream.is_quiet(SECOND).await);
    assert!(stream.lost.is_empty());
    site.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_trimmed_over_a_change_of_the_epoch_is_told_and_passed_over() {
    let mut site = Site::new(RedisServer::start_with(&DURABLE)).await;
    let worker = site.work(settings("turn")).await;
    site.publish("turn", 1..=10).await;
    site.redis.kill();
    site.redis.run();
    for n in 11..=20 {
        let publish = || async { site.publisher.client().publish(text("turn", n.to_string())).await.is_ok() };
        eventually("Redis takes writes again", publish).await;
    }
    let epochs = site.redis.command(&["HGET", "tidings:{turn}:head", "h"]);
    assert!(epochs.contains(';'), "a new epoch has begun: {epochs}");
    site.redis.command(&["XTRIM", "tidings:{turn}:log", "MAXLEN", "=", "3"]);
    let mut stream = worker.consume(10).await;
    let came = stream.receive(3).await;
    assert_eq!(texts(&came), ["18", "19", "20"]);
    let told: Vec<_> = stream.lost.iter().map(|lost| (lost.count, lost.first_sequence, lost.last_sequence)).collect();
    assert_eq!(told, [(17, 1, 17)]);
    stream.acknowledge(&came).await;
    let state = worker.state().await;
    assert_eq!((state.backlog_count, state.lost_count), (0, 17));
    site.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_consumers_at_two_replicas_get_about_equal_shares() {
    let site = Site::new(RedisServer::start()).await;
    let worker = site.work(settings("shares")).await;
    let workers = [worker.clone(), worker, site.worker(1, "shares"), site.worker(1, "shares")];
    let mut consumers = tokio::task::JoinSet::new();
    for worker in workers {
        let mut stream = worker.consume(20).await;
        consumers.spawn(async move {
            let mut got = 0;
            while let Ok(came) = tokio::time::timeout(3 * SECOND, stream.receive(1)).await {
                stream.acknowledge(&came).await;
                got += came.len();
            }
            got
        });
    }
    site.publish("shares", 1..=2_000).await;
    let shares = consumers.join_all().await;
    assert_eq!(shares.iter().sum::<usize>(), 2_000);
    // Of some seconds, not of a minute: which replica is faster for a while is chance.
    let mean = 2_000 / shares.len();
    assert!(shares.iter().all(|share| (mean / 4..=mean * 2).contains(share)), "{shares:?}");
    site.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_has_its_streams_settle_first() {
    let site = Site::new(RedisServer::start()).await;
    site.publish("drain", 1..=5).await;
    let worker = site.work(settings("drain")).await;
    let mut stream = worker.consume(3).await;
    let came = stream.receive(3).await;
    let other = site.worker(1, "drain");
    other.comes_to_consumers(1).await;
    site.subscribers[0].process.signal("TERM");
    let Ok(Some(tidings::pb::consume_messages_response::Response::Draining(_))) = stream.response().await else {
        panic!("draining")
    };
    let settled = stream.acknowledge(&came).await;
    assert_eq!(settled.acknowledged_ids.len(), 3, "{settled:?}");
    let status = stream.end().await;
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    let rest = other.pull_all(2).await;
    other.comes_to_consumers(0).await;
    assert_eq!((texts(&rest), attempts(&rest)), (vec!["4".to_owned(), "5".to_owned()], vec![1, 1]));
    let Site { publisher, mut subscribers, .. } = site;
    publisher.stop();
    subscribers.pop().expect("the other").stop();
}
