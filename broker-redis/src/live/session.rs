//! One connected socket, from its greeting to its end.

use std::{collections::HashSet, sync::Arc};

use tidings::{
    broker::{LiveCommand, LiveEvent, Topic},
    channel::ChannelName,
    limits::{LIVE_READ_BYTES, PROBE_INTERVAL, REGISTRY_RECENT, REGISTRY_RECENT_NAMES},
};
use tokio::{
    sync::mpsc,
    time::{Instant, interval},
};

use super::{
    End, Settings,
    probe::Probe,
    questions::{Question, Questions},
    topics::Topics,
};
use crate::{resp_connection::RespConnection, script};

pub(super) struct LiveSession {
    pub(super) settings: Arc<Settings>,
    pub(super) connection: RespConnection,
    pub(super) probe: Probe,
    pub(super) questions: Questions,
    /// The topics to be confirmed before the session is whole again; `None` when it is.
    pub(super) unconfirmed: Option<HashSet<Topic>>,
    /// Scripts that are on their way to the server: without them nothing can be asked.
    pub(super) loading: usize,
}

impl LiveSession {
    /// Connects and greets the server.
    pub(super) async fn open(settings: Arc<Settings>) -> Result<Self, String> {
        let connection =
            RespConnection::open(&settings.server, "tidings-live", LIVE_READ_BYTES, settings.timeout).await?;
        let probe = Probe::new(&settings.keys, Arc::clone(&settings.connection), settings.probed.clone());
        Ok(Self { settings, connection, probe, questions: Questions::new(), unconfirmed: None, loading: 0 })
    }

    /// Subscribes to everything that is followed, and carries events and commands until the session ends. Where another
    /// session `was_lost`, it says when all subscriptions are confirmed again.
    pub(super) async fn run(
        &mut self,
        was_lost: bool,
        topics: &mut Topics,
        commands: &mut mpsc::Receiver<LiveCommand>,
        events: &mpsc::Sender<Vec<LiveEvent>>,
    ) -> End {
        self.load_scripts();
        self.connection.command(&["SUBSCRIBE", self.probe.channel()]);
        self.questions.ask(Question::Probe);
        topics.carriers.begin();
        for topic in topics.all() {
            self.subscribe(topics, topic.clone());
        }
        self.subscribe_patterns(topics);
        self.unconfirmed = was_lost.then(|| topics.all().cloned().collect());
        match self.carry(topics, commands, events).await {
            Ok(()) => End::Unwanted,
            Err(end) => end,
        }
    }

    /// Whether a probe has come back on it.
    pub(super) fn has_worked(&self) -> bool {
        self.probe.has_come()
    }

    /// Whether all subscriptions were confirmed again on it.
    pub(super) fn has_restored(&self) -> bool {
        self.unconfirmed.is_none()
    }

    async fn carry(
        &mut self,
        topics: &mut Topics,
        commands: &mut mpsc::Receiver<LiveCommand>,
        events: &mpsc::Sender<Vec<LiveEvent>>,
    ) -> Result<(), End> {
        let mut probe = interval(PROBE_INTERVAL.min(self.settings.timeout / 2));
        let mut last_read = Instant::now();
        let mut batch = Vec::new();
        let mut decoded = self.decode(topics, &mut batch);
        loop {
            if !batch.is_empty() {
                let begun = Instant::now();
                let had_messages = batch.iter().any(LiveEvent::is_message);
                if events.send(std::mem::take(&mut batch)).await.is_err() {
                    return Ok(());
                }
                // While the hub was slow nobody listened: that says nothing about Redis.
                last_read = Instant::now();
                self.questions.excuse(begun.elapsed(), had_messages);
                self.probe.excuse(begun.elapsed(), had_messages);
            }
            std::mem::replace(&mut decoded, Ok(()))?;
            self.connection.flush().await?;
            tokio::select! {
                read = self.connection.read() => {
                    if !read? {
                        return Err(End::Lost("it closed the connection".to_owned()));
                    }
                    last_read = Instant::now();
                    decoded = self.decode(topics, &mut batch);
                }
                command = commands.recv() => {
                    let Some(command) = command else { return Ok(()) };
                    self.obey(topics, command);
                    while let Ok(command) = commands.try_recv() {
                        self.obey(topics, command);
                    }
                    self.subscribe_patterns(topics);
                }
                _ = probe.tick() => {
                    if let Some(reason) = self.is_useless(last_read) {
                        return Err(End::Useless(reason.to_owned()));
                    }
                    self.connection.command(&["PING"]);
                    self.questions.ask(Question::Ping);
                    self.probe.send();
                }
                published = self.probe.published() => self.probe.note(published),
                () = events.closed() => return Ok(()),
            }
        }
    }

    /// Why a session that is up in TCP is of no use, if it is not; something last came from it at that time.
    fn is_useless(&self, last_read: Instant) -> Option<&'static str> {
        let answer_timeout = self.settings.timeout;
        if last_read.elapsed() > answer_timeout {
            return Some("it does not answer");
        }
        if self.questions.are_ignored(answer_timeout) {
            return Some("what comes from it arrives, but it answers nothing");
        }
        let is_lost = self.probe.is_lost(answer_timeout);
        is_lost.then_some("it is connected, and what the primary publishes does not arrive")
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
                let unused = topics.remove(&topic);
                if let Some(unconfirmed) = &mut self.unconfirmed {
                    unconfirmed.remove(&topic);
                }
                let command = match topic {
                    Topic::Channel(_) => "UNSUBSCRIBE",
                    Topic::Pattern(_) => "PUNSUBSCRIBE",
                };
                for name in unused {
                    self.unsubscribe(command, &name);
                }
            }
            LiveCommand::Check(channel) => {
                self.subscribe_patterns(topics);
                self.check(channel, false);
            }
            LiveCommand::Recent { skip } => {
                self.subscribe_patterns(topics);
                let (registry, skipped) = (self.settings.keys.registry(), skip.to_string());
                let (window, count) = (REGISTRY_RECENT.as_millis().to_string(), REGISTRY_RECENT_NAMES.to_string());
                self.connection.command(&["EVALSHA", script::RECENT.hash(), "1", &registry, &window, &skipped, &count]);
                self.questions.ask(Question::Recent(skip));
            }
        }
    }

    /// Gives the server the scripts that are called here. Where it forgets them, it is given them again.
    pub(super) fn load_scripts(&mut self) {
        for script in [&script::HEAD, &script::RECENT] {
            self.connection.command(&["SCRIPT", "LOAD", script.code()]);
            self.questions.ask(Question::Load);
            self.loading += 1;
        }
    }

    /// Asks for a head. `is_repeat`: the server had forgotten the script, and was given it again.
    pub(super) fn check(&mut self, channel: ChannelName, is_repeat: bool) {
        let keys = &self.settings.keys;
        let (head, log, data_set) = (keys.head(&channel), keys.log(&channel), keys.data_set());
        self.connection.command(&["EVALSHA", script::HEAD.hash(), "3", &head, &log, &data_set]);
        self.questions.ask(match is_repeat {
            true => Question::CheckAgain(channel),
            false => Question::Check(channel),
        });
    }

    /// Subscribes to a channel, and to a topic's notices. Patterns follow, with their carriers.
    fn subscribe(&mut self, topics: &Topics, topic: Topic) {
        let command = match topic {
            Topic::Channel(_) => "SUBSCRIBE",
            Topic::Pattern(_) => "PSUBSCRIBE",
        };
        if topics.is_captured(&topic) {
            self.connection.command(&[command, &topics.notices(&topic)]);
            self.questions.ask(Question::Notices(topic.clone()));
        }
        if let Topic::Channel(channel) = &topic {
            self.connection.command(&[command, channel.as_str()]);
            self.questions.ask(Question::Subscribe(topic));
        }
    }

    /// Subscribes to what the patterns are to come through. Where that is subscribed to already, Redis confirms it
    /// again, at its position among the messages.
    pub(super) fn subscribe_patterns(&mut self, topics: &mut Topics) {
        for (pattern, carrier) in topics.carriers.take_asked() {
            self.connection.command(&["PSUBSCRIBE", &String::from_utf8_lossy(&carrier)]);
            self.questions.ask(Question::Carrier(pattern, carrier));
        }
    }

    /// Ends a subscription.
    pub(super) fn unsubscribe(&mut self, command: &str, name: &[u8]) {
        self.connection.command(&[command, &String::from_utf8_lossy(name)]);
    }
}
