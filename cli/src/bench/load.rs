//! One publisher of a measurement: sends numbered messages for a time, and remembers which have a receipt.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tidings::{
    limits::{BENCH_FAILURES, BENCH_IN_FLIGHT},
    pb::{PublishRequest, publish_request::Payload},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{Clock, Times, tally::Published};
use crate::{
    call::{self, Requests},
    client::{Calls, PublisherAddress},
    error::{Error, describe},
};

/// What each publisher does.
#[derive(Clone)]
pub(super) struct Load {
    pub(super) channel: String,
    pub(super) size: usize,
    pub(super) duration: Duration,
    /// Messages a second of this publisher; as fast as they are answered where there is none.
    pub(super) rate: Option<f64>,
    pub(super) clock: Clock,
    /// From when a message was due to its receipt.
    pub(super) receipts: Arc<Times>,
    /// Receipts of all publishers.
    pub(super) published: Arc<AtomicU64>,
}

/// What a publisher came to.
pub(super) struct Done {
    pub(super) published: Published,
    /// Messages that have no receipt.
    pub(super) failed: u64,
    /// Why, of the first.
    pub(super) failure: Option<String>,
    /// When the last receipt came.
    pub(super) ended: Instant,
}

impl Load {
    /// Publishes as the publisher of that number, from `start` on.
    pub(super) async fn run(
        self,
        publisher: usize,
        address: PublisherAddress,
        calls: Calls,
        start: Instant,
    ) -> Result<Done, Error> {
        let (requests, mut outcomes) = call::open(&address, calls, BENCH_IN_FLIGHT).await?;
        let (due_times, mut due) = mpsc::channel(BENCH_IN_FLIGHT);
        let (mut published, mut failure) = (Published::default(), None);
        let sending = self.send(publisher, start, requests, due_times);
        let (_, ended) = outcomes
            .drive(sending, |outcome, _| {
                let number = published.answered;
                published.answered += 1;
                let due = due.try_recv().unwrap_or_default();
                match outcome {
                    Ok(_) => {
                        self.receipts.record(self.clock.since(due));
                        self.published.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(status) => {
                        published.unsure.insert(number);
                        failure.get_or_insert_with(|| describe(&status));
                    }
                }
                Ok(if published.unsure.len() < BENCH_FAILURES {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                })
            })
            .await;
        let mut failed = published.unsure.len() as u64;
        if let Err(error) = ended {
            failed += outcomes.owed() as u64;
            failure.get_or_insert(error.to_string());
        }
        Ok(Done { published, failed, failure, ended: Instant::now() })
    }

    async fn send(&self, publisher: usize, start: Instant, requests: Requests, due_times: mpsc::Sender<u64>) {
        let end = start + self.duration;
        let mut number = 0_u64;
        loop {
            // Where there is a rate, a message is due at its time, however long those before it took.
            let due = match self.rate {
                Some(rate) => start + Duration::from_secs_f64(number as f64 / rate),
                None => Instant::now(),
            };
            if due >= end {
                return;
            }
            if due > Instant::now() {
                sleep_until(due).await;
            }
            if !requests.room().await {
                return;
            }
            let due = if self.rate.is_some() { due } else { Instant::now() };
            let due = self.clock.at(due);
            let text = write(publisher, number, due, self.size);
            let request = PublishRequest {
                channel: self.channel.clone(),
                payload: Some(Payload::Text(text)),
                ..PublishRequest::default()
            };
            if due_times.send(due).await.is_err() || !requests.put(request).await {
                return;
            }
            number += 1;
        }
    }
}

/// A message's text: who sent it, its number, when it was due in nanoseconds, and dots up to its size.
fn write(publisher: usize, number: u64, due: u64, size: usize) -> String {
    format!("{:.<size$}", format!("{publisher} {number} {due} "))
}

/// Publisher, number and time of a message's text; `None` where it is none of ours.
pub(super) fn read(text: &str) -> Option<(usize, u64, u64)> {
    let mut words = text.split(' ');
    let (publisher, number, due) = (words.next()?, words.next()?, words.next()?);
    Some((publisher.parse().ok()?, number.parse().ok()?, due.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use tidings::limits::BENCH_SIZE_MIN;

    use super::*;

    #[test]
    fn a_message_says_who_sent_it_and_when_whatever_its_size() {
        for size in [BENCH_SIZE_MIN as usize, 1_000] {
            for (publisher, number, due) in [(0, 0, 0), (63, 3_600 * 1_000_000_000, 7_200 * 1_000_000_000)] {
                let text = write(publisher, number, due, size);
                assert_eq!((text.len(), read(&text)), (size, Some((publisher, number, due))));
            }
        }
        for foreign in ["", "hello", "1 2", "a 1 2 ...", "1 2 x ..."] {
            assert_eq!(read(foreign), None, "{foreign}");
        }
    }
}
