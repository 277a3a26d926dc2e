//! A broker that sentinels lead to its server. Failovers are followed in the tests of whole services.

use tidings_testing::RedisServer;

use crate::fixture::{connect, name, publish, settings, texts};

#[tokio::test]
async fn the_database_of_a_service_is_the_one_in_its_address() {
    let redis = RedisServer::start();
    let configuration = format!("sentinel monitor shop 127.0.0.1 {} 1\n", redis.port());
    let sentinel = RedisServer::start_from_file(&configuration, &["--sentinel"]);
    let broker = connect(settings(&format!("redis+sentinel://127.0.0.1:{}/shop?db=3", sentinel.port()))).await;
    publish(&broker, &name("orders"), texts(3)).await;
    assert_eq!(redis.commands(&[&["SELECT", "3"], &["EXISTS", "tidings:{orders}:log"]]), "+OK\r\n:1");
    broker.close().await;
}
