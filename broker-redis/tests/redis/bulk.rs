//! Long reads of logs with large runs: that they go over a connection of their own, read the same as any others, and
//! need none.

use tidings::{
    broker::{From, PageLimit, Shared, Stored},
    limits::{REPLAY_BYTES, REPLAY_MESSAGES},
};
use tidings_testing::{Proxy, RedisServer};

use crate::fixture::{Monitor, broker, connect, name, publish, settings, text, texts, until};

const LONG: PageLimit = PageLimit { messages: REPLAY_MESSAGES, bytes: REPLAY_BYTES };
const SHORT: PageLimit = PageLimit { messages: 1_000, bytes: REPLAY_BYTES };
const MESSAGES: usize = 5_000;

async fn fill(broker: &Shared) {
    for _ in 0..MESSAGES / 100 {
        // Together they make a large run.
        let drafts = (0..100).map(|i| text(&format!("{i:0>100}"))).collect();
        publish(broker, &name("orders"), drafts).await;
    }
}

/// Everything above a sequence, page by page; the last one says so.
async fn all(broker: &Shared, after: i64, limit: PageLimit) -> Vec<Stored> {
    let mut messages: Vec<Stored> = Vec::new();
    loop {
        let from = From::After(messages.last().map_or(after, |last| last.sequence));
        let page = broker.read(&name("orders"), from, limit).await.expect("read");
        assert!(page.is_last || !page.messages.is_empty(), "every page leads on");
        messages.extend(page.messages);
        if page.is_last {
            assert_eq!(page.head.expect("a head").last, messages.last().map_or(after, |last| last.sequence));
            return messages;
        }
    }
}

/// The IDs of a server's connections: those for long reads, and those for commands.
fn connections(server: &RedisServer) -> [Vec<String>; 2] {
    let list = server.command(&["CLIENT", "LIST"]);
    let of = |name: &str| {
        let lines = list.lines().filter(|line| line.contains(&format!(" name={name} ")));
        let ids = lines.filter_map(|line| line.split_once("id=")?.1.split(' ').next());
        ids.map(str::to_owned).collect()
    };
    ["tidings-bulk", "tidings-command"].map(of)
}

#[tokio::test]
async fn a_long_read_has_a_connection_of_its_own_and_reads_the_same() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    fill(&broker).await;
    let whole = all(&broker, 0, SHORT).await;
    assert_eq!(whole.len(), MESSAGES);
    assert!(whole.iter().map(|stored| stored.sequence).eq(1..=MESSAGES as i64));
    assert_eq!(connections(&server)[0].len(), 0, "a short one goes the usual way");
    for after in [0, 1, 77, 4_999, 5_000] {
        assert_eq!(all(&broker, after, LONG).await, whole[after as usize..], "after {after}");
    }
    assert_eq!(connections(&server)[0].len(), 1);
    publish(&broker, &name("orders"), texts(1)).await;
    assert_eq!(all(&broker, 0, LONG).await.len(), MESSAGES + 1);
    broker.close().await;
}

#[tokio::test]
async fn a_connection_that_redis_has_closed_is_made_again() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    fill(&broker).await;
    let whole = all(&broker, 0, LONG).await;
    assert_eq!(all(&broker, 1, LONG).await, whole[1..]);
    let [first, _] = connections(&server);
    assert_eq!(server.command(&["CLIENT", "KILL", "ID", &first[0]]), ":1");
    assert_eq!(all(&broker, 1, LONG).await, whole[1..]);
    let [second, _] = connections(&server);
    assert!(second.len() == 1 && second != first, "{first:?} {second:?}");
    // Where it can do nothing, the other way does it.
    server.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(all(&broker, 1, LONG).await, whole[1..]);
    broker.close().await;
}

#[tokio::test]
async fn what_an_old_primary_still_has_is_not_read() {
    let old = RedisServer::start();
    let proxy = Proxy::to(&old).await;
    let broker = connect(settings(&proxy.url())).await;
    fill(&broker).await;
    let before = all(&broker, 0, LONG).await;
    let new = RedisServer::replica_of(&old);
    new.catch_up_with(&old);
    new.promote();
    proxy.retarget(&new);
    let [bulk, commands] = connections(&old);
    assert_eq!(bulk.len(), 1, "it stays connected to the old primary");
    for id in commands {
        old.command(&["CLIENT", "KILL", "ID", &id]);
    }
    until("it is connected to the new primary", || !connections(&new)[1].is_empty()).await;
    publish(&broker, &name("orders"), texts(1)).await;
    let after = all(&broker, 0, LONG).await;
    assert_eq!(after.len(), before.len() + 1);
    assert_eq!(connections(&new)[0].len(), 1);
    broker.close().await;
}

/// Redis copies each run that a script asks for, and serves nobody else meanwhile.
#[tokio::test]
async fn a_page_copies_little_that_is_not_of_it() {
    let server = RedisServer::start();
    let broker = broker(&server).await;
    for _ in 0..20 {
        publish(&broker, &name("orders"), vec![text(&"x".repeat(200_000))]).await;
    }
    let mut monitor = Monitor::of(&server);
    let mut runs_read = async |from, limit| {
        let page = broker.read(&name("orders"), from, limit).await.expect("read");
        let counts = monitor.commands().into_iter().filter(|line| line.contains("RANGE") && line.contains(" lua]"));
        let counts = counts.map(|line| line.rsplit('"').nth(1).expect("a count").parse::<usize>().expect("a number"));
        (page.messages.len(), counts.sum::<usize>(), page.is_last)
    };
    // Beside the page: the oldest run for the head, and whether another follows.
    let small = PageLimit { messages: 10, bytes: 500_000 };
    assert_eq!(runs_read(From::After(0), small).await, (3, 5, false));
    assert_eq!(runs_read(From::Before(i64::MAX), small).await, (3, 5, false));
    let one = PageLimit { messages: 1, ..small };
    assert_eq!(runs_read(From::After(5), one).await, (1, 3, false));
    assert_eq!(runs_read(From::After(19), one).await, (1, 3, true));
    let all = PageLimit { messages: 100, bytes: 64 << 20 };
    assert_eq!(runs_read(From::After(0), all).await.0, 20);
    assert!(runs_read(From::After(0), all).await.2);
    broker.close().await;
}
