//! The hub's task. The files below it are its parts, each with a state of its own, which only they and this one see.

mod captures;
mod doubts;
mod gap_detection;
mod losses;
mod made;
mod topics;

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use foldhash::{HashMap, HashMapExt as _};
use tidings::{
    backoff::Backoff,
    broker::{Error, Head, LiveCommand, LiveControl, LiveEvent, LiveEvents, Shared, State, Topic},
    channel::{ChannelName, Names, PatternSet},
    limits::{
        CAPTURE_RETRY_MAX, CAPTURE_RETRY_MIN, HUB_REQUESTS, HUB_ROUND_HEADS, HUB_TICK, OVERSIZED_QUIET, SHARED_BYTES,
        UNREADABLE_QUIET,
    },
    message::Position,
    metrics::{self, Dropped},
};
use tokio::{
    sync::{mpsc, watch},
    time::interval,
};
use tokio_util::sync::CancellationToken;

use self::{doubts::Doubts, gap_detection::GapDetection, losses::Losses, made::Made, topics::Followed};
use super::{
    Ask, Feeds, Refusal,
    checks::{Checks, HeadReply},
    intake::{Ask as Needs, Missed, Room},
    repair::Repair,
    unreadable::Unreadable,
};
use crate::{
    capture::Capture,
    feed::{Item, Rings},
    pages::Pages,
};

pub(super) struct Task {
    commands: LiveControl,
    /// Of the broker as a whole.
    state: watch::Receiver<State>,
    feeds: Feeds,
    pages: Arc<Pages>,
    names: Arc<Names>,
    capture: Arc<Capture>,
    repair: Arc<Repair>,
    topics: HashMap<Topic, Followed>,
    /// Those of the topics that are patterns.
    patterns: PatternSet<Topic>,
    /// All their rings.
    rings: Arc<Rings>,
    /// What was made last of messages, for topics that they come through as well.
    made: Made,
    checks: Checks,
    gap_detection: GapDetection,
    doubts: Doubts,
    losses: Losses,
    /// For what waits for heads.
    room: Room,
    /// Channels whose pushes wait for a head that could not be read.
    again: HashSet<ChannelName>,
    /// When it was last said that heads can't be read.
    headless: Option<Instant>,
    unreadable: Unreadable,
    /// Topics of which it was said that they are refused.
    refused: HashSet<Topic>,
    /// Captured topics of which it was said that they can't be captured.
    uncaptured: HashSet<Topic>,
    /// When they are asked for again, and how often they were.
    recaptures: (Instant, Backoff),
    /// When it was last said that something was too large, and how many of it there were since.
    oversized: (Option<Instant>, usize),
    /// Subscriptions are confirmed and nothing was missed.
    linked: bool,
    /// What could not be handed to the connection yet: it is never waited for.
    outbox: VecDeque<LiveCommand>,
}

impl Task {
    pub(super) fn new(
        broker: &Shared,
        commands: LiveControl,
        feeds: Feeds,
        pages: Arc<Pages>,
        names: Arc<Names>,
        capture: Arc<Capture>,
        repair: Arc<Repair>,
    ) -> Self {
        Self {
            commands,
            state: broker.state(),
            capture,
            repair,
            feeds,
            pages,
            names,
            topics: HashMap::new(),
            patterns: PatternSet::default(),
            rings: Arc::default(),
            made: Made::default(),
            checks: Checks::default(),
            gap_detection: GapDetection::default(),
            doubts: Doubts::new(Arc::clone(broker)),
            losses: Losses::new(Arc::clone(broker)),
            room: Room::default(),
            again: HashSet::new(),
            headless: None,
            unreadable: Unreadable::default(),
            refused: HashSet::new(),
            uncaptured: HashSet::new(),
            recaptures: (Instant::now(), Backoff::new(CAPTURE_RETRY_MIN, CAPTURE_RETRY_MAX)),
            oversized: (None, 0),
            linked: true,
            outbox: VecDeque::new(),
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Ask>, mut events: LiveEvents, stop: CancellationToken) {
        let mut tick = interval(HUB_TICK);
        self.pin();
        loop {
            let commands = self.commands.clone();
            tokio::select! {
                () = stop.cancelled() => return,
                permit = commands.reserve(), if !self.outbox.is_empty() => {
                    let Ok(permit) = permit else { return };
                    if let Some(command) = self.outbox.pop_front() {
                        permit.send(command);
                    }
                }
                batch = events.recv() => {
                    let Some(batch) = batch else { return };
                    self.batch(batch);
                }
                // Questions wait while commands do, so that the outbox stays small.
                ask = inbox.recv(), if self.outbox.len() < HUB_REQUESTS => {
                    let Some(ask) = ask else { return };
                    self.answer(ask);
                }
                (topic, question, looked) = self.doubts.next() => self.looked(topic, &question, &looked),
                (late, tries, reported) = self.losses.next() => self.reported(late, tries, reported),
                _ = tick.tick() => self.tick(),
            }
        }
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Follow(topic, reply) => self.follow(topic, reply),
            Ask::Check(channel, reply) => self.check(channel, Some(reply)),
            Ask::Unreadable(channel, error) => self.unreadable.note(&channel, &error, false, Instant::now()),
        }
    }

    /// Passes over what is larger than a message may be. One line for many: a program that sends one sends more.
    fn skip(&mut self, topic: &Topic, bytes: usize) {
        metrics::dropped(Dropped::Oversized, 1);
        let (said, messages) = &mut self.oversized;
        *messages += 1;
        if said.is_none_or(|said| said.elapsed() >= OVERSIZED_QUIET) {
            tracing::warn!(?topic, bytes, messages, "skipped what is larger than a message may be");
            self.oversized = (Some(Instant::now()), 0);
        }
    }

    pub(super) fn check(&mut self, channel: ChannelName, reply: Option<HeadReply>) {
        self.checks.add(&channel, reply.into_iter().collect());
        self.outbox.push_back(LiveCommand::Check(channel));
    }

    fn batch(&mut self, batch: Vec<LiveEvent>) {
        let mut touched: Vec<Topic> = Vec::new();
        let now_ms = chrono::Utc::now().timestamp_millis();
        for event in batch {
            match event {
                LiveEvent::Push { topic, channel, payload } => {
                    let Some(followed) = self.topics.get_mut(&topic) else { continue };
                    let is_touched = followed.intake.has_news();
                    followed.intake.arrive(now_ms);
                    if let Some(needs) = followed.intake.push(&channel, &payload) {
                        self.ask(&topic, needs);
                    }
                    if payload.len() >= SHARED_BYTES {
                        // Before it is made for the next topic: one copy at a time.
                        self.flush(&mut vec![topic]);
                    } else if !is_touched {
                        touched.push(topic);
                    }
                }
                LiveEvent::Notice { topic, channel, hash, json } => {
                    self.notice(&topic, &channel, &hash, &json, &mut touched);
                }
                LiveEvent::Captured(topic) => self.captured(&topic),
                LiveEvent::NotCaptured(topic, reason) => self.not_captured(&topic, &reason),
                LiveEvent::Oversized { topic, bytes } => self.skip(&topic, bytes),
                LiveEvent::Subscribed(topic) => self.confirm(&topic),
                LiveEvent::Refused(topic, reason) => self.refuse(&topic, reason),
                LiveEvent::Head(channel, head) => self.head(&channel, head, &mut touched),
                LiveEvent::NoHead(channel, error) => self.no_head(channel, &error),
                LiveEvent::Recent { skip, names, more, registered } => self.recent(skip, &names, more, registered),
                LiveEvent::Lost(reason) => self.lose(&reason),
                LiveEvent::Restored => self.restore(&mut touched),
            }
        }
        self.flush(&mut touched);
        self.made.clear();
    }

    fn head(&mut self, channel: &ChannelName, head: Option<Head>, touched: &mut Vec<Topic>) {
        self.again.remove(channel);
        let mut missed = Vec::new();
        let mut holds = false;
        for topic in self.covering(channel) {
            let Some(followed) = self.topics.get_mut(&topic) else { continue };
            let (is_news, needs) = followed.intake.learn(channel, head.as_ref());
            followed.intake.report_passed();
            let shown = followed.intake.has_missed(channel, head.as_ref());
            holds |= followed.intake.holds(channel);
            if is_news || matches!(shown, Missed::Look) {
                touched.push(topic.clone());
            }
            if let Some(needs) = needs {
                self.ask(&topic, needs);
            }
            match shown {
                Missed::Nothing => {}
                Missed::Look => missed.push(topic),
                Missed::Ask(question) => self.ask(&topic, Needs::Log(question)),
            }
        }
        // What is still held was received before this head, and is not reported yet. An answer comes later, and the
        // capture asks again until then.
        if !holds {
            self.capture.look(channel, head.as_ref());
        }
        // The head's answer must not overtake the pushes before it.
        self.flush(touched);
        if self.unreadable.read(channel, Instant::now()) {
            // Streams that had to skip it have missed what was pushed meanwhile.
            missed = self.covering(channel);
        }
        let end = head.as_ref().map_or(Position::START, Head::end);
        for followed in missed.iter().filter_map(|topic| self.topics.get(topic)) {
            followed.feed.push([Item::Check(channel.clone(), end)]);
        }
        for reply in self.checks.answered(channel) {
            let _ = reply.send(Ok(head.clone()));
        }
    }

    /// The topics to which a channel may belong.
    pub(super) fn covering(&mut self, channel: &ChannelName) -> Vec<Topic> {
        let patterns = self.patterns.matching(channel.as_str());
        patterns.iter().cloned().chain([Topic::Channel(channel.clone())]).collect()
    }

    fn no_head(&mut self, channel: ChannelName, error: &Error) {
        for reply in self.checks.answered(&channel) {
            let _ = reply.send(Err(Refusal::Broker(error.clone())));
        }
        // Where the broker can't be used at all, it says so itself.
        let is_usable = *self.state.borrow() == State::Up;
        if let (Error::Channel(_), true) = (error, is_usable) {
            for topic in self.covering(&channel) {
                if let Some(followed) = self.topics.get_mut(&topic) {
                    followed.intake.wait_long(&channel);
                }
            }
            return self.unreadable.note(&channel, error, true, Instant::now());
        }
        // It is not the channel's fault, and others are not better off: one line for all of them.
        if is_usable && self.headless.is_none_or(|said| said.elapsed() >= UNREADABLE_QUIET) {
            self.headless = Some(Instant::now());
            tracing::warn!(channel = channel.as_str(), %error, "heads can't be read; what is pushed waits");
        }
        if self.waits_for_head(&channel) {
            self.again.insert(channel);
        }
    }

    fn waits_for_head(&mut self, channel: &ChannelName) -> bool {
        let topics = self.covering(channel);
        topics.iter().any(|topic| self.topics.get(topic).is_some_and(|followed| followed.intake.waits_for(channel)))
    }

    pub(super) fn flush(&mut self, touched: &mut Vec<Topic>) {
        for topic in touched.drain(..) {
            if let Some(followed) = self.topics.get_mut(&topic) {
                let mut items = followed.intake.take();
                for item in &mut items {
                    match item {
                        Item::Rewritten(rewrite) => self.pages.forget(rewrite),
                        Item::Chunk(chunk) => self.made.share(chunk),
                        Item::Check(..) | Item::Break | Item::Refused(_) => {}
                    }
                }
                followed.feed.push(items);
                if followed.intake.take_loss() {
                    followed.feed.push([Item::Break]);
                }
                let (late, lost) = (followed.intake.take_late(), followed.intake.take_lost());
                for late in late {
                    self.losses.add(late);
                }
                self.report_lost(lost);
            }
        }
    }

    fn lose(&mut self, reason: &str) {
        tracing::debug!(reason, "the live connection was lost");
        self.linked = false;
        self.losses.has_warned = false;
        self.capture.break_off();
        for followed in self.topics.values_mut() {
            followed.intake.outlive();
        }
    }

    fn restore(&mut self, touched: &mut Vec<Topic>) {
        self.flush(touched);
        self.linked = true;
        for followed in self.topics.values_mut() {
            followed.admit(true);
        }
        self.pin();
        // Questions that were under way are lost with the connection. Asked again are those that someone waits for.
        self.unreadable.lost(Instant::now());
        for (channel, replies) in self.checks.lost() {
            if !replies.is_empty() || self.waits_for_head(&channel) {
                self.checks.add(&channel, replies);
                self.outbox.push_back(LiveCommand::Check(channel));
            }
        }
        self.check_all();
    }

    fn tick(&mut self) {
        let now = Instant::now();
        metrics::topics(self.topics.len());
        self.capture.report();
        self.pages.age(now);
        self.let_go(now);
        self.losses.tick();
        if self.linked {
            self.capture_again(now);
            for channel in std::mem::take(&mut self.again) {
                self.check(channel, None);
            }
            for channel in self.unreadable.due(HUB_ROUND_HEADS, now) {
                self.check(channel, None);
            }
            self.go_round();
        }
    }
}
