//! Durable subscriptions: how fast a backlog is worked off, how fast messages go through while they are published, and
//! what subscriptions cost.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use tidings::pb::{CreateSubscriptionRequest, Subscription};
use tokio::task::JoinSet;

use super::{Plan, Sample, fanout, latency};
use crate::{
    load::{
        Feeder, Reader, amqp, caller,
        consuming::{Consumer, Habits},
        grpc::{CREATE_SUBSCRIPTION, Connection, PUBLISH, framed},
        nats,
        pace::Pace,
        publishing::{self, Stream},
        target::Target,
        text::{self, Pattern},
    },
    stage::{Disk, History, Meter, Peer, Process, Service, Watched, answers},
};

/// Messages that may be out, at all consumers of a subscription together.
const CREDIT: usize = 1_000;
/// Messages in the log before they are consumed: as many as the history keeps.
const BACKLOG: u64 = 100_000;
const QUICK_BACKLOG: u64 = 20_000;
/// Messages published at a time.
const BATCH: usize = 100;
/// Messages that the publisher may be ahead of the acknowledgements: the consumer always has as many as it may.
const FLOW: fanout::Flow = fanout::Flow { batch: BATCH, window: 4_000 };
/// Messages of which Redis's time is told.
const TIMED: u64 = 20_000;
/// Subscriptions at rest: as many as a channel may have, on some channels.
const CHANNELS: usize = 10;
const CHANNEL_SUBSCRIPTIONS: usize = 100;
/// How long they are left alone before they are looked at, and how long they are.
const REST: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_secs(8);

/// Messages a second that so many consumers take and acknowledge one by one, of a backlog.
pub(crate) async fn backlog(plan: &mut Plan<'_>, consumers: usize) -> anyhow::Result<Sample> {
    let stage = &mut plan.stage;
    let publisher = stage.service(Service::Publisher(Disk::EverySecond, History::Default)).await?;
    let subscriber = stage.service(Service::Subscriber(Disk::EverySecond)).await?;
    let servers = [Watched::from(&*subscriber), stage.watched(Disk::EverySecond)];
    let total = total(plan);
    create(&Connection::open(subscriber.target.clone()).await?, &plan.channel, &plan.channel).await?;
    fill(&mut Stream::open(publisher.target.clone(), &plan.channel, true).await?, total).await?;
    let habits = Habits { credit: i32::try_from(CREDIT / consumers)?, batch: 1, alone: consumers == 1 };
    let mut readers = Vec::new();
    for _ in 0..consumers {
        readers.push(consumer(&subscriber.target, &plan.channel, habits).await?);
    }
    work_off(readers, total, &servers).await
}

/// The same of one JetStream pull consumer, from files.
pub(crate) async fn jetstream(plan: &mut Plan<'_>) -> anyhow::Result<Sample> {
    let nats = plan.stage.peer(Peer::Nats).await?;
    let (address, payload, total) = (nats.target.address, text::numbered_json(), total(plan));
    nats::create(address, &plan.channel).await?;
    fill(&mut nats::Stream::open(address, &plan.channel, &payload, 0).await?, total).await?;
    let reader = nats::pull::Consumer::open(address, &plan.channel, &payload, total).await?;
    let sample = work_off(vec![reader], total, &[Watched::from(&*nats)]).await?;
    nats::delete(address, &plan.channel).await?;
    Ok(sample)
}

/// The same of one consumer of a RabbitMQ quorum queue.
pub(crate) async fn rabbitmq(plan: &mut Plan<'_>) -> anyhow::Result<Sample> {
    let rabbitmq = plan.stage.peer(Peer::RabbitMq).await?;
    let (address, payload, total) = (rabbitmq.target.address, text::numbered_json(), total(plan));
    let mut publisher = amqp::Publisher::open(address, &plan.channel, &payload).await?;
    fill(&mut publisher, total).await?;
    let reader = amqp::consumer::Consumer::open(address, &plan.channel, &payload, total).await?;
    let sample = work_off(vec![reader], total, &[Watched::from(&*rabbitmq)]).await?;
    publisher.delete().await?;
    Ok(sample)
}

/// Messages a second from a `PublishStream` with history to the acknowledgement, one by one.
pub(crate) async fn through(plan: &mut Plan<'_>) -> anyhow::Result<Sample> {
    let stage = &mut plan.stage;
    let publisher = stage.service(Service::Publisher(Disk::EverySecond, History::Default)).await?;
    let subscriber = stage.service(Service::Subscriber(Disk::EverySecond)).await?;
    let redis = stage.watched(Disk::EverySecond);
    let servers = [Watched::from(&*subscriber), Watched::from(&*publisher), redis];
    create(&Connection::open(subscriber.target.clone()).await?, &plan.channel, &plan.channel).await?;
    let habits = Habits { credit: i32::try_from(CREDIT)?, batch: 1, alone: true };
    let reader = consumer(&subscriber.target, &plan.channel, habits).await?;
    let mut feeder = Stream::open(publisher.target.clone(), &plan.channel, true).await?;
    fanout::deliver(vec![reader], &mut feeder, &servers, plan.time, FLOW).await
}

/// p50 and p99 in microseconds from a publish to the consumer.
pub(crate) async fn delays(plan: &mut Plan<'_>) -> anyhow::Result<Sample> {
    let stage = &mut plan.stage;
    let publisher = stage.service(Service::Publisher(Disk::None, History::Default)).await?;
    let subscriber = stage.service(Service::Subscriber(Disk::None)).await?;
    let servers = [Watched::from(&*publisher), Watched::from(&*subscriber), stage.watched(Disk::None)];
    create(&Connection::open(subscriber.target.clone()).await?, &plan.channel, &plan.channel).await?;
    let habits = Habits { credit: i32::try_from(CREDIT)?, batch: 1, alone: false };
    let reader = consumer(&subscriber.target, &plan.channel, habits).await?;
    let (mut caller, answers) = caller::open(&publisher.target, PUBLISH).await?;
    let mut request = Pattern::new(framed(&publishing::request(&plan.channel)).to_vec());
    let mut answers = Some(answers.read(latency::count(plan.time)));
    latency::measure(plan.time, &servers, reader, async |calls| {
        answers.take().map(|answers| calls.spawn_local(answers));
        let called = caller.call(request.bytes()).await;
        request.step();
        called
    })
    .await
}

/// Microseconds of Redis that a message takes to be claimed and acknowledged, so many at a time.
pub(crate) async fn redis_time(plan: &mut Plan<'_>, batch: usize) -> anyhow::Result<Sample> {
    let stage = &mut plan.stage;
    let publisher = stage.service(Service::Publisher(Disk::None, History::Default)).await?;
    let subscriber = stage.service(Service::Subscriber(Disk::None)).await?;
    let servers = [Watched::from(&*subscriber), stage.watched(Disk::None)];
    create(&Connection::open(subscriber.target.clone()).await?, &plan.channel, &plan.channel).await?;
    fill(&mut Stream::open(publisher.target.clone(), &plan.channel, true).await?, TIMED).await?;
    let redis = stage.redis(Disk::None);
    let before = script_time(&redis.command(&["INFO", "commandstats"]))?;
    let habits = Habits { credit: i32::try_from(batch)?, batch, alone: true };
    let reader = consumer(&subscriber.target, &plan.channel, habits).await?;
    let Sample { usage, .. } = work_off(vec![reader], TIMED, &servers).await?;
    let spent = script_time(&redis.command(&["INFO", "commandstats"]))? - before;
    Ok(Sample { figures: vec![spent / TIMED as f64], usage })
}

/// How many percent of a processor the subscriber takes, and Redis, for subscriptions whose consumers have nothing to
/// do.
pub(crate) async fn at_rest(plan: &mut Plan<'_>) -> anyhow::Result<Sample> {
    // One of its own, which is gone with its consumers.
    let subscriber: Process = plan.stage.start(Service::Subscriber(Disk::None))?;
    answers(Service::Subscriber(Disk::None), &subscriber.target).await?;
    let servers = [Watched::from(&subscriber), plan.stage.watched(Disk::None)];
    let habits = Habits { credit: i32::try_from(CREDIT)?, batch: 1, alone: true };
    let mut consumers = Vec::new();
    for n in 0..CHANNELS {
        let connection = Rc::new(Connection::open(subscriber.target.clone()).await?);
        let channel = format!("{}.{n}", plan.channel);
        for m in 0..CHANNEL_SUBSCRIPTIONS {
            let name = format!("{channel}.{m}");
            create(&connection, &channel, &name).await?;
            consumers.push(Consumer::open(&connection, &name, habits).await?);
        }
    }
    tokio::time::sleep(REST).await;
    let meter = Meter::start(&servers)?;
    tokio::time::sleep(if plan.quick { LOOK / 4 } else { LOOK }).await;
    let usage = meter.stop()?;
    let figures = usage.servers.iter().map(|(_, spent)| 100.0 * spent / usage.wall).collect();
    Ok(Sample { figures, usage })
}

fn total(plan: &Plan<'_>) -> u64 {
    if plan.quick { QUICK_BACKLOG } else { BACKLOG }
}

/// Creates a subscription that begins with the oldest message.
async fn create(connection: &Connection, channel: &str, name: &str) -> anyhow::Result<()> {
    let subscription = Subscription { name: name.to_owned(), channel: channel.to_owned(), ..Subscription::default() };
    let request = CreateSubscriptionRequest { subscription: Some(subscription), earliest: true, ..Default::default() };
    connection.unary(&connection.method(CREATE_SUBSCRIPTION)?, framed(&request)).await?;
    Ok(())
}

/// A consumer on a connection of its own.
async fn consumer(subscriber: &Target, name: &str, habits: Habits) -> anyhow::Result<Consumer> {
    let connection = Rc::new(Connection::open(subscriber.clone()).await?);
    Consumer::open(&connection, name, habits).await
}

/// Publishes so many messages, and waits until all are answered.
async fn fill(feeder: &mut impl Feeder, total: u64) -> anyhow::Result<()> {
    for _ in 0..total / BATCH as u64 {
        feeder.send(BATCH).await?;
        tokio::task::yield_now().await;
    }
    ensure!(feeder.settle().await? == total, "not all were published");
    Ok(())
}

/// What consumers of one backlog have done together.
struct Progress {
    pace: Pace,
    done: Cell<u64>,
    /// The texts that have come, by their counters.
    came: RefCell<Vec<bool>>,
}

impl Progress {
    /// A consumer has come from so many acknowledged messages to more, and was given these texts.
    fn note(&self, before: u64, now: u64, counters: Option<Vec<u64>>) -> anyhow::Result<()> {
        for counter in counters.unwrap_or_default() {
            let at = usize::try_from(counter)?;
            let mut came = self.came.borrow_mut();
            ensure!(!std::mem::replace(came.get_mut(at).context("never sent")?, true), "message {counter} came twice");
        }
        self.done.set(self.done.get() + now - before);
        self.pace.read(0, self.done.get());
        Ok(())
    }
}

/// Reads until all of a backlog is acknowledged; the first tenth is not counted.
async fn work_off<R: Reader + 'static>(readers: Vec<R>, total: u64, servers: &[Watched]) -> anyhow::Result<Sample> {
    let came = RefCell::new(vec![false; usize::try_from(total)? + 1]);
    let progress = Rc::new(Progress { pace: Pace::new(1), done: Cell::new(0), came });
    let mut reading: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for mut reader in readers {
        let progress = Rc::clone(&progress);
        reading.spawn_local(async move {
            let mut before = 0;
            loop {
                let now = reader.more().await?;
                progress.note(before, now, reader.shuffled())?;
                before = now;
            }
        });
    }
    let working = async {
        progress.pace.wait(total / 10).await;
        let (before, meter) = (progress.done.get(), Meter::start(servers)?);
        progress.pace.wait(total).await;
        let usage = meter.stop()?;
        ensure!(progress.done.get() == total, "{} acknowledged of {total}", progress.done.get());
        Ok(Sample::rate(total - before, usage))
    };
    tokio::select! {
        sample = working => sample,
        Some(failed) = reading.join_next() => match failed {
            Ok(ended) => ended.and_then(|()| bail!("a consumer ended")),
            Err(panic) => bail!("a consumer: {panic}"),
        },
    }
}

/// Microseconds that Redis has spent on scripts, with all that they called.
fn script_time(stats: &str) -> anyhow::Result<f64> {
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:")).context("no scripts")?;
    let spent = line.split(',').find_map(|part| part.strip_prefix("usec=")).context("no time")?;
    Ok(spent.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_scripts_is_that_of_their_calls() {
        let stats = "# Commandstats\r\ncmdstat_eval:calls=1,usec=9\r\n\
                     cmdstat_evalsha:calls=7,usec=126,usec_per_call=18.00,rejected_calls=0,failed_calls=0\r\n";
        assert_eq!(script_time(stats).expect("a time"), 126.0);
        assert!(script_time("# Commandstats\r\n").is_err());
    }
}
