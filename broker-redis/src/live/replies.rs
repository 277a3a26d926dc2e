//! A session's input as events: pushes, and the answers to its commands.

use std::collections::HashSet;

use bytes::Bytes;
use tidings::{
    broker::{LiveEvent, Topic, adopt::Raw},
    channel::Pattern,
    limits::REGISTRY_RECENT_NAMES,
};

use super::{End, questions::Question, session::LiveSession, topics::Topics};
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

impl LiveSession {
    /// Turns everything that is there as a whole into events. Events before the end are among them too: messages of
    /// plain programs come only once, and a refusal would be reported by nothing else.
    pub(super) fn decode(&mut self, topics: &mut Topics, events: &mut Vec<LiveEvent>) -> Result<(), End> {
        self.restored(events);
        loop {
            while let Some((channel, payload)) = self.connection.next_message() {
                self.message(topics, channel, Reply::Text(payload), events);
            }
            match self.connection.next()? {
                None => return Ok(()),
                Some(Reply::Push(items)) => self.push(topics, items, events),
                Some(reply) => self.answer(topics, reply, events)?,
            }
        }
    }

    fn message(&mut self, topics: &Topics, channel: Bytes, payload: Reply, events: &mut Vec<LiveEvent>) {
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

    fn push(&mut self, topics: &mut Topics, items: Vec<Reply>, events: &mut Vec<LiveEvent>) {
        let mut items = items.into_iter();
        let Some(Reply::Text(kind)) = items.next() else { return };
        match &kind[..] {
            b"message" => {
                if let (Some(Reply::Text(channel)), Some(payload)) = (items.next(), items.next()) {
                    self.message(topics, channel, payload, events);
                }
            }
            b"pmessage" => {
                let Some(Reply::Text(carrier)) = items.next() else { return };
                let (channel, payload) = (items.next(), items.next());
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
                        let matching = topics.carriers.topics(&carrier, &channel);
                        let matching = matching.iter().flat_map(|topics| topics.iter());
                        events.extend(matching.map(|topic| pushed(topic, channel.clone(), payload.clone())));
                    }
                    (Some(Reply::Oversized(bytes)), _) => {
                        // Its name is no channel's, whichever pattern it came through.
                        let matching = topics.carriers.topics(&carrier, &[0xff]);
                        let topic = matching.iter().flat_map(|topics| topics.iter()).next();
                        events.extend(topic.map(|topic| LiveEvent::Oversized { topic: topic.clone(), bytes }));
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
                        self.complete(&topic, events);
                    }
                    Some(Question::Carrier(pattern, carrier)) => self.carried(topics, &pattern, &carrier, events),
                    Some(Question::Probe) => self.probe.confirmed(),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// A pattern comes through a subscription from here on.
    fn carried(&mut self, topics: &mut Topics, pattern: &Pattern, carrier: &Bytes, events: &mut Vec<LiveEvent>) {
        let topic = Topic::Pattern(pattern.clone());
        let confirmed = topics.carriers.confirm(&topic, pattern, carrier);
        if let Some(unused) = confirmed.unused {
            self.unsubscribe("PUNSUBSCRIBE", &unused);
        }
        if confirmed.is_asked {
            events.push(LiveEvent::Subscribed(topic.clone()));
            if topics.is_captured(&topic) {
                events.push(LiveEvent::Captured(topic.clone()));
            }
            self.complete(&topic, events);
        }
    }

    fn answer(&mut self, topics: &mut Topics, reply: Reply, events: &mut Vec<LiveEvent>) -> Result<(), End> {
        match (self.questions.answered().unwrap_or(Question::Other), reply) {
            (Question::Check(channel) | Question::CheckAgain(channel), Reply::List(fields)) => {
                let fields: Vec<String> = fields.iter().map(Reply::word).collect();
                if fields.first().is_some_and(|role| !role::is_primary(role)) {
                    // Whatever a demoted server relays or says is not believed.
                    return Err(End::Useless(words(b"READONLY")));
                }
                events.push(match head::read(&fields, self.settings.keeps_history) {
                    Ok(head) => LiveEvent::Head(channel, head),
                    Err(error) => LiveEvent::NoHead(channel, error),
                });
                Ok(())
            }
            (Question::Check(channel), Reply::Error(text)) if text.starts_with(NO_SCRIPT) => {
                self.load_scripts();
                self.check(channel, true);
                Ok(())
            }
            (Question::Check(channel) | Question::CheckAgain(channel), Reply::Error(text)) => {
                events.push(LiveEvent::NoHead(channel, error::of_reading(&Said::parse(&text))));
                Ok(())
            }
            (Question::Recent(skip), Reply::List(fields)) => {
                events.push(self.recent(skip, &fields)?);
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
                self.loading = self.loading.saturating_sub(1);
                self.restored(events);
                Ok(())
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
                self.complete(&topic, events);
                Ok(())
            }
            (Question::Carrier(pattern, carrier), Reply::Error(text)) => {
                // A user may have the right to this very pattern, and not to the wider one that it shares with others.
                if topics.carriers.was_refused(&pattern, &carrier) {
                    self.subscribe_patterns(topics);
                    return Ok(());
                }
                let topic = Topic::Pattern(pattern);
                for unused in topics.remove(&topic) {
                    self.unsubscribe("PUNSUBSCRIBE", &unused);
                }
                events.push(LiveEvent::Refused(topic.clone(), words(&text)));
                self.complete(&topic, events);
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

    fn complete(&mut self, topic: &Topic, events: &mut Vec<LiveEvent>) {
        if let Some(unconfirmed) = &mut self.unconfirmed {
            unconfirmed.remove(topic);
        }
        self.restored(events);
    }

    fn restored(&mut self, events: &mut Vec<LiveEvent>) {
        if self.loading == 0 && self.unconfirmed.as_ref().is_some_and(HashSet::is_empty) {
            self.unconfirmed = None;
            events.push(LiveEvent::Restored);
        }
    }
}

fn not_understood() -> End {
    End::Lost("it answered in a way that is not understood".to_owned())
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
fn notice(topics: &Topics, topic: &Topic, channel: &[u8], payload: Reply) -> Option<LiveEvent> {
    let Reply::Text(mut payload) = payload else { return None };
    let hash = payload.first_chunk().copied()?;
    let json = payload.split_off(Raw::HASH_BYTES);
    Some(LiveEvent::Notice { topic: topic.clone(), channel: topics.noticed(channel)?, hash, json })
}
