//! Deliveries a second, counted at the readers: messages times the streams that all get all of them. The publisher
//! keeps close to the slowest reader.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use tidings::pb::StreamMessagesRequest;
use tidings_testing::RedisServer;
use tokio::task::JoinSet;

use super::{Plan, Sample};
use crate::{
    load::{
        Feeder, Reader,
        frames::Order,
        grpc::{self, Connection},
        pace::Pace,
        publishing, resp,
        streams::Streams,
        target::Target,
        text,
    },
    stage::{Disk, History, Meter, Service, Watched},
};

/// Streams of one connection.
const STREAMS_EACH: usize = 10;
/// More than any run publishes in its time: an end all the same.
const MESSAGES: u64 = 50_000_000;

/// How messages are published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    /// Messages written at a time.
    pub(super) batch: usize,
    /// Messages that the slowest reader may lag.
    pub(super) window: u64,
}

/// As fast as it goes. The window is about half of what the subscriber's ring holds, so that streams stay on the live
/// path.
pub(super) const SATURATED: Flow = Flow { batch: 100, window: 2_000 };
/// The next message goes when all have the one before.
pub(super) const ONE_BY_ONE: Flow = Flow { batch: 1, window: 1 };

/// Our streams, fed by a raw client that pipelines PUBLISH.
pub(crate) async fn plain(plan: &mut Plan<'_>, streams: usize, flow: Flow) -> anyhow::Result<Sample> {
    by(plan, Service::Subscriber(Disk::None), streams, flow).await
}

/// The same by any subscriber.
pub(super) async fn by(plan: &mut Plan<'_>, service: Service, streams: usize, flow: Flow) -> anyhow::Result<Sample> {
    let subscriber = plan.stage.service(service).await?;
    let disk = service.disk().unwrap_or(Disk::None);
    let servers = [Watched::from(&*subscriber), plan.stage.watched(disk)];
    let readers = read(&subscriber.target, &plan.channel, streams, Order::Plain).await?;
    let (json, redis) = (text::plain_json(), plan.stage.plain_port(disk));
    let mut feeder = resp::Publisher::open(redis, &plan.channel, &json, 1).await?;
    deliver(readers, &mut feeder, &servers, plan.time, flow).await
}

/// Our streams, fed by `PublishStream` with history.
pub(crate) async fn numbered(plan: &mut Plan<'_>, streams: usize) -> anyhow::Result<Sample> {
    fed_by_stream(plan, streams, false).await
}

/// The same, and one stream more that does not read until the others are done.
pub(crate) async fn stalled(plan: &mut Plan<'_>, streams: usize) -> anyhow::Result<Sample> {
    fed_by_stream(plan, streams, true).await
}

async fn fed_by_stream(plan: &mut Plan<'_>, streams: usize, stalled: bool) -> anyhow::Result<Sample> {
    let subscriber = plan.stage.service(Service::Subscriber(Disk::None)).await?;
    // One that has stalled must find in the log what it missed.
    let history = if stalled { History::Million } else { History::Default };
    let publisher = plan.stage.service(Service::Publisher(Disk::None, history)).await?;
    let redis = plan.stage.redis(Disk::None);
    let servers = [Watched::from(&*subscriber), Watched::from(&*publisher), Watched::from(&*redis)];
    let readers = read(&subscriber.target, &plan.channel, streams, Order::Numbered).await?;
    let stalled_streams = usize::from(stalled);
    let mut opened = open(&subscriber.target, &plan.channel, stalled_streams, 1, Order::Numbered).await?;
    let mut feeder = publishing::Stream::open(publisher.target.clone(), &plan.channel, true).await?;
    let sample = deliver(readers, &mut feeder, &servers, plan.time, SATURATED).await?;
    if let Some(mut stream) = opened.streams.pop() {
        let all = feeder.settle().await?;
        while stream.more().await? < all {}
    }
    Ok(sample)
}

/// As many subscribers of Redis itself.
pub(crate) async fn bare(plan: &mut Plan<'_>, subscribers: usize) -> anyhow::Result<Sample> {
    let redis = plan.stage.redis(Disk::None);
    let (address, json) = (address(&redis), text::plain_json());
    let mut readers = Vec::with_capacity(subscribers);
    for _ in 0..subscribers {
        readers.push(resp::Subscriber::open(address, &plan.channel, &json).await?);
    }
    let mut feeder = resp::Publisher::open(address, &plan.channel, &json, subscribers).await?;
    deliver(readers, &mut feeder, &[Watched::from(&*redis)], plan.time, SATURATED).await
}

/// Readers of so many streams on a channel, ten a connection.
async fn read(subscriber: &Target, channel: &str, streams: usize, order: Order) -> anyhow::Result<Vec<Streams>> {
    let (request, mut readers) = (request(channel), Vec::new());
    for first in (0..streams).step_by(STREAMS_EACH) {
        let count = STREAMS_EACH.min(streams - first);
        readers.push(Streams::open(subscriber, &request, count, order).await?);
    }
    Ok(readers)
}

/// Streams, and the connections that they share.
pub(crate) struct Opened {
    pub(crate) streams: Vec<grpc::Stream>,
    pub(crate) connections: Vec<Connection>,
}

/// Opens streams on a channel, so many a connection.
pub(crate) async fn open(
    subscriber: &Target,
    channel: &str,
    count: usize,
    each: usize,
    order: Order,
) -> anyhow::Result<Opened> {
    let request = request(channel);
    let mut opened = Opened { streams: Vec::with_capacity(count), connections: Vec::new() };
    for n in 0..count {
        if n % each == 0 {
            opened.connections.push(Connection::open(subscriber.clone()).await?);
        }
        let connection = opened.connections.last().context("no connection")?;
        opened.streams.push(connection.follow(&request, order).await?);
    }
    Ok(opened)
}

/// A stream from now on.
pub(super) fn request(channel: &str) -> StreamMessagesRequest {
    StreamMessagesRequest { channel: channel.to_owned(), ..StreamMessagesRequest::default() }
}

/// Publishes for so long and waits until all readers have all of it.
pub(super) async fn deliver<R: Reader + 'static>(
    readers: Vec<R>,
    feeder: &mut impl Feeder,
    servers: &[Watched],
    time: Duration,
    flow: Flow,
) -> anyhow::Result<Sample> {
    let pace = Pace::new(readers.len());
    let streams: u64 = readers.iter().map(Reader::streams).sum();
    let mut reading = JoinSet::new();
    for (n, mut reader) in readers.into_iter().enumerate() {
        let pace = pace.clone();
        reading.spawn_local(async move {
            loop {
                match reader.more().await {
                    Ok(count) => pace.read(n, count),
                    Err(error) => return error,
                }
            }
        });
    }
    let publishing = async {
        let mut sent = 0;
        publish(feeder, &pace, &mut sent, time / 10, flow).await?;
        let (before, meter) = (sent, Meter::start(servers)?);
        publish(feeder, &pace, &mut sent, time, flow).await?;
        anyhow::Ok(Sample::rate((sent - before) * streams, meter.stop()?))
    };
    tokio::select! {
        sample = publishing => sample,
        Some(failed) = reading.join_next() => match failed {
            Ok(error) => Err(error.context("a reader")),
            Err(panic) => bail!("a reader: {panic}"),
        },
    }
}

async fn publish(
    feeder: &mut impl Feeder,
    pace: &Pace,
    sent: &mut u64,
    time: Duration,
    flow: Flow,
) -> anyhow::Result<()> {
    let began = std::time::Instant::now();
    while began.elapsed() < time && *sent < MESSAGES {
        pace.wait((*sent + flow.batch as u64).saturating_sub(flow.window)).await;
        feeder.send(flow.batch).await?;
        *sent += flow.batch as u64;
        // Readers on the same thread must get their turn.
        tokio::task::yield_now().await;
    }
    pace.wait(*sent).await;
    Ok(())
}

/// Where a Redis listens.
pub(crate) fn address(redis: &RedisServer) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], redis.port()))
}
