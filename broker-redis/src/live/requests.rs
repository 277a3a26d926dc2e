//! The commands of a session, each with the question that its answer belongs to, and the socket that they share with
//! what comes back.

use bytes::Bytes;
use tidings::{
    broker::Topic,
    channel::ChannelName,
    limits::{LIVE_READ_BYTES, REGISTRY_RECENT, REGISTRY_RECENT_NAMES},
};
use tokio::time::Duration;

use super::{
    Settings,
    questions::{Question, Questions},
    topics::Topics,
};
use crate::{keys::Keys, resp::Reply, resp_connection::RespConnection, script};

pub(super) struct Requests {
    keys: Keys,
    connection: RespConnection,
    questions: Questions,
}

impl Requests {
    /// Connects and greets the server.
    pub(super) async fn open(settings: &Settings) -> Result<Self, String> {
        let connection =
            RespConnection::open(&settings.server, "tidings-live", LIVE_READ_BYTES, settings.timeout).await?;
        Ok(Self { keys: settings.keys.clone(), connection, questions: Questions::new() })
    }

    fn request(&mut self, command: &[&str], question: Question) {
        self.connection.command(command);
        self.questions.ask(question);
    }

    /// Gives the server the scripts that are called here. Where it forgets them, it is given them again. Answers how
    /// many that are.
    pub(super) fn load_scripts(&mut self) -> usize {
        let scripts = [&script::HEAD, &script::RECENT];
        for script in scripts {
            self.request(&["SCRIPT", "LOAD", script.code()], Question::Load);
        }
        scripts.len()
    }

    /// Asks for a head. `is_repeat`: the server had forgotten the script, and was given it again.
    pub(super) fn check(&mut self, channel: ChannelName, is_repeat: bool) {
        let (head, log, data_set) = (self.keys.head(&channel), self.keys.log(&channel), self.keys.data_set());
        let question = if is_repeat { Question::CheckAgain(channel) } else { Question::Check(channel) };
        self.request(&["EVALSHA", script::HEAD.hash(), "3", &head, &log, &data_set], question);
    }

    /// Asks which channels were published on lately, without the first `skip`.
    pub(super) fn recent(&mut self, skip: usize) {
        let (registry, skipped) = (self.keys.registry(), skip.to_string());
        let (window, count) = (REGISTRY_RECENT.as_millis().to_string(), REGISTRY_RECENT_NAMES.to_string());
        let command = ["EVALSHA", script::RECENT.hash(), "1", &registry, &window, &skipped, &count];
        self.request(&command, Question::Recent(skip));
    }

    pub(super) fn ping(&mut self) {
        self.request(&["PING"], Question::Ping);
    }

    /// Subscribes to the channel of probes.
    pub(super) fn subscribe_probe(&mut self, channel: &str) {
        self.request(&["SUBSCRIBE", channel], Question::Probe);
    }

    /// Subscribes to a channel, and to a topic's notices. Patterns follow, with their carriers.
    pub(super) fn subscribe(&mut self, topics: &Topics, topic: Topic) {
        let command = match topic {
            Topic::Channel(_) => "SUBSCRIBE",
            Topic::Pattern(_) => "PSUBSCRIBE",
        };
        if topics.is_captured(&topic) {
            self.request(&[command, &topics.notices(&topic)], Question::Notices(topic.clone()));
        }
        if let Topic::Channel(channel) = &topic {
            self.request(&[command, channel.as_str()], Question::Subscribe(topic.clone()));
        }
    }

    /// Subscribes to what the patterns are to come through. Where that is subscribed to already, Redis confirms it
    /// again, at its position among the messages.
    pub(super) fn subscribe_patterns(&mut self, topics: &mut Topics) {
        for (pattern, carrier) in topics.take_asked() {
            let name = String::from_utf8_lossy(&carrier).into_owned();
            self.request(&["PSUBSCRIBE", &name], Question::Carrier(pattern, carrier));
        }
    }

    /// Ends a subscription to a channel. No question belongs to its confirmation.
    pub(super) fn unsubscribe(&mut self, name: &[u8]) {
        self.connection.command(&["UNSUBSCRIBE", &String::from_utf8_lossy(name)]);
    }

    /// The same for a pattern.
    pub(super) fn unsubscribe_pattern(&mut self, name: &[u8]) {
        self.connection.command(&["PUNSUBSCRIBE", &String::from_utf8_lossy(name)]);
    }

    /// Sends what was asked since the last time.
    pub(super) async fn flush(&mut self) -> Result<(), String> {
        self.connection.flush().await
    }

    /// Reads what has come; false where the server has closed the connection. It may be dropped at any time.
    pub(super) async fn read(&mut self) -> Result<bool, String> {
        self.connection.read().await
    }

    /// The next message to a channel, where that is what comes next: see [`RespConnection::next_message`].
    pub(super) fn next_message(&mut self) -> Option<(Bytes, Bytes)> {
        self.connection.next_message()
    }

    /// The next push or answer that is there as a whole.
    pub(super) fn next(&mut self) -> Result<Option<Reply>, String> {
        self.connection.next()
    }

    /// The question that the next answer belongs to.
    pub(super) fn answered(&mut self) -> Option<Question> {
        self.questions.answered()
    }

    /// Nothing was read for so long, which says nothing about the server.
    pub(super) fn excuse(&mut self, while_nobody_read: Duration, had_messages: bool) {
        self.questions.excuse(while_nobody_read, had_messages);
    }

    /// Whether an answer has been missing for too long: what we send does not arrive, whatever comes from there.
    pub(super) fn are_ignored(&self, answer_timeout: Duration) -> bool {
        self.questions.are_ignored(answer_timeout)
    }
}
