//! Deliveries a second: messages times the streams that all get all of them, in order. The publishers keep close to the
//! slowest reader (what can be sustained), or publish as fast as it goes (a flood, whose readers fall behind).

use std::time::Instant;

use anyhow::ensure;
use tidings::pb::{PublishBatchRequest, StreamMessagesRequest};
use tokio::task::JoinSet;

use crate::{bare, house::House, pace::Pace, publishing, raw};

/// Messages of one batch, and batches under way at once.
const BATCH: usize = 500;
const BATCHES: usize = 4;
/// Connections that streams share; bare subscribers have one each, as Redis needs it.
const CONNECTIONS: usize = 10;

/// How far publishers may be ahead, in messages: half of what the subscriber's ring holds, so that streams stay on the live
/// path. The figure depends on it: of the windows tried (none, 2,000, 6,000; one round each, to 100 streams) this one gave the
/// highest. Quote the flood row beside it, which has none.
pub(crate) const WINDOW: usize = 2_000;

/// Messages to publish: enough to last, and fewer the more are delivered of each.
fn messages(streams: usize) -> usize {
    let unit = BATCH * BATCHES;
    (4_000_000 / streams).clamp(40_000, 200_000) / unit * unit
}

/// Through both services.
pub(crate) async fn tidings(house: &House, channel: &str, streams: usize, window: usize) -> anyhow::Result<f64> {
    let count = messages(streams) as u64;
    let mut connections = Vec::new();
    for _ in 0..streams.min(CONNECTIONS) {
        connections.push(house.subscriber().await?);
    }
    let request = StreamMessagesRequest { channel: channel.to_owned(), ..StreamMessagesRequest::default() };
    let request = raw::framed(&request);
    let pace = Pace::new(streams, window);
    let mut readers = JoinSet::new();
    for n in 0..streams {
        let pace = pace.clone();
        let mut stream = raw::Stream::open(&connections[n % connections.len()], request.clone()).await?;
        readers.spawn(async move {
            let mut last = 0;
            while last < count {
                let mut jump = None;
                stream
                    .more(|seen| {
                        if seen.sequence != last + 1 {
                            jump = jump.or(Some((last, seen.sequence)));
                        }
                        last = seen.sequence;
                    })
                    .await?;
                pace.read(n, usize::try_from(last)?);
                ensure!(jump.is_none(), "messages are missing or doubled (last, next): {jump:?}");
            }
            Ok(())
        });
    }
    let began = Instant::now();
    publish_batches(house, channel, count as usize, &pace).await?;
    finish(readers).await?;
    Ok((count * streams as u64) as f64 / began.elapsed().as_secs_f64())
}

async fn publish_batches(house: &House, channel: &str, count: usize, pace: &Pace) -> anyhow::Result<()> {
    let requests = vec![publishing::request(""); BATCH];
    let batch = raw::framed(&PublishBatchRequest { channel: channel.to_owned(), requests });
    let connection = house.publisher().await?;
    let mut publishers = JoinSet::new();
    for _ in 0..BATCHES {
        let (connection, batch, pace) = (connection.clone(), batch.clone(), pace.clone());
        publishers.spawn(async move {
            for n in 0..count / BATCH / BATCHES {
                pace.wait(n * BATCH * BATCHES).await;
                raw::unary(&connection, "/tidings.v1.PublisherService/PublishBatch", batch.clone()).await?;
            }
            Ok(())
        });
    }
    finish(publishers).await
}

/// Through Redis alone.
pub(crate) async fn bare(house: &House, channel: &str, streams: usize, window: usize) -> anyhow::Result<f64> {
    let count = messages(streams);
    let pace = Pace::new(streams, window);
    let mut readers = JoinSet::new();
    for n in 0..streams {
        let pace = pace.clone();
        let mut subscriber = bare::Subscriber::open(house, channel).await?;
        readers.spawn(async move {
            let mut seen = 0;
            while seen < count {
                subscriber.more(|_| seen += 1).await?;
                pace.read(n, seen);
            }
            Ok(())
        });
    }
    let began = Instant::now();
    bare::publish_many(house, channel, count, &pace).await?;
    finish(readers).await?;
    Ok((count * streams) as f64 / began.elapsed().as_secs_f64())
}

async fn finish(mut tasks: JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
