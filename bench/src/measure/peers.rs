//! The same measurements with what others use.

use std::{rc::Rc, time::Duration};

use anyhow::ensure;

use super::{
    Plan, Sample,
    fanout::{self, Flow},
    latency,
    publishing::{CONNECTIONS, feed},
    together,
};
use crate::{
    load::{
        Feeder as _, amqp,
        http::{self, Events, Pool, post},
        nats, text,
    },
    stage::{Disk, Meter, Peer, Watched},
};

/// Subscriptions of one NATS connection, as many as ours has streams.
const SUBSCRIPTIONS_EACH: usize = 10;
/// Requests at once, each on a connection of its own, as HTTP/1.1 has it: as many as `Publish` calls are in flight.
const REQUESTS: usize = 256;
/// How long the Node.js pair runs before it is measured for the first time.
const WARM_UP: Duration = Duration::from_secs(3);

/// Deliveries a second of NATS core.
pub(crate) async fn nats_fanout(plan: &mut Plan<'_>, subscribers: usize, flow: Flow) -> anyhow::Result<Sample> {
    let nats = plan.stage.peer(Peer::Nats).await?;
    let (payload, mut readers) = (text::plain_json(), Vec::new());
    for first in (0..subscribers).step_by(SUBSCRIPTIONS_EACH) {
        let count = SUBSCRIPTIONS_EACH.min(subscribers - first);
        readers.push(nats::Subscriber::open(nats.target.address, &plan.channel, &payload, count).await?);
    }
    let mut feeder = nats::Publisher::open(nats.target.address, &plan.channel, &payload).await?;
    fanout::deliver(readers, &mut feeder, &[Watched::from(&*nats)], plan.time, flow).await
}

/// Messages a second into a JetStream stream in files.
pub(crate) async fn jetstream(plan: &mut Plan<'_>) -> anyhow::Result<Sample> {
    let nats = plan.stage.peer(Peer::Nats).await?;
    nats::create(nats.target.address, &plan.channel).await?;
    let (payload, mut streams) = (text::numbered_json(), Vec::new());
    for n in 0..CONNECTIONS {
        streams.push(nats::Stream::open(nats.target.address, &plan.channel, &payload, n).await?);
    }
    let (sample, streams) = feed(streams, &[Watched::from(&*nats)], plan.time).await?;
    let (mut published, mut last) = (0, 0);
    for mut stream in streams {
        published += stream.settle().await?;
        last = last.max(stream.last());
    }
    ensure!(published == last, "{published} acknowledgements, but the last sequence is {last}");
    nats::delete(nats.target.address, &plan.channel).await?;
    Ok(sample)
}

/// Messages a second into a RabbitMQ quorum queue, confirmed.
pub(crate) async fn rabbitmq(plan: &mut Plan<'_>) -> anyhow::Result<Sample> {
    let rabbitmq = plan.stage.peer(Peer::RabbitMq).await?;
    let (payload, mut publishers) = (text::numbered_json(), Vec::new());
    for _ in 0..CONNECTIONS {
        publishers.push(amqp::Publisher::open(rabbitmq.target.address, &plan.channel, &payload).await?);
    }
    let (sample, mut publishers) = feed(publishers, &[Watched::from(&*rabbitmq)], plan.time).await?;
    if let Some(publisher) = publishers.pop() {
        publisher.delete().await?;
    }
    Ok(sample)
}

/// POSTs a second to the Node.js publisher.
pub(crate) async fn node_post(plan: &mut Plan<'_>) -> anyhow::Result<Sample> {
    let node = plan.stage.peer(Peer::NodePublisher).await?;
    let servers = [Watched::from(&*node), Watched::from(&*plan.stage.redis(Disk::None))];
    let request: Rc<[u8]> = post(&plan.channel).bytes().into();
    let mut connections = Vec::new();
    for _ in 0..REQUESTS {
        connections.push(http::Connection::open(node.target.address).await?);
    }
    let mut last = None;
    let warm_up = if plan.stage.is_cold(Peer::NodePublisher) { WARM_UP } else { plan.time / 10 };
    for time in [warm_up, plan.time] {
        let (meter, began) = (Meter::start(&servers)?, std::time::Instant::now());
        let callers = connections.into_iter().map(|mut connection| {
            let request = Rc::clone(&request);
            async move {
                let mut count = 0;
                while began.elapsed() < time {
                    connection.call(&request).await?;
                    count += 1;
                }
                Ok((connection, count))
            }
        });
        let done = together(callers.collect::<Vec<_>>()).await?;
        let count = done.iter().map(|(_, count)| count).sum();
        last = Some(Sample::rate(count, meter.stop()?));
        connections = done.into_iter().map(|(connection, _)| connection).collect();
    }
    Ok(last.unwrap_or_default())
}

/// p50 and p99 from a POST to a server-sent event, through both Node.js services.
pub(crate) async fn node_latency(plan: &mut Plan<'_>) -> anyhow::Result<Sample> {
    if plan.stage.is_cold(Peer::NodeSubscriber) {
        post_to_event(plan, &format!("{}.warm", plan.channel), WARM_UP).await?;
    }
    post_to_event(plan, &plan.channel.clone(), plan.time).await
}

async fn post_to_event(plan: &mut Plan<'_>, channel: &str, time: Duration) -> anyhow::Result<Sample> {
    let publisher = plan.stage.peer(Peer::NodePublisher).await?;
    let subscriber = plan.stage.peer(Peer::NodeSubscriber).await?;
    let redis = plan.stage.redis(Disk::None);
    let servers = [Watched::from(&*publisher), Watched::from(&*subscriber), Watched::from(&*redis)];
    let events = Events::open(subscriber.target.address, channel).await?;
    let (pool, mut request) = (Rc::new(Pool::new(publisher.target.address)), post(channel));
    latency::measure(time, &servers, events, async |calls| {
        let (pool, bytes) = (Rc::clone(&pool), request.bytes().to_vec());
        request.step();
        calls.spawn_local(async move { pool.call(&bytes).await });
        Ok(())
    })
    .await
}
