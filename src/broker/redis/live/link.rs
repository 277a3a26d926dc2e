//! One connected socket, from its greeting to its end.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Duration, Instant, interval},
};

use super::{
    End, Settings,
    probe::Probe,
    questions::{Question, Questions},
    topics::{self, Topics},
    wire::Wire,
};
use crate::broker::{
    Error, LiveCommand, LiveEvent, Topic,
    adopt::Raw,
    redis::{error, head, resp::Reply, script},
};

/// How far back a channel counts as published on lately: publishers renew its place in the registry every minute.
const RECENT_MS: u64 = 120_000;
/// Names of such channels told at a time.
const RECENT_NAMES: usize = 5_000;
/// How often the way of messages is probed, at most.
const PROBE: Duration = Duration::from_secs(1);

pub(super) struct Link {
    settings: Arc<Settings>,
    wire: Wire,
    probe: Probe,
    questions: Questions,
    /// What must be confirmed before the link is whole again; `None` when it is.
    unconfirmed: Option<HashSet<Topic>>,
}

impl Link {
    /// Connects and greets the server.
    pub(super) async fn open(settings: Arc<Settings>) -> Result<Self, String> {
        let mut wire = Wire::connect(settings.url.address(), settings.timeout).await?;
        match settings.url.credentials() {
            Some((user, password)) => wire.command(&["HELLO", "3", "AUTH", user, password, "SETNAME", "tidings-live"]),
            None => wire.command(&["HELLO", "3", "SETNAME", "tidings-live"]),
        }
        wire.command(&["SELECT", &settings.url.database().to_string()]);
        wire.flush().await?;
        for _ in 0..2 {
            if let Reply::Error(text) = wire.reply().await? {
                return Err(words(&text));
            }
        }
        let probe = Probe::new(&settings.keys, Arc::clone(&settings.connection), settings.probed.clone());
        Ok(Self { settings, wire, probe, questions: Questions::new(), unconfirmed: None })
    }

    /// Subscribes to everything that is followed, and carries events and commands until the link ends. Where another
    /// link `was_lost`, it says when all subscriptions stand again.
    pub(super) async fn run(
        &mut self,
        was_lost: bool,
        topics: &mut Topics,
        commands: &mut mpsc::Receiver<LiveCommand>,
        events: &mpsc::Sender<Vec<LiveEvent>>,
    ) -> End {
        self.wire.command(&["SUBSCRIBE", self.probe.channel()]);
        self.questions.ask(Question::Probe);
        for topic in topics.all() {
            self.subscribe(topics, topic.clone());
        }
        self.unconfirmed = was_lost.then(|| topics.all().cloned().collect());
        match self.carry(topics, commands, events).await {
            Ok(()) => End::Unwanted,
            Err(reason) => End::Lost(reason),
        }
    }

    async fn carry(
        &mut self,
        topics: &mut Topics,
        commands: &mut mpsc::Receiver<LiveCommand>,
        events: &mpsc::Sender<Vec<LiveEvent>>,
    ) -> Result<(), String> {
        let mut probe = interval(PROBE.min(self.settings.timeout / 2));
        let mut heard = Instant::now();
        let mut batch = self.decode(topics)?;
        loop {
            if !batch.is_empty() {
                let begun = Instant::now();
                if events.send(std::mem::take(&mut batch)).await.is_err() {
                    return Ok(());
                }
                // While the hub was slow nobody listened: that says nothing about Redis.
                heard = Instant::now();
                self.questions.excuse(begun.elapsed());
                self.probe.excuse(false);
            }
            self.wire.flush().await?;
            tokio::select! {
                read = self.wire.read() => {
                    if !read? {
                        return Err("it closed the connection".to_owned());
                    }
                    heard = Instant::now();
                    batch = self.decode(topics)?;
                }
                command = commands.recv() => {
                    let Some(command) = command else { return Ok(()) };
                    self.obey(topics, command);
                    while let Ok(command) = commands.try_recv() {
                        self.obey(topics, command);
                    }
                }
                _ = probe.tick() => {
                    if heard.elapsed() > self.settings.timeout {
                        return Err("it does not answer".to_owned());
                    }
                    if self.questions.are_ignored(self.settings.timeout) {
                        return Err("what comes from it arrives, but it answers nothing".to_owned());
                    }
                    if self.probe.is_lost(self.settings.timeout) {
                        return Err("it is connected, and what the primary publishes does not arrive".to_owned());
                    }
                    self.wire.command(&["PING"]);
                    self.questions.ask(Question::Ping);
                    self.probe.send();
                }
                published = self.probe.published() => self.probe.note(published),
                () = events.closed() => return Ok(()),
            }
        }
    }

    fn obey(&mut self, topics: &mut Topics, command: LiveCommand) {
        match command {
            LiveCommand::Subscribe(topic) => {
                topics.insert(topic.clone());
                self.subscribe(topics, topic);
            }
            LiveCommand::Capture(topic) => {
                topics.insert(topic.clone());
                topics.capture(topic.clone());
                self.subscribe(topics, topic);
            }
            LiveCommand::Unsubscribe(topic) => {
                topics.remove(&topic);
                if let Some(unconfirmed) = &mut self.unconfirmed {
                    unconfirmed.remove(&topic);
                }
                let name = topics::name(&topic);
                match topic {
                    Topic::Channel(_) => self.wire.command(&["UNSUBSCRIBE", name]),
                    Topic::Pattern(_) => self.wire.command(&["PUNSUBSCRIBE", name]),
                }
            }
            LiveCommand::Check(channel) => {
                let (head, log) = (self.settings.keys.head(&channel), self.settings.keys.log(&channel));
                // By its text, not by its hash: a server that does not know it would answer too late to be in order.
                self.wire.command(&["EVAL", script::HEAD.code(), "2", &head, &log]);
                self.questions.ask(Question::Check(channel));
            }
            LiveCommand::Recent { skip } => {
                let (registry, skipped) = (self.settings.keys.registry(), skip.to_string());
                let (window, count) = (RECENT_MS.to_string(), RECENT_NAMES.to_string());
                self.wire.command(&["EVAL", script::RECENT.code(), "1", &registry, &window, &skipped, &count]);
                self.questions.ask(Question::Recent(skip));
            }
        }
    }

    fn subscribe(&mut self, topics: &Topics, topic: Topic) {
        let command = match topic {
            Topic::Channel(_) => "SUBSCRIBE",
            Topic::Pattern(_) => "PSUBSCRIBE",
        };
        if topics.is_captured(&topic) {
            self.wire.command(&[command, &topics.notices(&topic)]);
            self.questions.ask(Question::Notices(topic.clone()));
        }
        self.wire.command(&[command, topics::name(&topic)]);
        self.questions.ask(Question::Subscribe(topic));
    }

    /// Turns everything that is there as a whole into events.
    fn decode(&mut self, topics: &mut Topics) -> Result<Vec<LiveEvent>, String> {
        let mut events = Vec::new();
        self.restored(&mut events);
        while let Some(reply) = self.wire.next()? {
            match reply {
                Reply::Push(items) => self.push(topics, items, &mut events),
                reply => self.answer(topics, reply, &mut events)?,
            }
        }
        Ok(events)
    }

    fn push(&mut self, topics: &Topics, items: Vec<Reply>, events: &mut Vec<LiveEvent>) {
        let mut items = items.into_iter();
        let Some(Reply::Text(kind)) = items.next() else { return };
        match &kind[..] {
            b"message" => {
                let (Some(Reply::Text(channel)), payload) = (items.next(), items.next()) else { return };
                match (topics.channel(&channel), payload) {
                    (Some(topic), payload) if topics.is_notice(topic, &channel) => {
                        events.extend(notice(topics, topic, &channel, payload));
                    }
                    (Some(topic), Some(payload)) => events.push(pushed(topic, channel, payload)),
                    (None, Some(Reply::Text(payload))) if &channel[..] == self.probe.channel().as_bytes() => {
                        self.probe.received(&payload);
                    }
                    _ => {}
                }
            }
            b"pmessage" => {
                let Some(Reply::Text(pattern)) = items.next() else { return };
                let Some(topic) = topics.pattern(&pattern) else { return };
                match (items.next(), items.next()) {
                    (Some(Reply::Text(channel)), payload) if topics.is_notice(topic, &pattern) => {
                        events.extend(notice(topics, topic, &channel, payload));
                    }
                    // Probes, notices and the like are nobody's messages.
                    (Some(Reply::Text(channel)), _) if self.settings.keys.is_own(&channel) => {}
                    (Some(Reply::Text(channel)), Some(payload)) => events.push(pushed(topic, channel, payload)),
                    (Some(Reply::Oversized(bytes)), _) => {
                        events.push(LiveEvent::Oversized { topic: topic.clone(), bytes });
                    }
                    _ => {}
                }
            }
            b"subscribe" | b"psubscribe" => {
                // The confirmation is the answer to the oldest question.
                match self.questions.answered() {
                    Some(Question::Subscribe(topic)) => {
                        events.push(LiveEvent::Subscribed(topic.clone()));
                        if topics.is_captured(&topic) {
                            events.push(LiveEvent::Captured(topic.clone()));
                        }
                        self.settle(&topic, events);
                    }
                    Some(Question::Probe) => self.probe.confirmed(),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn answer(&mut self, topics: &mut Topics, reply: Reply, events: &mut Vec<LiveEvent>) -> Result<(), String> {
        match (self.questions.answered().unwrap_or(Question::Other), reply) {
            (Question::Check(channel), Reply::List(fields)) => {
                let fields: Vec<String> = fields.iter().map(text).collect();
                if fields.first().is_some_and(|role| role != "master") {
                    // Whatever a demoted server relays or says is not believed.
                    return Err(words(b"READONLY"));
                }
                events.push(match head::read(&fields, self.settings.keeps_history) {
                    Ok(head) => LiveEvent::Head(channel, head),
                    Err(error) => LiveEvent::NoHead(channel, error),
                });
                Ok(())
            }
            (Question::Check(channel), Reply::Error(text)) => {
                events.push(LiveEvent::NoHead(channel, Error::Unavailable(words(&text))));
                Ok(())
            }
            (Question::Recent(skip), Reply::List(fields)) => {
                events.push(self.recent(skip, &fields)?);
                Ok(())
            }
            (Question::Recent(_), Reply::Error(text)) => {
                tracing::debug!(reason = words(&text), "the registry can't be read");
                Ok(())
            }
            (Question::Check(_) | Question::Recent(_), _) => {
                Err("it answered in a way that is not understood".to_owned())
            }
            (Question::Probe, Reply::Error(text)) => {
                self.probe.refused(&words(&text));
                Ok(())
            }
            (Question::Notices(topic), Reply::Error(text)) => {
                topics.release(&topic);
                events.push(LiveEvent::NotCaptured(topic, words(&text)));
                Ok(())
            }
            (Question::Subscribe(topic), Reply::Error(text)) => {
                topics.remove(&topic);
                events.push(LiveEvent::Refused(topic.clone(), words(&text)));
                self.settle(&topic, events);
                Ok(())
            }
            (Question::Ping, _) => {
                self.probe.answered();
                Ok(())
            }
            (Question::Subscribe(_) | Question::Notices(_) | Question::Probe | Question::Other, _) => Ok(()),
        }
    }

    /// Reads what `recent.lua` answers.
    fn recent(&self, skip: usize, fields: &[Reply]) -> Result<LiveEvent, String> {
        let [role, registered, names @ ..] = fields else {
            return Err("it answered in a way that is not understood".to_owned());
        };
        if text(role) != "master" {
            return Err(words(b"READONLY"));
        }
        let registered = text(registered).parse().unwrap_or(0);
        let more = names.len() == RECENT_NAMES;
        let names = names.iter().filter_map(|name| self.settings.names.parse(&text(name)).ok()).collect();
        Ok(LiveEvent::Recent { skip, names, more, registered })
    }

    fn settle(&mut self, topic: &Topic, events: &mut Vec<LiveEvent>) {
        if let Some(unconfirmed) = &mut self.unconfirmed {
            unconfirmed.remove(topic);
        }
        self.restored(events);
    }

    fn restored(&mut self, events: &mut Vec<LiveEvent>) {
        if self.unconfirmed.as_ref().is_some_and(HashSet::is_empty) {
            self.unconfirmed = None;
            events.push(LiveEvent::Restored);
        }
    }
}

fn pushed(topic: &Topic, channel: Bytes, payload: Reply) -> LiveEvent {
    let topic = topic.clone();
    match payload {
        Reply::Text(payload) => LiveEvent::Push { topic, channel, payload },
        Reply::Oversized(bytes) => LiveEvent::Oversized { topic, bytes },
        _ => LiveEvent::Oversized { topic, bytes: 0 },
    }
}

/// `None` for a notice that is none of ours.
fn notice(topics: &Topics, topic: &Topic, channel: &[u8], payload: Option<Reply>) -> Option<LiveEvent> {
    let Some(Reply::Text(mut payload)) = payload else { return None };
    let hash = payload.first_chunk().copied()?;
    let json = payload.split_off(Raw::HASH_BYTES);
    Some(LiveEvent::Notice { topic: topic.clone(), channel: topics.noticed(channel)?, hash, json })
}

fn text(reply: &Reply) -> String {
    match reply {
        Reply::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Reply::Int(number) => number.to_string(),
        _ => String::new(),
    }
}

/// An error's text, or what it means where that is known.
fn words(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let code = text.split(' ').next().unwrap_or_default();
    error::refusal(code).map_or_else(|| format!("it answered {text}"), str::to_owned)
}
