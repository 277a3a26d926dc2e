//! Messages published a second in streams: `PublishStream`, and a bare client's pipeline, on as many connections.

use std::{rc::Rc, time::Duration};

use anyhow::ensure;

use super::{Plan, Sample, together};
use crate::{
    load::{Feeder, publishing::Stream, resp, text},
    stage::{Disk, Meter, Process, Service, Watched},
};

/// Connections, and streams or pipelines, at once.
pub(super) const CONNECTIONS: usize = 4;
/// Messages written at a time.
const BATCH: usize = 100;

/// Through `PublishStream`.
pub(crate) async fn streams(plan: &mut Plan<'_>, service: Service) -> anyhow::Result<Sample> {
    let process: Rc<Process> = plan.stage.service(service).await?;
    let servers = [Watched::from(&*process), plan.stage.watched(service.disk().unwrap_or(Disk::None))];
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        streams.push(Stream::open(process.target.clone(), &plan.channel, false).await?);
    }
    let (sample, streams) = feed(streams, &servers, plan.time).await?;
    let mut published = 0;
    let mut last = 0;
    for mut stream in streams {
        published += stream.settle().await?;
        last = last.max(stream.last());
    }
    ensure!(last == published, "{published} receipts, but the last sequence is {last}");
    Ok(sample)
}

/// Through bare Redis.
pub(crate) async fn bare(plan: &mut Plan<'_>) -> anyhow::Result<Sample> {
    let redis = plan.stage.redis(Disk::None);
    let (address, json) = (super::fanout::address(&redis), text::numbered_json());
    let mut publishers = Vec::new();
    for _ in 0..CONNECTIONS {
        publishers.push(resp::Publisher::open(address, &plan.channel, &json, 0).await?);
    }
    Ok(feed(publishers, &[Watched::from(&*redis)], plan.time).await?.0)
}

/// Publishes with all of them for so long, after a moment that is not counted.
pub(super) async fn feed<F: Feeder + 'static>(
    feeders: Vec<F>,
    servers: &[Watched],
    time: Duration,
) -> anyhow::Result<(Sample, Vec<F>)> {
    let (feeders, before) = run(feeders, time / 10).await?;
    let meter = Meter::start(servers)?;
    let (feeders, after) = run(feeders, time).await?;
    Ok((Sample::rate(after - before, meter.stop()?), feeders))
}

/// Answers how many were published from the beginning on.
async fn run<F: Feeder + 'static>(feeders: Vec<F>, time: Duration) -> anyhow::Result<(Vec<F>, u64)> {
    let began = std::time::Instant::now();
    let done = together(feeders.into_iter().map(|mut feeder| async move {
        while began.elapsed() < time {
            feeder.send(BATCH).await?;
            // A socket that always has room would never let the others run.
            tokio::task::yield_now().await;
        }
        let count = feeder.settle().await?;
        Ok((feeder, count))
    }))
    .await?;
    let count = done.iter().map(|(_, count)| count).sum();
    Ok((done.into_iter().map(|(feeder, _)| feeder).collect(), count))
}
