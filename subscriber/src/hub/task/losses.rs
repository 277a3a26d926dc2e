//! What pushes show to be lost: messages of an ended epoch beyond what its history has of it. They were given out, and
//! readers that did not receive them can't know; so they are reported to Redis, and a new epoch shows every reader.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    time::Instant,
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tidings::{
    broker::{Error, Shared},
    channel::ChannelName,
    limits::{CLAIMS_QUIET, LATE_LOSSES, LATE_MESSAGES, LATE_REPORTS, LATE_TRIES},
    message::Epoch,
};

use crate::hub::intake::Late;

type Key = (ChannelName, Epoch);
/// What was reported, how often that had been tried before, and what came of it.
type Report = (Late, u32, Result<(), Error>);

/// The reports of a hub.
pub(super) struct Losses {
    broker: Shared,
    /// From and to, and how often that was tried.
    waiting: HashMap<Key, (i64, i64, u32)>,
    /// Those of them that are to be reported now.
    due: VecDeque<Key>,
    under_way: FuturesUnordered<BoxFuture<'static, Report>>,
    /// When it was last said that a claim is too far away.
    said: Option<Instant>,
    /// It was said since the connection was last lost that pushes were lost with it.
    has_warned: bool,
}

impl Losses {
    pub(super) fn new(broker: Shared) -> Self {
        Self {
            broker,
            waiting: HashMap::new(),
            due: VecDeque::new(),
            under_way: FuturesUnordered::new(),
            said: None,
            has_warned: false,
        }
    }

    /// Takes what a feed has found. The feeds of one channel find the same.
    pub(super) fn add(&mut self, late: Late) {
        let Late { channel, epoch, from, to } = late;
        if to - from >= LATE_MESSAGES {
            if self.said.is_none_or(|said| said.elapsed() >= CLAIMS_QUIET) {
                self.said = Some(Instant::now());
                tracing::warn!(
                    channel = channel.as_str(), %epoch, sequence = to, known = from - 1,
                    "a message claims a position far beyond the end of an epoch; if genuine, the messages between are lost"
                );
            }
            return;
        }
        let is_full = self.waiting.len() >= LATE_LOSSES;
        match self.waiting.entry((channel, epoch)) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                *known = (known.0.min(from), known.1.max(to), 0);
            }
            Entry::Vacant(_) if is_full => return,
            Entry::Vacant(slot) => {
                self.due.push_back(slot.key().clone());
                slot.insert((from, to, 0));
            }
        }
        self.advance();
    }

    /// Reports again what could not be reported.
    pub(super) fn tick(&mut self) {
        self.due = self.waiting.keys().cloned().collect();
        self.advance();
    }

    fn advance(&mut self) {
        while self.under_way.len() < LATE_REPORTS
            && let Some(key) = self.due.pop_front()
        {
            let Some((from, to, tries)) = self.waiting.remove(&key) else { continue };
            let (broker, (channel, epoch)) = (self.broker.clone(), key);
            self.under_way.push(Box::pin(async move {
                let reported = broker.report_loss(&channel, epoch, to).await;
                (Late { channel, epoch, from, to }, tries, reported)
            }));
        }
    }

    /// The channel of the next loss that was reported: its head informs the streams here at once, and others when they
    /// look. Never, where none is.
    pub(super) async fn next(&mut self) -> ChannelName {
        loop {
            let Some(report) = self.under_way.next().await else { return std::future::pending().await };
            let reported = self.end(report);
            self.advance();
            if let Some(channel) = reported {
                return channel;
            }
        }
    }

    fn end(&mut self, (late, tries, reported): Report) -> Option<ChannelName> {
        match reported {
            Ok(()) => return Some(late.channel),
            Err(error) if tries < LATE_TRIES && self.waiting.len() < LATE_LOSSES => {
                tracing::debug!(channel = late.channel.as_str(), %error, "a loss can't be reported now");
                let known = self.waiting.entry((late.channel, late.epoch)).or_insert((late.from, late.to, 0));
                *known = (known.0.min(late.from), known.1.max(late.to), tries + 1);
            }
            Err(error) => {
                tracing::warn!(channel = late.channel.as_str(), epoch = %late.epoch, from = late.from, to = late.to, %error,
                    "a loss could not be reported; streams that did not receive those messages get no gap");
            }
        }
        None
    }

    /// The live connection was lost.
    pub(super) fn begin_outage(&mut self) {
        self.has_warned = false;
    }

    /// Says once an outage that messages were lost with it.
    pub(super) fn warn(&mut self, pushes: usize) {
        if pushes > 0 && !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(
                pushes,
                "dropped messages that Redis lost before their position was known; republished ones are delivered"
            );
        }
    }
}
