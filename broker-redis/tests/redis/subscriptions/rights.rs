//! What a user of Redis lacks is said before anything is written.

use tidings::broker::{
    Error,
    subscriptions::{Look, Place},
};
use tidings_testing::RedisServer;

use super::{Used, waiting};
use crate::fixture::{connect, settings};

#[tokio::test]
async fn a_user_without_the_rights_is_told_which() {
    for missing in ["hset", "hdel", "unlink", "zadd", "hvals", "hincrby", "hexists", "hstrlen", "zscore"] {
        let server = RedisServer::start();
        let used = Used::with(&server, 2).await;
        server.command(&["ACL", "SETUSER", "bob", "on", ">pw", "~*", "&*", "+@all", &format!("-{missing}")]);
        let bob = connect(settings(&format!("redis://bob:pw@127.0.0.1:{}", server.port()))).await;
        let subscriptions = bob.subscriptions();
        let deleted = async |place: &Place| subscriptions.delete(place, None).await.map(|_| ());
        let mut refused = Vec::new();
        match missing {
            "zadd" | "hincrby" | "hexists" | "hstrlen" | "zscore" => {
                let change = waiting(1, 5);
                refused.push(subscriptions.apply(&used.place, used.generation, &[change]).await.map(|_| ()));
            }
            _ => refused.push(deleted(&used.place).await),
        }
        for refused in refused {
            let word = missing.to_uppercase();
            assert!(
                matches!(&refused, Err(Error::Unavailable(text)) if text.contains(&word) && text.contains("ACL")),
                "{missing}: {refused:?}"
            );
        }
        assert!(subscriptions.look(&used.place, Look::default()).await.is_ok(), "he may look");
        bob.close().await;
        used.end().await;
    }
    let server = RedisServer::start();
    let used = Used::with(&server, 2).await;
    server.command(&["ACL", "SETUSER", "bob", "on", ">pw", "~*:log", "~*:head", "~tidings:channels", "+@all", "&*"]);
    let bob = connect(settings(&format!("redis://bob:pw@127.0.0.1:{}", server.port()))).await;
    let refused = bob.subscriptions().apply(&used.place, used.generation, &[]).await;
    assert!(matches!(&refused, Err(Error::Unavailable(text)) if text.contains("ACL")), "{refused:?}");
    bob.close().await;
    used.end().await;
}
