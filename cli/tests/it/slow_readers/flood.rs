//! Many messages at once, readers that take them all, and what the subscriber's memory does meanwhile.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tidings::pb::PublishBatchRequest;
use tokio::task::{JoinHandle, JoinSet};

use super::raw;
use crate::harness::{Process, Publisher, Subscriber, channel, connect, text};

const BYTES: usize = 4_000;
const BATCH: usize = 100;
/// Batches under way.
const AT_ONCE: usize = 4;

pub(super) struct Flood<'a> {
    pub(super) publisher: &'a Publisher,
    pub(super) subscriber: &'a Subscriber,
    /// Readers that continue, each on a connection of its own.
    pub(super) readers: usize,
}

impl Flood<'_> {
    /// Floods a channel that is new with so many messages; answers how long it took until all is published and all
    /// readers had everything.
    pub(super) async fn run(&self, name: &str, messages: usize) -> Duration {
        let mut tasks = JoinSet::new();
        for _ in 0..self.readers {
            let connection = connect(self.subscriber.address).await;
            let mut stream = raw::Stream::open(connection, channel(name)).await;
            tasks.spawn(async move { stream.messages(messages as i64).await });
        }
        let began = Instant::now();
        let permits = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
        for _ in 0..messages / BATCH {
            let permit = Arc::clone(&permits).acquire_owned().await.expect("open");
            let requests = (0..BATCH).map(|n| text("", format!("{n:0BYTES$}"))).collect();
            let batch = PublishBatchRequest { channel: name.to_owned(), requests };
            let mut client = self.publisher.client();
            tasks.spawn(async move {
                client.publish_batch(batch).await.expect("published");
                drop(permit);
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("a task that ends well");
        }
        began.elapsed()
    }
}

/// The most memory that a process has had since this began.
pub(super) struct Memory {
    before: u64,
    most: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Memory {
    pub(super) fn watch(process: &Process) -> Self {
        let (id, most) = (process.id(), Arc::new(AtomicU64::new(0)));
        let task = tokio::spawn({
            let most = Arc::clone(&most);
            async move {
                while let Some(bytes) = resident(id) {
                    most.fetch_max(bytes, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        });
        Self { before: resident(id).expect("a running process"), most, task }
    }

    pub(super) fn grown(&self) -> u64 {
        self.most.load(Ordering::Relaxed).saturating_sub(self.before)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The resident set of a process in bytes, while it runs.
fn resident(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"))?;
    kilobytes.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}
