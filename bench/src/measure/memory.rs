//! Memory of the subscriber for streams that have nothing to do.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{Plan, Sample, fanout};
use crate::{
    load::frames::Order,
    stage::{Disk, Meter, Process, Service, Watched, answers},
};

/// How long its memory must stay the same to be taken for settled, and how long that may take.
const STILL: Duration = Duration::from_millis(500);
const SETTLED: Duration = Duration::from_secs(10);

/// KiB an idle stream, so many on a connection.
pub(crate) async fn idle(plan: &mut Plan<'_>, each: usize) -> anyhow::Result<Sample> {
    let streams = if plan.quick { 2_000 } else { 4_000 };
    let subscriber = plan.stage.start(Service::Subscriber(Disk::None))?;
    answers(Service::Subscriber(Disk::None), &subscriber.target).await?;
    let meter = Meter::start(&[Watched::from(&subscriber)])?;
    let before = settled(&subscriber, plan.quick).await?;
    let opened = fanout::open(&subscriber.target, &plan.channel, streams, each, Order::Numbered).await?;
    let after = settled(&subscriber, plan.quick).await?;
    drop(opened);
    let figures = vec![(after - before) / streams as f64 / 1024.0];
    Ok(Sample { figures, usage: meter.stop()? })
}

async fn settled(process: &Process, quick: bool) -> anyhow::Result<f64> {
    let began = Instant::now();
    let (mut since, mut resident) = (began, process.resident()?);
    let still = if quick { STILL } else { STILL * 4 };
    while since.elapsed() < still && began.elapsed() < SETTLED {
        sleep(Duration::from_millis(50)).await;
        let now = process.resident()?;
        if now != resident {
            (since, resident) = (Instant::now(), now);
        }
    }
    Ok(resident)
}
