//! From where a stream that was cut off resumes. Pure: it sees requests and events, no connection.
//!
//! On a channel that is the last cursor received. On a pattern it is the last whole-stream cursor, and the latest
//! cursor of each channel that sent messages since; the next whole-stream cursor makes those needless.

use std::collections::HashMap;

use tidings::{
    limits::AFTER_CURSORS,
    pb::{StreamMessagesRequest, stream_messages_response::Event},
};

/// The position of one stream.
#[derive(Debug)]
pub(crate) struct Resume {
    first: StreamMessagesRequest,
    is_started: bool,
    /// The last cursor of the whole stream: on a channel that of any event.
    cursor: Option<String>,
    /// On a pattern: the latest cursor of each channel since.
    since: HashMap<String, String>,
}

impl Resume {
    /// A stream of a channel, or of a pattern where the target has a glob's characters, that starts as `request` says.
    pub(crate) fn new(target: &str, request: StreamMessagesRequest) -> Self {
        let (channel, pattern) = if Self::is_pattern(target) { ("", target) } else { (target, "") };
        let first = StreamMessagesRequest { channel: channel.to_owned(), pattern: pattern.to_owned(), ..request };
        Self { first, is_started: false, cursor: None, since: HashMap::new() }
    }

    /// Whether a target has a glob's characters, which no channel has.
    pub(crate) fn is_pattern(target: &str) -> bool {
        target.contains(['*', '?', '[', ']', '\\'])
    }

    /// Whether [`request`](Self::request) resumes without losing or repeating anything.
    pub(crate) fn is_possible(&self) -> bool {
        !self.is_started || self.cursor.is_some()
    }

    /// What to ask for next: the first request, or what follows the last event.
    pub(crate) fn request(&self) -> StreamMessagesRequest {
        let Some(cursor) = &self.cursor else { return self.first.clone() };
        StreamMessagesRequest {
            earliest: false,
            since: None,
            last: 0,
            after: std::iter::once(cursor).chain(self.since.values()).cloned().collect(),
            ..self.first.clone()
        }
    }

    /// Notes an event that has been dealt with.
    pub(crate) fn passed(&mut self, event: Event) {
        self.is_started = true;
        let (channel, cursor) = match event {
            Event::Started(started) => (None, started.cursor),
            Event::CaughtUp(caught_up) => (None, caught_up.cursor),
            Event::Heartbeat(heartbeat) => (None, heartbeat.cursor),
            // Without a sequence of its own: its cursor is that of its predecessor.
            Event::Message(message) if message.sequence == 0 => return,
            Event::Message(message) => (Some(message.channel), message.cursor),
            Event::Gap(gap) => (Some(gap.channel), gap.cursor),
        };
        // Above 1,000 channels whole-stream cursors are empty; the one before, with what came since, stays good.
        if cursor.is_empty() {
            return;
        }
        match channel.filter(|_| !self.first.pattern.is_empty()) {
            None => {
                self.cursor = Some(cursor);
                self.since.clear();
            }
            Some(channel) if self.since.len() < AFTER_CURSORS || self.since.contains_key(&channel) => {
                if self.cursor.is_some() {
                    self.since.insert(channel, cursor);
                }
            }
            // More than one request can say. The next whole-stream cursor makes resuming possible again.
            Some(_) => {
                self.cursor = None;
                self.since.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings::pb::{Heartbeat, Message, Started};

    use super::*;

    fn message(channel: impl Into<String>, cursor: &str) -> Event {
        let (channel, cursor) = (channel.into(), cursor.to_owned());
        Event::Message(Message { channel, cursor, sequence: 1, ..Message::default() })
    }

    fn started(cursor: &str) -> Event {
        Event::Started(Started { cursor: cursor.to_owned() })
    }

    fn heartbeat(cursor: &str) -> Event {
        Event::Heartbeat(Heartbeat { cursor: cursor.to_owned() })
    }

    #[test]
    fn a_channel_resumes_from_its_last_cursor() {
        let mut resume = Resume::new("orders", StreamMessagesRequest { last: 3, ..Default::default() });
        assert_eq!(resume.request().last, 3);
        resume.passed(started("c0"));
        resume.passed(message("orders", "c1"));
        let request = resume.request();
        assert_eq!((request.channel.as_str(), request.last), ("orders", 0));
        assert_eq!(request.after, ["c1"]);
    }

    #[test]
    fn a_pattern_resumes_from_its_whole_cursor_and_what_came_since() {
        let mut resume = Resume::new("o.*", StreamMessagesRequest { earliest: true, ..Default::default() });
        resume.passed(started("w0"));
        resume.passed(message("o.1", "a1"));
        resume.passed(message("o.1", "a2"));
        let request = resume.request();
        assert_eq!((request.pattern.as_str(), request.earliest), ("o.*", false));
        assert_eq!(request.after, ["w0", "a2"]);
        resume.passed(heartbeat("w1"));
        assert_eq!(resume.request().after, ["w1"]);
        resume.passed(heartbeat(""));
        assert_eq!(resume.request().after, ["w1"]);
    }

    #[test]
    fn a_pattern_with_too_many_channels_says_that_it_cannot_resume() {
        let mut resume = Resume::new("*", StreamMessagesRequest::default());
        resume.passed(started(""));
        assert!(!resume.is_possible());
        resume.passed(heartbeat("w1"));
        assert!(resume.is_possible());
        for n in 0..=AFTER_CURSORS {
            assert!(resume.is_possible(), "{n}");
            resume.passed(message(format!("c{n}"), "c"));
        }
        assert!(!resume.is_possible());
        resume.passed(heartbeat("w2"));
        assert_eq!(resume.request().after, ["w2"]);
    }
}
