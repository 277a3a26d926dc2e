//! SIGTERM while streams are open.

use std::time::{Duration, Instant};

use tidings_testing::{RedisServer, Subscriber, channel, connect, reason};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_open_streams_in_time_and_says_why() {
    const STREAMS: usize = 200;
    let redis = RedisServer::start();
    let mut subscriber = Subscriber::start(&redis.url(), &["--shutdown-timeout=3s"]).await;
    let mut streams = Vec::new();
    for n in 0..STREAMS {
        let mut stream = subscriber.stream(channel(&format!("s{}", n % 20))).await;
        stream.started().await;
        streams.push(stream);
    }
    // A connection that is idle must not hold the end up either.
    let idle = connect(subscriber.address).await;
    let began = Instant::now();
    subscriber.process.signal("TERM");
    for mut stream in streams {
        let status = stream.end().await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "DRAINING"), "{status:?}");
    }
    assert!(subscriber.process.wait(Duration::from_secs(5)).success());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    drop(idle);
}
