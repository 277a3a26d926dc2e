//! Holds the story of a durable subscription against the promises: at least once, one at a time, an acknowledgement
//! counts, attempts and dead letters are exact, and nothing goes silently.
//!
//! What is said of a message holds as far as Redis keeps its word: what was written before a loss may be undone by it,
//! and nothing else excuses anything.

mod attempts;
mod ending;
mod leases;
mod letters;
mod message;
mod order;
mod settling;

use std::collections::HashMap;

use tidings::message::Position;

use self::message::{Message, messages};
use super::{Spot, Violation, must, show, truth::Truth};
use crate::{
    history::{At, History},
    work::story::Story,
};

/// What the rules look at.
struct Case<'a> {
    history: &'a History,
    truth: &'a Truth<'a>,
    story: &'a Story,
    index: usize,
    /// When somebody first tried to publish what is on the channel.
    published: HashMap<&'a str, At>,
}

/// Judges all subscriptions.
pub(super) fn check(history: &History, truth: &Truth, violations: &mut Vec<Violation>) {
    for (index, story) in history.stories.iter().enumerate() {
        let mut published = HashMap::new();
        for attempt in history.attempts.iter().filter(|attempt| attempt.channel == story.channel) {
            let first: &mut At = published.entry(attempt.body.as_str()).or_insert(attempt.began);
            *first = attempt.began.min(*first);
        }
        let case = Case { history, truth, story, index, published };
        case.sessions(violations);
        let messages = messages(story);
        for message in messages.values() {
            let wrong = case
                .contents(message)
                .and_then(|()| leases::check(&case, message))
                .and_then(|()| settling::check(&case, message))
                .and_then(|()| attempts::check(&case, message));
            if let Err(text) = wrong {
                violations.push(case.violation(message.position, text));
            }
        }
        if story.is_ordered {
            order::check(&case, &messages, violations);
        }
        letters::check(&case, &messages, violations);
        ending::check(&case, &messages, violations);
    }
}

impl Case<'_> {
    fn violation(&self, position: Position, text: String) -> Violation {
        let text = format!("{}, {}: {text}", self.story.name, show(position));
        Violation { text, spot: Spot::Work(self.index, position) }
    }

    fn general(&self, text: String) -> Violation {
        Violation { text: format!("{}: {text}", self.story.name), spot: Spot::Run }
    }

    /// Whether what was written within this time may be forgotten when something else is seen.
    fn forgets(&self, from: At, until: At, seen: At) -> bool {
        self.history.faults.iter().any(|fault| {
            fault.began <= seen && fault.loses_from.is_some_and(|loses| loses <= until && from <= fault.ended)
        })
    }

    /// Whether Redis loses anything in this run.
    fn loses(&self) -> bool {
        self.history.faults.iter().any(|fault| fault.loses_from.is_some())
    }

    /// Streams end with their subscriber, and with their subscription, which only a loss takes.
    fn sessions(&self, violations: &mut Vec<Violation>) {
        if let Some(at) = self.story.missing.iter().find(|at| !self.truth.loss_before(**at)) {
            violations.push(self.general(format!("is said not to be there at {:.3}", at.as_secs_f64())));
        }
        for session in &self.story.sessions {
            let Some((at, why)) = &session.ended else { continue };
            let mut faults = self.history.faults.iter();
            let with_its_server = session.instance == crate::board::NOBODY
                || faults.any(|fault| fault.ends_streams_of == Some(session.instance) && fault.began <= *at);
            let is_gone = why == "SUBSCRIPTION_NOT_FOUND" && self.truth.loss_before(*at);
            // Redis can't be reached, or the service stops.
            let is_refused = !session.is_begun && (why == "BROKER_UNAVAILABLE" || why == "DRAINING");
            if !with_its_server && !is_gone && !is_refused {
                let (opened, at) = (session.opened.as_secs_f64(), at.as_secs_f64());
                let text = format!("a stream of {opened:.3} ends at {at:.3} with {why}, for no reason");
                violations.push(self.general(text));
            }
        }
    }

    /// A delivery says what the log says.
    fn contents(&self, message: &Message) -> Result<(), String> {
        for delivery in &message.deliveries {
            let said = self.truth.says(&self.story.channel, message.position);
            must!(
                said.is_none_or(|said| said == delivery.body),
                "{} is delivered, and {said:?} is there",
                delivery.body
            );
        }
        Ok(())
    }

    /// Whether the log was seen to begin after a message, until then, or at the first look after it: what is trimmed
    /// between two looks shows at the second.
    fn was_trimmed(&self, position: Position, until: At) -> bool {
        let before = self.history.samples.partition_point(|sample| sample.began <= until);
        let mut samples = self.history.samples.iter().take(before + 1);
        samples.any(|sample| sample.heads.get(&self.story.channel).is_some_and(|head| head.first > position.sequence))
    }
}
