//! The hub's task: it carries what comes over the live connection to the parts of the hub, and their questions and
//! answers between them. Each file below it is one part, with a state of its own that nobody else sees.

mod captures;
mod doubts;
mod gap_detection;
mod heads;
mod losses;
mod made;
mod oversized;
mod topics;

use std::{collections::VecDeque, sync::Arc, time::Instant};

use tidings::{
    broker::{Error, Head, LiveCommand, LiveControl, LiveEvent, LiveEvents, Shared, Topic, adopt::Raw},
    channel::{ChannelName, Names},
    limits::{HUB_REQUESTS, HUB_TICK, SHARED_BYTES},
    message::Position,
    metrics,
};
use tokio::{sync::mpsc, time::interval};
use tokio_util::sync::CancellationToken;

use self::{
    captures::Captures,
    doubts::Doubts,
    gap_detection::GapDetection,
    heads::{Fault, Heads},
    losses::Losses,
    made::Made,
    oversized::Oversized,
    topics::Topics,
};
use super::{
    Ask, Feeds,
    checks::HeadReply,
    intake::{Ask as Needs, Looked, Missed, Question},
    repair::Repair,
};
use crate::{capture::Capture, feed::Item, pages::Pages};

pub(super) struct Task {
    commands: LiveControl,
    /// What could not be handed to the connection yet: it is never waited for.
    outbox: VecDeque<LiveCommand>,
    pages: Arc<Pages>,
    capture: Arc<Capture>,
    topics: Topics,
    captures: Captures,
    heads: Heads,
    doubts: Doubts,
    losses: Losses,
    gap_detection: GapDetection,
    /// What was made last of messages, for topics that they come through as well.
    made: Made,
    oversized: Oversized,
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
            outbox: VecDeque::new(),
            pages,
            topics: Topics::new(feeds, names, Arc::clone(&capture)),
            captures: Captures::new(Arc::clone(&capture)),
            capture,
            heads: Heads::new(broker.state()),
            doubts: Doubts::new(Arc::clone(broker)),
            losses: Losses::new(Arc::clone(broker)),
            gap_detection: GapDetection::new(repair),
            made: Made::default(),
            oversized: Oversized::default(),
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Ask>, mut events: LiveEvents, stop: CancellationToken) {
        let mut tick = interval(HUB_TICK);
        self.pin(self.captures.missing());
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
                channel = self.losses.next() => self.check(channel, Vec::new()),
                _ = tick.tick() => self.tick(),
            }
        }
    }

    /// What streams ask.
    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Follow(topic, reply) => {
                if self.topics.follow(&topic, reply) {
                    self.outbox.push_back(LiveCommand::Subscribe(topic));
                }
            }
            Ask::Check(channel, reply) => self.check(channel, vec![reply]),
            Ask::Unreadable(channel, error) => self.heads.note_unreadable(&channel, &error),
        }
    }

    /// What comes over the live connection.
    fn batch(&mut self, batch: Vec<LiveEvent>) {
        let mut touched: Vec<Topic> = Vec::new();
        let now_ms = chrono::Utc::now().timestamp_millis();
        for event in batch {
            match event {
                LiveEvent::Push { topic, channel, payload } => {
                    let Some(followed) = self.topics.get_mut(&topic) else { continue };
                    let intake = followed.intake();
                    let is_touched = intake.has_news();
                    intake.arrive(now_ms);
                    if let Some(needs) = intake.push(&channel, &payload) {
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
                LiveEvent::Captured(topic) => {
                    if self.captures.open(&topic) {
                        self.topics.recapture();
                    }
                }
                LiveEvent::NotCaptured(topic, reason) => self.not_captured(&topic, &reason),
                LiveEvent::Oversized { topic, bytes } => self.oversized.count(&topic, bytes),
                LiveEvent::Subscribed(topic) => self.topics.confirm(&topic),
                LiveEvent::Refused(topic, reason) => {
                    self.topics.refuse(&topic, &reason);
                    self.not_captured(&topic, &reason);
                }
                LiveEvent::Head(channel, head) => self.head(&channel, head, &mut touched),
                LiveEvent::NoHead(channel, error) => self.no_head(channel, error),
                LiveEvent::Recent { skip, names, more, registered } => {
                    self.gap_detection.read(&mut self.topics, skip, &names, more, registered);
                }
                LiveEvent::Lost(reason) => self.lose(&reason),
                LiveEvent::Restored => self.restore(&mut touched),
            }
        }
        self.flush(&mut touched);
        self.made.clear();
    }

    /// Has a channel's head read, for those who wait for it.
    fn check(&mut self, channel: ChannelName, replies: Vec<HeadReply>) {
        self.heads.ask(&channel, replies);
        self.outbox.push_back(LiveCommand::Check(channel));
    }

    fn check_once(&mut self, channel: ChannelName) {
        if !self.heads.are_asked(&channel) {
            self.check(channel, Vec::new());
        }
    }

    /// Asks what a feed must know before its pushes continue.
    fn ask(&mut self, topic: &Topic, needs: Needs) {
        match needs {
            Needs::Head(channel) => self.check(channel, Vec::new()),
            Needs::Log(question) => self.doubts.add(topic.clone(), question),
        }
    }

    /// Takes an answer of a log.
    fn looked(&mut self, topic: Topic, question: &Question, looked: &Looked) {
        let Some(followed) = self.topics.get_mut(&topic) else { return };
        if let Some(needs) = followed.intake().compare(&question.channel, looked) {
            self.ask(&topic, needs);
        }
        self.flush(&mut vec![topic]);
    }

    fn head(&mut self, channel: &ChannelName, head: Option<Head>, touched: &mut Vec<Topic>) {
        let mut missed = Vec::new();
        let mut holds = false;
        for topic in self.topics.covering(channel) {
            let Some(followed) = self.topics.get_mut(&topic) else { continue };
            let intake = followed.intake();
            let (is_news, needs) = intake.learn(channel, head.as_ref());
            intake.report_passed();
            let shown = intake.has_missed(channel, head.as_ref());
            holds |= intake.holds(channel);
            if intake.bytes() >= SHARED_BYTES {
                // What waited is made for one topic at a time.
                self.flush(&mut vec![topic.clone()]);
            } else if is_news || matches!(shown, Missed::Look) {
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
        if self.heads.read(channel) {
            // Streams that had to skip it have missed what was pushed meanwhile.
            missed = self.topics.covering(channel);
        }
        let end = head.as_ref().map_or(Position::START, Head::end);
        for topic in missed {
            if let Some(followed) = self.topics.get_mut(&topic) {
                followed.push([Item::Check(channel.clone(), end)]);
            }
        }
        self.heads.answer(channel, &Ok(head));
    }

    fn no_head(&mut self, channel: ChannelName, error: Error) {
        let fault = self.heads.fail(&channel, &error);
        self.heads.answer(&channel, &Err(error));
        match fault {
            Fault::OfChannel => {
                for topic in self.topics.covering(&channel) {
                    if let Some(followed) = self.topics.get_mut(&topic) {
                        followed.intake().wait_long(&channel);
                    }
                }
            }
            Fault::OfBroker if self.topics.wait_for(&channel) => self.heads.retry(channel),
            Fault::OfBroker => {}
        }
    }

    /// Gives a notice to every feed to which its channel belongs.
    fn notice(
        &mut self,
        topic: &Topic,
        channel: &ChannelName,
        hash: &[u8; Raw::HASH_BYTES],
        json: &[u8],
        touched: &mut Vec<Topic>,
    ) {
        if !self.captures.is_source(topic, channel) {
            return;
        }
        let mut unknown = false;
        for topic in self.topics.covering(channel) {
            let Some(followed) = self.topics.get_mut(&topic) else { continue };
            let intake = followed.intake();
            if !intake.has_news() {
                touched.push(topic.clone());
            }
            intake.arrive(chrono::Utc::now().timestamp_millis());
            match intake.notice(channel, hash, json) {
                None => {}
                // One answer is for all feeds.
                Some(Needs::Head(_)) => unknown = true,
                Some(needs) => self.ask(&topic, needs),
            }
        }
        if unknown {
            self.check(channel.clone(), Vec::new());
        }
    }

    fn not_captured(&mut self, topic: &Topic, reason: &str) {
        if self.captures.close(topic, reason) {
            self.topics.recapture();
        }
    }

    /// Asks for captured topics, which are listened to always, with the notices of what was adopted on their channels.
    fn pin(&mut self, captured: Vec<Topic>) {
        for topic in captured {
            self.topics.pin(&topic);
            self.outbox.push_back(LiveCommand::Capture(topic));
        }
    }

    /// Hands out what these topics have for their streams.
    fn flush(&mut self, touched: &mut Vec<Topic>) {
        for topic in touched.drain(..) {
            let Some(followed) = self.topics.get_mut(&topic) else { continue };
            let mut items = followed.intake().take();
            for item in &mut items {
                match item {
                    Item::Rewritten(rewrite) => self.pages.forget(rewrite),
                    Item::Chunk(chunk) => self.made.share(chunk),
                    Item::Check(..) | Item::Break | Item::Refused(_) => {}
                }
            }
            if !items.is_empty() {
                followed.push(items);
            }
            if followed.intake().take_loss() {
                followed.push([Item::Break]);
            }
            for late in followed.intake().take_late() {
                self.losses.add(late);
            }
            self.losses.warn(followed.intake().take_lost());
        }
    }

    fn lose(&mut self, reason: &str) {
        tracing::debug!(reason, "the live connection was lost");
        self.losses.begin_outage();
        self.capture.break_off();
        self.topics.lose();
    }

    fn restore(&mut self, touched: &mut Vec<Topic>) {
        self.flush(touched);
        self.topics.restore();
        self.pin(self.captures.missing());
        // Questions that were under way are lost with the connection. Asked again are those that someone waits for.
        for (channel, replies) in self.heads.lose() {
            if !replies.is_empty() || self.topics.wait_for(&channel) {
                self.check(channel, replies);
            }
        }
        for channel in self.gap_detection.restore(&mut self.topics) {
            self.check_once(channel);
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.made.clear();
        metrics::topics(self.topics.len());
        self.capture.report();
        self.pages.age(now);
        for topic in self.topics.let_go(now) {
            self.outbox.push_back(LiveCommand::Unsubscribe(topic));
        }
        self.losses.tick();
        if self.topics.is_linked() {
            let captured = self.captures.due(now);
            self.pin(captured);
            for channel in self.heads.due(now) {
                self.check(channel, Vec::new());
            }
            let due = self.gap_detection.tick(&mut self.topics);
            self.outbox.extend(due.recent.map(|skip| LiveCommand::Recent { skip }));
            for channel in due.heads {
                self.check_once(channel);
            }
        }
    }
}
