//! The task that does what the states say: one step of a channel at a time, some channels at once.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tidings::{
    broker::{Adopter, Error, From, PageLimit, Shared, adopt::Adopt},
    channel::ChannelName,
    limits::{CAPTURE_STEPS, REPLAY_BYTES, REPLAY_MESSAGES},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Capture, HeadCheck,
    adoption_state::{Range, Step},
    missed::Walk,
};

/// What a step needs.
pub(super) struct Source {
    heads: Arc<dyn HeadCheck>,
    broker: Shared,
    adopter: Arc<dyn Adopter>,
    /// This replica, as holder of leases.
    token: Uuid,
}

impl Source {
    pub(super) fn new(heads: Arc<dyn HeadCheck>, broker: Shared, adopter: Arc<dyn Adopter>) -> Self {
        Self { heads, broker, adopter, token: Uuid::new_v4() }
    }
}

pub(super) struct Task {
    capture: Arc<Capture>,
    source: Arc<Source>,
    steps: FuturesUnordered<BoxFuture<'static, ChannelName>>,
    /// Channels to look at, each once.
    ready: VecDeque<ChannelName>,
    queued: HashSet<ChannelName>,
    timers: Timers,
}

impl Task {
    pub(super) fn new(capture: Arc<Capture>, source: Arc<Source>) -> Self {
        Self {
            capture,
            source,
            steps: FuturesUnordered::new(),
            ready: VecDeque::new(),
            queued: HashSet::new(),
            timers: Timers::default(),
        }
    }

    /// Runs until it is stopped and nothing is held.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            self.advance();
            if stop.is_cancelled() && self.steps.is_empty() && self.capture.table().is_empty() {
                return;
            }
            let capture = Arc::clone(&self.capture);
            let next = self.timers.next();
            tokio::select! {
                () = capture.wake.notified() => {}
                Some(channel) = self.steps.next() => self.queue(channel),
                () = until(next) => {
                    for channel in self.timers.due(Instant::now()) {
                        self.queue(channel);
                    }
                }
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
        }
    }

    /// Begins what the states want, as many steps at once as there may be.
    fn advance(&mut self) {
        let capture = Arc::clone(&self.capture);
        let mut table = capture.table();
        for channel in table.take_due() {
            self.queue(channel);
        }
        while self.steps.len() < CAPTURE_STEPS
            && let Some(channel) = self.ready.pop_front()
        {
            self.queued.remove(&channel);
            let now = Instant::now();
            match table.with(&channel, |state| state.next(now)) {
                None | Some(Step::Rest) => self.timers.clear(&channel),
                Some(Step::Wait(until)) => self.timers.set(channel, until),
                Some(step) => {
                    self.timers.clear(&channel);
                    let (capture, source) = (Arc::clone(&self.capture), Arc::clone(&self.source));
                    self.steps.push(Box::pin(async move {
                        source.carry_out(&capture, &channel, step).await;
                        channel
                    }));
                }
            }
        }
    }

    fn queue(&mut self, channel: ChannelName) {
        if self.queued.insert(channel.clone()) {
            self.ready.push_back(channel);
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

impl Source {
    async fn carry_out(&self, capture: &Capture, channel: &ChannelName, step: Step) {
        let done = match step {
            Step::Rest | Step::Wait(_) => return,
            Step::Check => self.check(capture, channel).await,
            Step::Read(range) => self.read(capture, channel, &range).await,
            Step::Adopt { messages, adopted, seen, ask } => {
                let adopt = Adopt { token: self.token, ask, adopted, seen, messages };
                self.adopt(capture, channel, &adopt).await
            }
        };
        if let Err(error) = done {
            let is_news = capture.table().with(channel, |state| state.fail(Instant::now()));
            if is_news == Some(true) {
                tracing::warn!(
                    channel = channel.as_str(),
                    %error,
                    "what plain programs publish can't be adopted now; trying again until it can"
                );
            }
        }
    }

    /// Has the head looked at. By the time of the answer the state knows it.
    async fn check(&self, capture: &Capture, channel: &ChannelName) -> Result<(), String> {
        self.heads.check_head(channel).await?;
        capture.table().with(channel, |state| state.checked(Instant::now()));
        Ok(())
    }

    async fn read(&self, capture: &Capture, channel: &ChannelName, range: &Range) -> Result<(), String> {
        let limit = PageLimit { messages: REPLAY_MESSAGES, bytes: REPLAY_BYTES };
        let mut walk = Walk::new(range);
        loop {
            let page = self.broker.read(channel, From::After(walk.position().sequence), limit).await;
            let outcome = walk.take(&page.map_err(|error| error.to_string())?);
            let mut table = capture.table();
            table.with(channel, |state| state.read(outcome.adopted.into_iter(), walk.position()));
            if outcome.is_over {
                table.with(channel, |state| state.read_all());
                return Ok(());
            }
        }
    }

    async fn adopt(&self, capture: &Capture, channel: &ChannelName, adopt: &Adopt) -> Result<(), String> {
        let adoption = self.adopter.adopt(channel, adopt).await.map_err(|error: Error| error.to_string())?;
        let (messages, first) = (adopt.messages.len(), adopt.adopted);
        tracing::debug!(channel = channel.as_str(), messages, ?first, ?adoption, "adopting");
        capture.table().with(channel, |state| state.settle(adoption, adopt.ask, Instant::now()));
        Ok(())
    }
}

/// When to look at which channel again, one time a channel.
#[derive(Debug, Default)]
struct Timers {
    times: HashMap<ChannelName, Instant>,
    order: BTreeSet<(Instant, ChannelName)>,
}

impl Timers {
    fn set(&mut self, channel: ChannelName, time: Instant) {
        self.clear(&channel);
        self.order.insert((time, channel.clone()));
        self.times.insert(channel, time);
    }

    fn clear(&mut self, channel: &ChannelName) {
        if let Some(time) = self.times.remove(channel) {
            self.order.remove(&(time, channel.clone()));
        }
    }

    fn next(&self) -> Option<Instant> {
        self.order.first().map(|(time, _)| *time)
    }

    fn due(&mut self, now: Instant) -> Vec<ChannelName> {
        let mut due = Vec::new();
        while let Some((time, channel)) = self.order.first().cloned()
            && time <= now
        {
            self.clear(&channel);
            due.push(channel);
        }
        due
    }
}
