//! Programs that know nothing of Tidings, and PUBLISH on Redis by themselves.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    board::{Board, Phase, body},
    history::Plain,
    sample,
};

/// How long Redis may take.
const TEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Publishes until the faults are over. A failure may have published: nobody repeats it.
pub(crate) async fn plain(board: Arc<Board>, channel: String, name: String, mut rng: fastrand::Rng) {
    let mut connection = None;
    let mut count = 0;
    while board.is(Phase::Wild) {
        sleep(Duration::from_millis(rng.u64(..60))).await;
        let port = board.primary.load(Ordering::SeqCst);
        if connection.as_ref().is_none_or(|(_, to)| *to != port) {
            connection = connect(port).await.map(|connection| (connection, port));
        }
        let Some((redis, _)) = &mut connection else { continue };
        count += 1;
        let label = format!("{name}.{count}");
        let payload = body(&label);
        board.history().plain.push(Plain { channel: channel.clone(), body: label });
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&channel).arg(payload);
        let published = timeout(TEST_TIMEOUT, publish.query_async::<i64>(redis)).await;
        if !matches!(published, Ok(Ok(_))) {
            connection = None;
        }
    }
}

/// Publishes some more when all is calm: each must be in the log until then.
pub(crate) async fn last_plain(board: &Board, channel: &str, deadline: Instant) {
    const COUNT: usize = 5;
    let port = board.primary.load(Ordering::SeqCst);
    let mut redis = connect(port).await.expect("Redis is there");
    let labels: Vec<String> = (1..=COUNT).map(|count| format!("wlast.{count}")).collect();
    for label in &labels {
        board.history().plain.push(Plain { channel: channel.to_owned(), body: label.clone() });
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel).arg(body(label));
        publish.query_async::<i64>(&mut redis).await.expect("Redis answers");
    }
    // What was adopted before them may push the first out of a short log again before it is seen there.
    let mut seen = HashSet::new();
    loop {
        let log = sample::logs(&mut redis, &[channel.to_owned()]).await.expect("Redis answers").remove(channel);
        seen.extend(log.into_iter().flat_map(|log| log.messages).map(|message| message.body));
        seen.extend(labels.iter().filter(|label| board.is_delivered(label)).cloned());
        let adopted: Vec<&String> = labels.iter().filter(|label| seen.contains(*label)).collect();
        if adopted.len() == labels.len() {
            return;
        }
        if Instant::now() > deadline {
            return board.trouble(format!("of {labels:?} {adopted:?} were adopted, although all was calm"));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// A connection to Redis itself, without a proxy.
pub(crate) async fn connect(port: u16) -> Option<MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).ok()?;
    timeout(TEST_TIMEOUT, client.get_multiplexed_async_connection()).await.ok()?.ok()
}
