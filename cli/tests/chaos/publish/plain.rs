//! Programs that know nothing of Tidings, and PUBLISH on Redis by themselves.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use tokio::time::{sleep, timeout};

use crate::{
    board::{Board, Phase, body},
    history::Plain,
};

/// How long Redis may take.
const PATIENCE: Duration = Duration::from_secs(1);

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
        let published = timeout(PATIENCE, publish.query_async::<i64>(redis)).await;
        if !matches!(published, Ok(Ok(_))) {
            connection = None;
        }
    }
}

/// A connection to Redis itself, without a proxy.
pub(crate) async fn connect(port: u16) -> Option<MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).ok()?;
    timeout(PATIENCE, client.get_multiplexed_async_connection()).await.ok()?.ok()
}
