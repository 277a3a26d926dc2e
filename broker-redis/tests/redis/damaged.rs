//! Channels whose keys hold what Tidings did not write: they are refused by name, whole, and spoil no other.

use tidings::broker::{Error, From, PageLimit, Shared};
use tidings_testing::RedisServer;
use uuid::Uuid;

use crate::fixture::{broker, name, publish, texts, with_id};

const LOG: &str = "tidings:{orders}:log";
const HEAD: &str = "tidings:{orders}:head";
/// The window of the fixture's retention is so long that its number is known.
const IDS: &str = "tidings:{orders}:ids:1";

/// What becomes of a channel with two messages, and what a publish on it says then.
const DAMAGES: [(&[&str], &str); 8] = [
    (&["SET", HEAD, "x"], "head"),
    (&["HSET", HEAD, "s", "many"], "head"),
    (&["HSET", HEAD, "s", "-1"], "head"),
    (&["HSET", HEAD, "oid", "first"], "head"),
    (&["HSET", HEAD, "v", "new"], "newer version"),
    (&["SET", LOG, "x"], "log"),
    (&["XADD", LOG, "*", "a stranger's", "x"], "log"),
    (&["SET", IDS, "x"], "ids"),
];

/// All that is on the server for the channel.
fn keys(server: &RedisServer) -> Vec<String> {
    [LOG, HEAD, IDS].iter().map(|key| server.command(&["DUMP", key])).collect()
}

async fn is_refused(broker: &Shared, server: &RedisServer, word: &str) {
    let before = keys(server);
    for drafts in [texts(1), texts(200), vec![with_id(Uuid::now_v7())]] {
        let with_ids = drafts[0].dedup.is_some();
        let refused = broker.publish(&name("orders"), drafts, 0).await;
        if word == "ids" && !with_ids {
            // Nobody had to look at them.
            assert!(refused.is_ok(), "{refused:?}");
            continue;
        }
        assert!(matches!(&refused, Err(Error::Channel(text)) if text.contains(word)), "{word}: {refused:?}");
        assert!(word == "ids" || keys(server) == before, "{word}: something was written");
    }
}

#[tokio::test]
async fn what_is_not_ours_is_refused_before_anything_is_written() {
    for (damage, word) in DAMAGES {
        let server = RedisServer::start();
        let broker = broker(&server).await;
        publish(&broker, &name("orders"), texts(2)).await;
        if word != "ids" && damage[0] == "SET" {
            server.command(&["DEL", damage[1]]);
        }
        let reply = server.command(damage);
        assert!(!reply.starts_with('-'), "{damage:?}: {reply}");
        is_refused(&broker, &server, word).await;
        publish(&broker, &name("others"), texts(3)).await;
        broker.close().await;
    }
}

#[tokio::test]
async fn a_channel_that_can_not_be_read_spoils_no_other() {
    let page = PageLimit { messages: 10, bytes: 1 << 20 };
    for (damage, _) in
        DAMAGES.iter().filter(|(damage, _)| !matches!(damage[..], ["XADD", ..] | [_, IDS, ..] | [_, _, "oid", _]))
    {
        let server = RedisServer::start();
        let broker = broker(&server).await;
        let all = ["a", "orders", "b"].map(name);
        for channel in &all {
            publish(&broker, channel, texts(2)).await;
        }
        server.command(damage);
        let heads = broker.heads(&all).await.expect("answered");
        assert!(matches!(heads[1], Err(Error::Channel(_))), "{damage:?}: {:?}", heads[1]);
        for head in [&heads[0], &heads[2]] {
            assert_eq!(head.as_ref().expect("read").as_ref().expect("there").last, 2, "{damage:?}");
        }
        let read = broker.read(&all[1], From::After(0), page).await;
        assert!(matches!(&read, Err(Error::Channel(text)) if !text.contains("script")), "{damage:?}: {read:?}");
        broker.close().await;
    }
}
