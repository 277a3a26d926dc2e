//! From the moment before a publish is sent to the moment its message is read, at 2,000 a second. A publish that is
//! late does not hold the next one up, so a stall shows in all that it delays.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use tokio::{sync::mpsc, task::JoinSet};

use super::{Plan, Sample, fanout};
use crate::{
    load::{
        Feeder as _, Reader, caller,
        frames::Order,
        grpc::{PUBLISH, framed},
        publishing, resp,
        text::{self, Pattern},
    },
    stage::{Disk, History, Meter, Service, Watched},
};

/// Between two publishes.
const INTERVAL: Duration = Duration::from_micros(500);
/// Publishes at the beginning that are not counted: connections and tables are still cold.
const WARM_UP: usize = 200;

/// p50 and p99 in microseconds, through both services.
pub(crate) async fn tidings(plan: &mut Plan<'_>) -> anyhow::Result<Sample> {
    let publisher = plan.stage.service(Service::Publisher(Disk::None, History::Default)).await?;
    let subscriber = plan.stage.service(Service::Subscriber(Disk::None)).await?;
    let redis = plan.stage.redis(Disk::None);
    let servers = [Watched::from(&*publisher), Watched::from(&*subscriber), Watched::from(&*redis)];
    let mut opened = fanout::open(&subscriber.target, &plan.channel, 1, 1, Order::Shuffled).await?;
    let stream = opened.streams.pop().context("a stream")?;
    let (mut caller, answers) = caller::open(&publisher.target, PUBLISH).await?;
    let mut request = Pattern::new(framed(&publishing::request(&plan.channel)).to_vec());
    let mut answers = Some(answers.read(count(plan.time)));
    measure(plan.time, &servers, stream, async |calls| {
        // They are read beside the calls.
        answers.take().map(|answers| calls.spawn_local(answers));
        let called = caller.call(request.bytes()).await;
        request.step();
        called
    })
    .await
}

/// The same through Redis alone.
pub(crate) async fn bare(plan: &mut Plan<'_>) -> anyhow::Result<Sample> {
    let redis = plan.stage.redis(Disk::None);
    let (address, json) = (fanout::address(&redis), text::plain_json());
    let subscriber = resp::Subscriber::open(address, &plan.channel, &json).await?;
    let mut publisher = resp::Publisher::open(address, &plan.channel, &json, 1).await?;
    measure(plan.time, &[Watched::from(&*redis)], subscriber, async |_| publisher.send(1).await).await
}

/// Calls under way.
pub(super) type Calls = JoinSet<anyhow::Result<()>>;

/// Publishes at the pace and reads beside it.
pub(super) async fn measure<R: Reader + 'static>(
    time: Duration,
    servers: &[Watched],
    reader: R,
    publish: impl AsyncFnMut(&mut Calls) -> anyhow::Result<()>,
) -> anyhow::Result<Sample> {
    let count = count(time);
    let sent = Rc::new(RefCell::new(Vec::with_capacity(count)));
    let mut reading = JoinSet::new();
    reading.spawn_local(read(reader, Rc::clone(&sent), count));
    let meter = Meter::start(servers)?;
    send(count, &sent, publish).await?;
    let delays = reading.join_next().await.context("no reader")???;
    Ok(Sample { figures: percentiles(&delays), usage: meter.stop()? })
}

/// How many are published in this time.
pub(super) fn count(time: Duration) -> usize {
    WARM_UP + (time.as_micros() / INTERVAL.as_micros()) as usize
}

/// Starts one publish an interval, whether the one before is done or not.
async fn send(
    count: usize,
    sent: &RefCell<Vec<Instant>>,
    mut publish: impl AsyncFnMut(&mut Calls) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // A thread that sleeps is more exact than the runtime's timer, which knows milliseconds.
    let (tick, mut ticks) = mpsc::channel(1_024);
    let began = Instant::now();
    let clock = std::thread::spawn(move || {
        for n in 0..count as u32 {
            std::thread::sleep((INTERVAL * n).saturating_sub(began.elapsed()));
            if tick.blocking_send(()).is_err() {
                return;
            }
        }
    });
    let mut calls = Calls::new();
    while ticks.recv().await.is_some() {
        sent.borrow_mut().push(Instant::now());
        publish(&mut calls).await?;
        while let Some(done) = calls.try_join_next() {
            done??;
        }
    }
    while let Some(done) = calls.join_next().await {
        done??;
    }
    ensure!(clock.join().is_ok(), "the clock panicked");
    Ok(())
}

async fn read(
    mut reader: impl Reader,
    sent: Rc<RefCell<Vec<Instant>>>,
    count: usize,
) -> anyhow::Result<Histogram<u64>> {
    let (mut delays, mut seen, mut came) = (Histogram::new(3)?, 0, vec![false; count]);
    while seen < count as u64 {
        let all = reader.more().await?;
        let now = Instant::now();
        for counter in reader.shuffled().unwrap_or_else(|| (seen + 1..=all).collect()) {
            let at = usize::try_from(counter)? - 1;
            ensure!(!std::mem::replace(came.get_mut(at).context("never sent")?, true), "message {counter} came twice");
            let left = *sent.borrow().get(at).context("not sent yet")?;
            if at >= WARM_UP {
                delays.record(u64::try_from((now - left).as_nanos())?)?;
            }
        }
        seen = all;
    }
    Ok(delays)
}

pub(super) fn percentiles(nanoseconds: &Histogram<u64>) -> Vec<f64> {
    [0.5, 0.99].map(|quantile| nanoseconds.value_at_quantile(quantile) as f64 / 1_000.0).to_vec()
}
