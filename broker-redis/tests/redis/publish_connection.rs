//! The connection of optimistic publishes: what its loss means for calls, and that it is made again.

use std::time::Duration;

use tidings::broker::{Error, State};
use tidings_redis::{Role, Settings};
use tidings_testing::RedisServer;

use crate::fixture::{broker, connect, head, name, publish, settings, text, texts, until, up};

/// The client's number of the line, as Redis lists it.
fn line(server: &RedisServer) -> Option<String> {
    let clients = server.command(&["CLIENT", "LIST"]);
    let line = clients.lines().find(|client| client.contains(" name=tidings-publish "))?;
    Some(line.split_once("id=")?.1.split(' ').next()?.to_owned())
}

fn kill(server: &RedisServer) {
    let id = line(server).expect("there is a line");
    assert_eq!(server.command(&["CLIENT", "KILL", "ID", &id]), ":1");
}

#[tokio::test]
async fn a_line_that_is_lost_while_it_is_idle_is_made_again_and_nothing_is_lost() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(2)).await;
    let first = line(&server);
    kill(&server);
    until("another line", || line(&server).is_some_and(|now| Some(now) != first)).await;
    up(&broker).await;
    for sequence in 3..10 {
        assert_eq!(publish(&broker, &name("orders"), texts(1)).await[0].sequence, sequence);
    }
    broker.close().await;
}

#[tokio::test]
async fn a_call_whose_connection_is_lost_may_have_been_carried_out_and_the_next_continues() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    publish(&broker, &name("orders"), texts(1)).await;
    assert_eq!(server.command(&["CLIENT", "PAUSE", "60000", "WRITE"]), "+OK");
    let waiting = tokio::spawn(broker.publish(&name("orders"), vec![text("waits")], 0));
    tokio::time::sleep(Duration::from_millis(100)).await;
    kill(&server);
    let lost = waiting.await.expect("no panic");
    assert!(matches!(&lost, Err(Error::OutcomeUnknown(text)) if text.contains("was lost")), "{lost:?}");
    assert_eq!(server.command(&["CLIENT", "UNPAUSE"]), "+OK");
    up(&broker).await;
    let next = publish(&broker, &name("orders"), texts(1)).await[0].sequence;
    assert_eq!(head(&broker, &name("orders")).await.expect("published").last, next);
    broker.close().await;
}

#[tokio::test]
async fn a_line_that_does_not_answer_in_time_is_replaced() {
    let server = RedisServer::start();
    let broker = connect(Settings { timeout: Duration::from_millis(500), ..settings(&server.url()) }).await;
    publish(&broker, &name("orders"), texts(1)).await;
    let first = line(&server);
    assert_eq!(server.command(&["CLIENT", "PAUSE", "60000", "WRITE"]), "+OK");
    let slow = broker.publish(&name("orders"), texts(1), 0).await;
    assert!(matches!(&slow, Err(Error::OutcomeUnknown(text)) if text.contains("in time")), "{slow:?}");
    assert_eq!(server.command(&["CLIENT", "UNPAUSE"]), "+OK");
    until("another line", || line(&server).is_some_and(|now| Some(now) != first)).await;
    up(&broker).await;
    publish(&broker, &name("orders"), texts(2)).await;
    broker.close().await;
}

#[tokio::test]
async fn a_broker_that_only_reads_has_no_publish_connection() {
    let server = RedisServer::start();
    let broker = connect(Settings { role: Role::Subscriber, ..settings(&server.url()) }).await;
    assert_eq!(*broker.state().borrow(), State::Up);
    assert_eq!(line(&server), None);
    broker.close().await;
}
