//! What Redis refuses is adopted not at all, rather than in part.

use tidings_redis::{Role, Settings};

use super::*;
use crate::fixture::{connect, settings};

#[tokio::test]
async fn a_redis_that_refuses_adopts_nothing() {
    let (server, broker, replica) = start().await;
    let adopted = replica.done(Position::START, raws(1)).await;
    server.command(&["SCRIPT", "FLUSH"]);
    let adopted = replica.done(adopted, raws(1)).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(replica.adopt(adopted, raws(1)).await, Err(Error::OutOfMemory));
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    server.command(&["HSET", HEAD, "v", "3"]);
    let refused = replica.adopt(adopted, raws(1)).await;
    assert!(matches!(&refused, Err(Error::Channel(text)) if text.contains("newer")), "{refused:?}");
    assert_eq!(server.command(&["XLEN", LOG]), ":2");
    broker.close().await;
}

#[tokio::test]
async fn a_user_without_a_right_that_adoption_needs_writes_nothing() {
    let rights = ["-xadd", "-xtrim", "-xrange", "-hset", "-hdel", "-pexpire", "-publish", "resetchannels &orders"];
    let server = RedisServer::start();
    for missing in rights {
        let words = ["ACL", "SETUSER", "bob", "reset", "on", ">pw", "~*", "&*", "+@all"];
        server.command(&words.into_iter().chain(missing.split(' ')).collect::<Vec<_>>());
        let url = format!("redis://bob:pw@127.0.0.1:{}", server.port());
        // Who reads is refused without XRANGE before anything else.
        let broker = connect(Settings { role: Role::Publisher, ..settings(&url) }).await;
        let refused = Replica::new(&broker).adopt(Position::START, raws(1)).await;
        assert!(matches!(&refused, Err(Error::Unavailable(_))), "{missing}: {refused:?}");
        assert_eq!(server.command(&["EXISTS", LOG, HEAD, LEASE_KEY]), ":0", "{missing}");
        broker.close().await;
    }
}
