//! `tidings bench`: what a running deployment can do, and whether it keeps its word meanwhile.
//!
//! Publishers and streams are in this process, so one clock measures from end to end. Each message is numbered by its
//! publisher; what has a receipt must come to every stream, once. The load is bounded: by a rate, by publishes under
//! way, and in time.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use clap::Args;
use hdrhistogram::Histogram;
use tidings::{
    limits::{
        BENCH_LINGER, BENCH_LONGEST, BENCH_PUBLISHERS, BENCH_SECONDS, BENCH_SIZE_MAX, BENCH_SIZE_MIN, BENCH_STREAMS,
        BENCH_STREAMS_PER_CONNECTION, BENCH_TICK, COMMAND_COUNT,
    },
    pb::{StreamMessagesRequest, StreamMessagesResponse},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use crate::{
    client::{Calls, PublisherAddress, SubscriberAddress, SubscriberClient},
    error::Error,
    output::{Out, OutputOrJson, note},
    progress::Progress,
    tail::Resume,
};

mod load;
mod reader;
mod report;
mod tally;

use load::Load;
use reader::{Expected, Read, Reader, Shared};
use report::{Report, Spread};

/// Measure a running deployment: messages a second, and how long they take from end to end
///
/// It publishes on a channel of its own, whose name nobody has used, reads along with as many streams as --streams
/// says, and checks that each message with a receipt came to each stream once. It exits with 1 when one was lost or
/// came twice, or when publishes failed. What it published stays in the log of its channel until that expires, like all
/// messages; other channels are not touched.
///
/// By default it publishes 1,000 messages a second, which disturbs nobody. With --rate 0 it finds out how many there
/// can be: then times include waiting for the messages before, and this command's own machine is a limit as well.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings bench                                      1,000 messages a second for ten seconds
  tidings bench --rate 0 --publishers 4              as many as there can be
  tidings bench --streams 100 --rate 200             how a fan-out does
  tidings bench --json | jq .end_to_end_ms.p99       one JSON object, for programs")]
pub(crate) struct Bench {
    /// How many streams read along
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(BENCH_STREAMS)))]
    streams: u32,
    /// How many publishers publish, each on a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(BENCH_PUBLISHERS)))]
    publishers: u32,
    /// How large each message is
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = clap::value_parser!(u64).range(BENCH_SIZE_MIN..=BENCH_SIZE_MAX))]
    size: u64,
    /// How long it publishes
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=i64::from(BENCH_SECONDS)))]
    seconds: u32,
    /// Messages a second, of all publishers together; 0 is as many as there can be
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(0..=COMMAND_COUNT))]
    rate: u64,
    #[command(flatten)]
    output: OutputOrJson,
    #[command(flatten)]
    publisher: PublisherAddress,
    #[command(flatten)]
    subscriber: SubscriberAddress,
    #[command(flatten)]
    calls: Calls,
}

/// The one clock of a measurement: nanoseconds since its beginning.
#[derive(Debug, Clone, Copy)]
struct Clock(Instant);

/// How long things took.
struct Times(Mutex<Histogram<u64>>);

impl Bench {
    /// Measures, prints what was found, and fails where a promise was broken.
    pub(crate) async fn run(self, out: &mut Out) -> Result<(), Error> {
        let is_json = self.output.is_json();
        let channel = format!("tidings-bench-{:016x}", fastrand::u64(..));
        let clock = Clock(Instant::now());
        let shared = Arc::new(Shared {
            clock,
            arrivals: Times::new(),
            received: AtomicU64::new(0),
            complete: AtomicUsize::new(0),
        });
        let (expected, awaited) = watch::channel(None);
        let stop = CancellationToken::new();
        let mut readers = self.readers(&channel, &awaited, &shared, &stop).await?;
        if !is_json {
            note(format_args!("measuring on {channel} for {} s", self.seconds));
        }
        let (load, start) = (self.load(channel.clone(), clock), Instant::now());
        let (published, receipts) = (load.published.clone(), load.receipts.clone());
        let mut publishers = JoinSet::new();
        for number in 0..self.publishers as usize {
            publishers.spawn(load.clone().run(number, self.publisher.clone(), self.calls.clone(), start));
        }
        let total = (self.rate > 0).then(|| self.rate * u64::from(self.seconds));
        let progress = if is_json && out.is_terminal() { Progress::hidden() } else { Progress::new(total) };
        let done = until_ended(&mut publishers, || {
            progress.set(published.load(Ordering::Relaxed));
            progress.say(format!("p99 {:.2} ms", shared.arrivals.quantile_ms(0.99)));
        });
        let done = done.await?;
        let ended = done.iter().map(|done| done.ended).max().unwrap_or(start);
        let failed = done.iter().map(|done| done.failed).sum();
        let failure = done.iter().find_map(|done| done.failure.clone());
        expected.send_replace(Some(Arc::new(done.into_iter().map(|done| done.published).collect())));
        self.until_complete(&shared).await;
        let delivered_in = start.elapsed();
        sleep(BENCH_LINGER).await;
        drop(progress);
        stop.cancel();
        let read = until_ended(&mut readers, || {}).await?;

        let sum = |of: &dyn Fn(&Read) -> u64| read.iter().map(of).sum::<u64>();
        let published = published.load(Ordering::Relaxed);
        let delivered = sum(&|read| read.tally.received);
        let lost = match awaited.borrow().as_ref() {
            Some(published) => sum(&|read| read.tally.lost(published)),
            None => 0,
        };
        let seconds = (ended - start).as_secs_f64();
        let report = Report {
            channel,
            publishers: self.publishers,
            streams: self.streams,
            size: self.size as usize,
            seconds,
            published,
            failed,
            publish_rate: published as f64 / seconds,
            delivered,
            delivery_rate: delivered as f64 / delivered_in.as_secs_f64(),
            receipt_ms: Spread::of(&receipts),
            end_to_end_ms: Spread::of(&shared.arrivals),
            lost,
            doubled: sum(&|read| read.tally.doubled),
            gaps: sum(&|read| read.gaps),
            reconnections: sum(&|read| read.reconnections),
        };
        report.print(is_json, out)?;
        report.fault(failure).map_or(Ok(()), |fault| Err(Error::Broken(fault)))
    }

    fn load(&self, channel: String, clock: Clock) -> Load {
        Load {
            channel,
            size: self.size as usize,
            duration: Duration::from_secs(self.seconds.into()),
            rate: (self.rate > 0).then(|| self.rate as f64 / f64::from(self.publishers)),
            clock,
            receipts: Arc::new(Times::new()),
            published: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Opens all streams. Whatever is published from now on comes to each of them.
    async fn readers(
        &self,
        channel: &str,
        expected: &watch::Receiver<Expected>,
        shared: &Arc<Shared>,
        stop: &CancellationToken,
    ) -> Result<JoinSet<Result<Read, Error>>, Error> {
        let address = &self.subscriber.address;
        let mut readers = JoinSet::new();
        let mut client = None;
        for number in 0..self.streams as usize {
            if number % BENCH_STREAMS_PER_CONNECTION == 0 {
                client = Some(self.calls.of(address, self.subscriber.connect(&self.calls)).await?);
            }
            let Some(mut client) = client.clone() else { continue };
            let resume = Resume::new(channel, StreamMessagesRequest::default());
            let stream = self.calls.of(address, open(&mut client, &resume)).await?;
            let reader = Reader {
                client,
                resume,
                stream,
                publishers: self.publishers as usize,
                expected: expected.clone(),
                shared: shared.clone(),
                timeout: self.calls.duration(),
            };
            readers.spawn(reader.run(stop.clone()));
        }
        Ok(readers)
    }

    /// Waits until every stream has all, or none has received anything for as long as an answer may take.
    async fn until_complete(&self, shared: &Shared) {
        let mut seen = (shared.received.load(Ordering::Relaxed), Instant::now());
        while shared.complete.load(Ordering::Relaxed) < self.streams as usize {
            sleep(BENCH_TICK).await;
            let received = shared.received.load(Ordering::Relaxed);
            if received != seen.0 {
                seen = (received, Instant::now());
            } else if seen.1.elapsed() > self.calls.duration() {
                return;
            }
        }
    }
}

async fn open(client: &mut SubscriberClient, resume: &Resume) -> Result<Streaming<StreamMessagesResponse>, Error> {
    Ok(client.stream_messages(resume.request()).await?.into_inner())
}

/// What all tasks came to; the first error ends the others. `look` is called now and then.
async fn until_ended<T: 'static>(tasks: &mut JoinSet<Result<T, Error>>, look: impl Fn()) -> Result<Vec<T>, Error> {
    let mut done = Vec::new();
    loop {
        match timeout(BENCH_TICK, tasks.join_next()).await {
            Ok(None) => return Ok(done),
            Ok(Some(ended)) => done.push(ended.map_err(Error::serve)??),
            Err(_) => {}
        }
        look();
    }
}

impl Clock {
    fn at(self, time: Instant) -> u64 {
        (time - self.0).as_nanos() as u64
    }

    /// How long ago that was.
    fn since(self, nanos: u64) -> Duration {
        self.0.elapsed().saturating_sub(Duration::from_nanos(nanos))
    }
}

impl Times {
    fn new() -> Self {
        let longest = BENCH_LONGEST.as_micros() as u64;
        Self(Mutex::new(Histogram::new_with_bounds(1, longest, 3).expect("these bounds are in order")))
    }

    fn record(&self, time: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(time.as_micros() as u64);
    }

    fn quantile_ms(&self, quantile: f64) -> f64 {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if times.is_empty() { 0.0 } else { times.value_at_quantile(quantile) as f64 / 1_000.0 }
    }
}
