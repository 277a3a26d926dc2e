//! Whether streams that have nothing to do with a publish make it slower.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::{Plan, Sample, fanout, latency::percentiles};
use crate::{
    load::{
        frames::Order,
        grpc::{Connection, PUBLISH, framed},
        publishing,
    },
    stage::{Disk, History, Meter, Service, Watched, answers},
};

/// How often is published where other streams are open.
const SLOW_INTERVAL: Duration = Duration::from_millis(10);
/// What p99 is worth anything of.
const TIME_MIN: Duration = Duration::from_secs(2);
/// Streams of one connection.
const STREAMS_EACH: usize = 100;

/// p99, in microseconds, of 100 publishes a second to a channel that none of so many open streams follows: each of them
/// follows a channel of its own.
pub(crate) async fn other_streams(plan: &mut Plan<'_>, streams: usize) -> anyhow::Result<Sample> {
    let publisher = plan.stage.service(Service::Publisher(Disk::None, History::Default)).await?;
    // A subscriber of its own, which is gone with the streams.
    let subscriber = plan.stage.start(Service::Subscriber(Disk::None))?;
    answers(Service::Subscriber(Disk::None), &subscriber.target).await?;
    let servers = [Watched::from(&*publisher), Watched::from(&subscriber)];
    let (mut connections, mut opened) = (Vec::new(), Vec::new());
    for first in (0..streams).step_by(STREAMS_EACH) {
        let connection = Connection::open(subscriber.target.clone()).await?;
        for n in first..streams.min(first + STREAMS_EACH) {
            opened.push(connection.follow(&fanout::request(&format!("{}.{n}", plan.channel)), Order::Numbered).await?);
        }
        connections.push(connection);
    }
    let connection = Connection::open(publisher.target.clone()).await?;
    let (method, message) = (connection.method(PUBLISH)?, framed(&publishing::request(&plan.channel)));
    let count = (plan.time.max(TIME_MIN).as_millis() / SLOW_INTERVAL.as_millis()) as u32;
    let mut delays: Histogram<u64> = Histogram::new(3)?;
    let meter = Meter::start(&servers)?;
    for n in 0..count {
        tokio::time::sleep((SLOW_INTERVAL * n).saturating_sub(meter.elapsed())).await;
        let began = Instant::now();
        connection.unary(&method, message.clone()).await?;
        delays.record(u64::try_from(began.elapsed().as_nanos())?)?;
    }
    Ok(Sample { figures: vec![percentiles(&delays)[1]], usage: meter.stop()? })
}
