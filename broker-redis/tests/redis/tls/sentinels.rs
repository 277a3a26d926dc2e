//! Sentinels over TLS, with a login of their own.

use tidings::broker::{Shared, State};
use tidings_redis::{Redis, SentinelLogin, Server, ServerFiles, ServerUrl, Settings, TlsFiles};
use tidings_testing::{RedisServer, TlsRedis, free_port};

use crate::fixture::{name, publish, settings, texts, until, up};

/// A sentinel of this Redis that wants a password and speaks TLS, and its port with TLS.
fn sentinel(redis: &TlsRedis) -> (RedisServer, u16) {
    let port = free_port();
    let configuration = format!("sentinel monitor shop 127.0.0.1 {} 1\nrequirepass sesame\n", redis.port());
    let path = |name: &str| redis.files.path(name).to_string_lossy().into_owned();
    let (port_text, ca, cert, key) = (port.to_string(), path("ca.pem"), path("server.pem"), path("server.key"));
    let tls = ["--tls-port", &port_text, "--tls-auth-clients", "no", "--tls-replication", "yes"];
    let files = ["--tls-ca-cert-file", &ca, "--tls-cert-file", &cert, "--tls-key-file", &key, "--sentinel"];
    (RedisServer::start_from_file(&configuration, &[&tls[..], &files].concat()), port)
}

#[tokio::test]
async fn sentinels_speak_tls_and_have_a_login_of_their_own_which_is_read_again() {
    let redis = TlsRedis::start(&["127.0.0.1"], false);
    redis.server.command(&["ACL", "SETUSER", "bob", "reset", "on", ">secret of Redis", "~*", "&*", "+@all"]);
    let (_sentinel, port) = sentinel(&redis);
    let password = Some(redis.files.write("password", "secret of Redis\n"));
    let login = SentinelLogin { user: None, password: Some(redis.files.write("sentinel-password", "wrong\n")) };
    let tls = TlsFiles { ca: Some(redis.files.path("ca.pem")), client: None };
    let url = ServerUrl::parse(&format!("rediss+sentinel://bob@127.0.0.1:{port}/shop")).expect("an address");
    let server = Server::open(url, ServerFiles { password, tls, sentinels: login }).expect("the files can be used");
    let broker: Shared = Redis::start(Settings { server, ..settings("redis://unused") });
    until("it says whose password is wrong", || {
        let words = "the sentinel refuses the user or password (--sentinel-user, --sentinel-password-file)";
        matches!(&*broker.state().borrow(), State::Down(why) if why.contains(words))
    })
    .await;
    redis.files.write("sentinel-password", "sesame\n");
    up(&broker).await;
    publish(&broker, &name("orders"), texts(3)).await;
    let (with, without) = redis.connections();
    assert!(with.iter().any(|name| name == "tidings-command"), "{with:?}");
    assert_eq!(without.iter().filter(|name| name.starts_with("tidings")).count(), 0, "{without:?}");
    broker.close().await;
}
