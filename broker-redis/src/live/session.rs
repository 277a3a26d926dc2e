//! One connected socket, from its greeting to its end.

use std::sync::Arc;

use tidings::{
    broker::{LiveCommand, LiveEvent, Topic},
    limits::PROBE_INTERVAL,
};
use tokio::{
    sync::mpsc,
    time::{Instant, interval},
};

use super::{End, Settings, probe::Probe, replies::Replies, requests::Requests, restoring::Restoring, topics::Topics};

pub(super) struct LiveSession {
    settings: Arc<Settings>,
    requests: Requests,
    probe: Probe,
    restoring: Restoring,
}

impl LiveSession {
    /// Connects and greets the server.
    pub(super) async fn open(settings: Arc<Settings>) -> Result<Self, String> {
        let requests = Requests::open(&settings).await?;
        let probe = Probe::new(&settings.keys, Arc::clone(&settings.connection), settings.probed.clone());
        Ok(Self { settings, requests, probe, restoring: Restoring::nothing() })
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
        self.restoring.loads(self.requests.load_scripts());
        self.requests.subscribe_probe(self.probe.channel());
        topics.begin();
        for topic in topics.all() {
            self.requests.subscribe(topics, topic.clone());
        }
        self.requests.subscribe_patterns(topics);
        if was_lost {
            self.restoring.wait_for(topics.all().cloned().collect());
        }
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
        self.restoring.is_over()
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
                self.requests.excuse(begun.elapsed(), had_messages);
                self.probe.excuse(begun.elapsed(), had_messages);
            }
            std::mem::replace(&mut decoded, Ok(()))?;
            self.requests.flush().await?;
            tokio::select! {
                read = self.requests.read() => {
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
                    self.requests.subscribe_patterns(topics);
                }
                _ = probe.tick() => {
                    if let Some(reason) = self.is_useless(last_read) {
                        return Err(End::Useless(reason.to_owned()));
                    }
                    self.requests.ping();
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
        if self.requests.are_ignored(answer_timeout) {
            return Some("what comes from it arrives, but it answers nothing");
        }
        let is_lost = self.probe.is_lost(answer_timeout);
        is_lost.then_some("it is connected, and what the primary publishes does not arrive")
    }

    /// Turns everything that is there as a whole into events.
    fn decode(&mut self, topics: &mut Topics, events: &mut Vec<LiveEvent>) -> Result<(), End> {
        let Self { settings, requests, probe, restoring } = self;
        Replies { settings, requests, probe, restoring, topics, events }.decode()
    }

    fn obey(&mut self, topics: &mut Topics, command: LiveCommand) {
        match command {
            LiveCommand::Subscribe(topic) => {
                topics.insert(topic.clone());
                self.requests.subscribe(topics, topic);
            }
            LiveCommand::Capture(topic) => {
                topics.insert(topic.clone());
                topics.capture(topic.clone());
                self.requests.subscribe(topics, topic);
            }
            LiveCommand::Unsubscribe(topic) => {
                let unused = topics.remove(&topic);
                self.restoring.settle(&topic);
                for name in unused {
                    match topic {
                        Topic::Channel(_) => self.requests.unsubscribe(&name),
                        Topic::Pattern(_) => self.requests.unsubscribe_pattern(&name),
                    }
                }
            }
            LiveCommand::Check(channel) => {
                self.requests.subscribe_patterns(topics);
                self.requests.check(channel, false);
            }
            LiveCommand::Recent { skip } => {
                self.requests.subscribe_patterns(topics);
                self.requests.recent(skip);
            }
        }
    }
}
