//! Several subscribers that capture the same channel, and plain programs beside them.

use super::{faults::live_links, *};

/// Another replica continues where the one that adopts is killed.
#[tokio::test(flavor = "multi_thread")]
async fn when_the_adopting_replica_is_killed_nothing_is_lost_or_doubled() {
    let redis = RedisServer::start();
    let leader = capturing(&redis, "orders", 1).await;
    let mut plain = plain(&redis).await;
    burst(&mut plain, "orders", numbered(0..1)).await;
    listed(&leader, "orders", 1).await;
    let other = capturing(&redis, "orders", 2).await;
    let mut stream = other.started_stream(StreamMessagesRequest { earliest: true, ..channel("orders") }).await;
    let mut leader = Some(leader);
    for begin in (1..10_001).step_by(500) {
        burst(&mut plain, "orders", numbered(begin..begin + 500)).await;
        if begin > 4_000 {
            // Without a word, wherever it is.
            drop(leader.take());
        }
    }
    assert_all(&stream.messages(10_001).await, 10_001);
    stream.is_quiet(Duration::from_millis(500)).await;
    other.stop();
}

/// What only one replica has received is adopted also while another holds the lease and keeps adopting.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_asks_for_the_lease_when_its_holder_never_received_a_message() {
    let redis = RedisServer::start();
    let holder = capturing(&redis, "orders", 1).await;
    let holders_link = live_links(&redis).pop().expect("it listens");
    let mut plain = plain(&redis).await;
    burst(&mut plain, "orders", [b"first".to_vec()]).await;
    listed(&holder, "orders", 1).await;
    let other = capturing(&redis, "orders", 2).await;
    // Both in one round trip: the holder has no time to come back in between.
    let mut pipeline = redis::pipe();
    pipeline.cmd("CLIENT").arg("KILL").arg("ID").arg(holders_link).ignore();
    pipeline.cmd("PUBLISH").arg("orders").arg("only the other received it").ignore();
    pipeline.query_async::<()>(&mut plain).await.expect("published");
    captured(&redis, "orders", 2).await;
    let deadline = Instant::now() + TEST_TIMEOUT;
    let mut sent = 0;
    loop {
        burst(&mut plain, "orders", numbered(sent..sent + 1)).await;
        sent += 1;
        sleep(Duration::from_millis(100)).await;
        if other.list("orders").await.iter().any(|message| text_of(message) == "only the other received it") {
            break;
        }
        assert!(Instant::now() < deadline, "it was never adopted");
    }
    assert!(sent > 10, "the holder continued meanwhile: {sent}");
    let log = listed(&holder, "orders", sent + 2).await;
    let different: HashSet<&str> = log.iter().map(text_of).collect();
    assert_eq!((log.len(), different.len()), (sent + 2, sent + 2));
    holder.stop();
    other.stop();
}
