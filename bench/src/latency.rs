//! From the moment before a publish is sent to the moment its message is read from a stream, at 1,000 a second. A
//! publish that is late does not hold the next one up, so a stall shows in all that it delays.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tidings::pb::{
    PublishRequest, StreamMessagesRequest, publish_request::Payload, publisher_service_client::PublisherServiceClient,
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{MESSAGE_BYTES, bare, house::House, publishing, raw};

const INTERVAL: Duration = Duration::from_millis(1);
/// Messages at the beginning that are not counted: connections and tables are still cold.
const WARM_UP: usize = 200;

/// p50 and p99 in microseconds, through both services.
pub(crate) async fn tidings(house: &House, channel: &str, time: Duration) -> anyhow::Result<[f64; 2]> {
    let request = StreamMessagesRequest { channel: channel.to_owned(), ..StreamMessagesRequest::default() };
    let mut stream = raw::Stream::open(&house.subscriber().await?, raw::framed(&request)).await?;
    let client = PublisherServiceClient::new(house.publisher().await?);
    let began = Instant::now();
    let count = messages(time);
    let reader = tokio::spawn(async move {
        let mut delays = Delays::new(began)?;
        while delays.seen < count {
            let mut arrived = Ok(());
            stream.more(|seen| arrived = std::mem::replace(&mut arrived, Ok(())).and(delays.record(seen.text))).await?;
            arrived?;
        }
        Ok(delays.percentiles())
    });
    let publish = publishing::request(channel);
    send(count, |_| {
        let mut client = client.clone();
        let text = Payload::Text(stamped(began));
        let request = PublishRequest { payload: Some(text), ..publish.clone() };
        async move { Ok(client.publish(request).await.map(|_| ())?) }
    })
    .await?;
    reader.await?
}

/// p50 and p99 in microseconds, through Redis alone.
pub(crate) async fn bare(house: &House, channel: &str, time: Duration) -> anyhow::Result<[f64; 2]> {
    let mut subscriber = bare::Subscriber::open(house, channel).await?;
    let connection = house.redis().await?;
    let began = Instant::now();
    let count = messages(time);
    let reader = tokio::spawn(async move {
        let mut delays = Delays::new(began)?;
        while delays.seen < count {
            let mut arrived = Ok(());
            subscriber.more(|text| arrived = std::mem::replace(&mut arrived, Ok(())).and(delays.record(text))).await?;
            arrived?;
        }
        Ok(delays.percentiles())
    });
    send(count, |_| {
        let (mut connection, publish) = (connection.clone(), redis::Cmd::publish(channel, stamped(began)));
        async move { Ok(publish.exec_async(&mut connection).await?) }
    })
    .await?;
    reader.await?
}

fn messages(time: Duration) -> usize {
    WARM_UP + (time.as_millis() / INTERVAL.as_millis()) as usize
}

/// Starts one publish an interval, whether the one before is done or not.
async fn send<F>(count: usize, publish: impl Fn(usize) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = JoinSet::new();
    for n in 0..count {
        ticks.tick().await;
        under_way.spawn(publish(n));
        while let Some(done) = under_way.try_join_next() {
            done??;
        }
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    Ok(())
}

/// A text that says when it was made.
fn stamped(began: Instant) -> String {
    format!("{:0MESSAGE_BYTES$}", began.elapsed().as_nanos())
}

struct Delays {
    began: Instant,
    seen: usize,
    /// Nanoseconds.
    histogram: Histogram<u64>,
}

impl Delays {
    fn new(began: Instant) -> anyhow::Result<Self> {
        Ok(Self { began, seen: 0, histogram: Histogram::new(3)? })
    }

    fn record(&mut self, text: &[u8]) -> anyhow::Result<()> {
        let sent: u64 = std::str::from_utf8(text)?.parse()?;
        self.seen += 1;
        if self.seen > WARM_UP {
            let now = u64::try_from(self.began.elapsed().as_nanos())?;
            self.histogram.record(now.saturating_sub(sent))?;
        }
        Ok(())
    }

    fn percentiles(&self) -> [f64; 2] {
        [0.5, 0.99].map(|quantile| self.histogram.value_at_quantile(quantile) as f64 / 1_000.0)
    }
}
