//! What a delivery costs the subscriber as the streams get more.

use super::{Plan, Sample, fanout};
use crate::stage::{Disk, Service, Watched};

/// Fewer messages under way than elsewhere, or ten thousand streams would have gigabytes of them in sockets.
const FLOW: fanout::Flow = fanout::Flow { batch: 100, window: 200 };

/// Nanoseconds of the subscriber's processor time a delivery to so many streams.
pub(crate) async fn delivery(plan: &mut Plan<'_>, streams: usize) -> anyhow::Result<Sample> {
    let mut sample = fanout::plain(plan, streams, FLOW).await?;
    let subscriber = plan.stage.service(Service::Subscriber(Disk::None)).await?;
    let name = Watched::from(&*subscriber).name();
    let spent: f64 = sample.usage.servers.iter().filter(|(server, _)| *server == name).map(|(_, spent)| spent).sum();
    let deliveries = sample.figures[0] * sample.usage.wall;
    sample.figures = vec![spent * 1e9 / deliveries];
    Ok(sample)
}
