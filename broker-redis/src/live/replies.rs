//! A session's input as events: pushes, and the answers to its commands.

use bytes::Bytes;
use tidings::{
    broker::{LiveEvent, Topic, adopt::Raw},
    channel::Pattern,
    envelope::EnvelopeRef,
    limits::{MESSAGE_BYTES, REGISTRY_RECENT_NAMES},
};

use super::{
    End, Settings, probe::Probe, questions::Question, requests::Requests, restoring::Restoring, topics::Topics,
};
use crate::{
    error::{self, Said},
    head,
    keys::Keys,
    resp::Reply,
    resp_connection::words,
    role,
};

/// How the answer of a server begins that does not know a script.
const NO_SCRIPT: &[u8] = b"NOSCRIPT";

/// Everything that an answer or a push may change.
pub(super) struct Replies<'a> {
    pub(super) settings: &'a Settings,
    pub(super) requests: &'a mut Requests,
    pub(super) probe: &'a mut Probe,
    pub(super) restoring: &'a mut Restoring,
    pub(super) topics: &'a mut Topics,
    pub(super) events: &'a mut Vec<LiveEvent>,
}

impl Replies<'_> {
    /// Turns everything that is there as a whole into events. Events before the end are among them too: messages of
    /// plain programs come only once, and a refusal would be reported by nothing else.
    pub(super) fn decode(mut self) -> Result<(), End> {
        self.restored();
        loop {
            while let Some((channel, payload)) = self.requests.next_message() {
                self.message(channel, Reply::Text(payload));
            }
            match self.requests.next()? {
                None => return Ok(()),
                Some(Reply::Push(items)) => self.push(items),
                Some(reply) => self.answer(reply)?,
            }
        }
    }

    fn message(&mut self, channel: Bytes, payload: Reply) {
        let (topics, events) = (&*self.topics, &mut *self.events);
        match (topics.channel(&channel), payload) {
            (Some(topic), payload) if topics.is_notice(topic, &channel) => {
                events.extend(notice(topics, topic, &channel, payload));
            }
            (Some(topic), payload) => events.push(pushed(topic, channel, payload)),
            (None, Reply::Text(payload)) if &channel[..] == self.probe.channel().as_bytes() => {
                self.probe.received(&payload);
            }
            _ => {}
        }
    }

    fn push(&mut self, items: Vec<Reply>) {
        let mut items = items.into_iter();
        let Some(Reply::Text(kind)) = items.next() else { return };
        match &kind[..] {
            b"message" => {
                if let (Some(Reply::Text(channel)), Some(payload)) = (items.next(), items.next()) {
                    self.message(channel, payload);
                }
            }
            b"pmessage" => {
                let Some(Reply::Text(carrier)) = items.next() else { return };
                let (channel, payload) = (items.next(), items.next());
                let (topics, events) = (&mut *self.topics, &mut *self.events);
                if let Some(topic) = topics.pattern(&carrier).filter(|topic| topics.is_notice(topic, &carrier)) {
                    if let (Some(Reply::Text(channel)), Some(payload)) = (channel, payload) {
                        events.extend(notice(topics, topic, &channel, payload));
                    }
                    return;
                }
                match (channel, payload) {
                    // Probes, notices and the like are nobody's messages.
                    (Some(Reply::Text(channel)), _) if self.settings.keys.is_own(&channel) => {}
                    // Those of other deployments neither.
                    (Some(Reply::Text(channel)), Some(Reply::Text(payload)))
                        if Keys::is_of_a_service(&channel, &payload) => {}
                    (Some(Reply::Text(channel)), Some(payload)) => {
                        let matching = topics.carried(&carrier, &channel);
                        let matching = matching.iter().flat_map(|topics| topics.iter());
                        events.extend(matching.map(|topic| pushed(topic, channel.clone(), payload.clone())));
                    }
                    (Some(Reply::Oversized(bytes)), _) => {
                        // Its name is no channel's, whichever pattern it came through.
                        let matching = topics.carried(&carrier, &[0xff]);
                        let topic = matching.iter().flat_map(|topics| topics.iter()).next();
                        events.extend(topic.map(|topic| LiveEvent::Oversized { topic: topic.clone(), bytes }));
                    }
                    _ => {}
                }
            }
            b"subscribe" | b"psubscribe" => {
                // The confirmation is the answer to the oldest question.
                match self.requests.answered() {
                    Some(Question::Subscribe(topic)) => self.subscribed(topic),
                    Some(Question::Carrier(pattern, carrier)) => self.carried(pattern, &carrier),
                    Some(Question::Probe) => self.probe.confirmed(),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// A topic's messages come from here on.
    fn subscribed(&mut self, topic: Topic) {
        self.events.push(LiveEvent::Subscribed(topic.clone()));
        if self.topics.is_captured(&topic) {
            self.events.push(LiveEvent::Captured(topic.clone()));
        }
        self.settled(&topic);
    }

    /// A pattern comes through a subscription from here on.
    fn carried(&mut self, pattern: Pattern, carrier: &Bytes) {
        let topic = Topic::Pattern(pattern.clone());
        let confirmed = self.topics.confirm(&topic, &pattern, carrier);
        if let Some(unused) = confirmed.unused {
            self.requests.unsubscribe_pattern(&unused);
        }
        if confirmed.is_asked {
            self.subscribed(topic);
        }
    }

    /// The server refuses a topic.
    fn refused(&mut self, topic: Topic, text: &[u8]) {
        self.events.push(LiveEvent::Refused(topic.clone(), words(text)));
        self.settled(&topic);
    }

    fn load_scripts(&mut self) {
        self.restoring.loads(self.requests.load_scripts());
    }

    fn answer(&mut self, reply: Reply) -> Result<(), End> {
        match (self.requests.answered().unwrap_or(Question::Other), reply) {
            (Question::Check(channel) | Question::CheckAgain(channel), Reply::List(fields)) => {
                let fields: Vec<String> = fields.iter().map(Reply::word).collect();
                if fields.first().is_some_and(|role| !role::is_primary(role)) {
                    // Whatever a demoted server relays or says is not believed.
                    return Err(End::Useless(words(b"READONLY")));
                }
                self.events.push(match head::read(&fields, self.settings.keeps_history) {
                    Ok(head) => LiveEvent::Head(channel, head),
                    Err(error) => LiveEvent::NoHead(channel, error),
                });
                Ok(())
            }
            (Question::Check(channel), Reply::Error(text)) if text.starts_with(NO_SCRIPT) => {
                self.load_scripts();
                self.requests.check(channel, true);
                Ok(())
            }
            (Question::Check(channel) | Question::CheckAgain(channel), Reply::Error(text)) => {
                self.events.push(LiveEvent::NoHead(channel, error::of_reading(&Said::parse(&text))));
                Ok(())
            }
            (Question::Recent(skip), Reply::List(fields)) => {
                let event = self.recent(skip, &fields)?;
                self.events.push(event);
                Ok(())
            }
            (Question::Recent(_), Reply::Error(text)) => {
                // Asked again before long.
                if text.starts_with(NO_SCRIPT) {
                    self.load_scripts();
                }
                tracing::debug!(reason = words(&text), "the registry can't be read");
                Ok(())
            }
            (Question::Check(_) | Question::CheckAgain(_) | Question::Recent(_), _) => Err(not_understood()),
            // The command connection can't be used either, and its keeper says so.
            (Question::Load, Reply::Error(text)) => Err(End::Lost(words(&text))),
            (Question::Load, _) => {
                self.restoring.loaded();
                self.restored();
                Ok(())
            }
            (Question::Probe, Reply::Error(text)) => {
                self.probe.refused(&words(&text));
                Ok(())
            }
            (Question::Notices(topic), Reply::Error(text)) => {
                self.topics.release(&topic);
                self.events.push(LiveEvent::NotCaptured(topic, words(&text)));
                Ok(())
            }
            (Question::Subscribe(topic), Reply::Error(text)) => {
                self.topics.remove(&topic);
                self.refused(topic, &text);
                Ok(())
            }
            (Question::Carrier(pattern, carrier), Reply::Error(text)) => {
                // A user may have the right to this very pattern, and not to the wider one that it shares with others.
                if self.topics.was_refused(&pattern, &carrier) {
                    self.requests.subscribe_patterns(self.topics);
                    return Ok(());
                }
                let topic = Topic::Pattern(pattern);
                for unused in self.topics.remove(&topic) {
                    self.requests.unsubscribe_pattern(&unused);
                }
                self.refused(topic, &text);
                Ok(())
            }
            (Question::Ping, _) => {
                self.probe.answered();
                Ok(())
            }
            (
                Question::Subscribe(_)
                | Question::Carrier(..)
                | Question::Notices(_)
                | Question::Probe
                | Question::Other,
                _,
            ) => Ok(()),
        }
    }

    /// Reads what `recent.lua` answers.
    fn recent(&self, skip: usize, fields: &[Reply]) -> Result<LiveEvent, End> {
        let [role, registered, names @ ..] = fields else {
            return Err(not_understood());
        };
        if !role::is_primary(&role.word()) {
            return Err(End::Useless(words(b"READONLY")));
        }
        let registered = registered.word().parse().unwrap_or(0);
        let more = names.len() == REGISTRY_RECENT_NAMES;
        let names = names.iter().filter_map(|name| self.settings.names.parse(&name.word()).ok()).collect();
        Ok(LiveEvent::Recent { skip, names, more, registered })
    }

    /// Nothing more is waited for of a topic.
    fn settled(&mut self, topic: &Topic) {
        self.restoring.settle(topic);
        self.restored();
    }

    fn restored(&mut self) {
        if self.restoring.is_done_now() {
            self.events.push(LiveEvent::Restored);
        }
    }
}

fn not_understood() -> End {
    End::Lost("it answered in a way that is not understood".to_owned())
}

fn pushed(topic: &Topic, channel: Bytes, payload: Reply) -> LiveEvent {
    let topic = topic.clone();
    match payload {
        Reply::Text(payload) if is_too_large(&payload) => LiveEvent::Oversized { topic, bytes: payload.len() },
        Reply::Text(payload) => LiveEvent::Push { topic, channel, payload },
        Reply::Oversized(bytes) => LiveEvent::Oversized { topic, bytes },
        _ => LiveEvent::Oversized { topic, bytes: 0 },
    }
}

/// Beyond what a message may have there is room for what the service adds to its own, and to no other.
fn is_too_large(payload: &Bytes) -> bool {
    payload.len() > MESSAGE_BYTES && EnvelopeRef::read(payload, 0).claim().is_none()
}

/// `None` for a notice that is none of ours.
fn notice(topics: &Topics, topic: &Topic, channel: &[u8], payload: Reply) -> Option<LiveEvent> {
    let Reply::Text(mut payload) = payload else { return None };
    let hash = payload.first_chunk().copied()?;
    let json = payload.split_off(Raw::HASH_BYTES);
    Some(LiveEvent::Notice { topic: topic.clone(), channel: topics.noticed(channel)?, hash, json })
}
