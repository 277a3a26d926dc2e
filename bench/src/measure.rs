//! What is measured: each probe is one figure of one side, or a few that come together.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::stage::{Stage, Usage};

mod calls;
mod cost;
mod fanout;
mod latency;
mod memory;
mod other_streams;
mod peers;
mod probe;
mod publishing;
mod replay;
mod security;
mod start;
mod subscriptions;

pub(crate) use fanout::{address, open};
pub(crate) use probe::Probe;
pub(crate) use security::Begins;

/// What a probe is given.
pub(crate) struct Plan<'a> {
    /// The servers.
    pub(crate) stage: &'a mut Stage,
    /// How long it measures, where it goes by time.
    pub(crate) time: Duration,
    /// A channel that nothing was published on before.
    pub(crate) channel: String,
    /// Fewer streams and shorter rests.
    pub(crate) quick: bool,
}

/// What a probe measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    /// Its figures.
    pub(crate) figures: Vec<f64>,
    /// Who spent what on them.
    pub(crate) usage: Usage,
}

impl Sample {
    fn rate(count: u64, usage: Usage) -> Self {
        Self { figures: vec![count as f64 / usage.wall], usage }
    }
}

/// Runs futures on this thread until all are done or one has failed.
async fn together<T: 'static>(
    futures: impl IntoIterator<Item = impl Future<Output = anyhow::Result<T>> + 'static>,
) -> anyhow::Result<Vec<T>> {
    let mut running = JoinSet::new();
    for future in futures {
        running.spawn_local(future);
    }
    let mut done = Vec::with_capacity(running.len());
    while let Some(result) = running.join_next().await {
        done.push(result??);
    }
    Ok(done)
}
