//! Writes a subscription's story while it happens.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tidings::{
    message::Position,
    pb::{LostMessages, ReceivedMessage, Settled, message::Payload},
    subscription::AckId,
};

use super::{
    fate::Intent,
    story::{Answer, Ask, Copy, Deed, Delivery, Ending, Lost, Redrive, Session, Story},
};
use crate::board::{Board, label};

/// The writer of one story, shared by all who take part.
#[derive(Clone)]
pub(crate) struct Notes {
    board: Arc<Board>,
    story: Arc<Mutex<Story>>,
}

/// An id that names no delivery.
pub(super) const NONSENSE: &str = "nonsense";

impl Notes {
    pub(super) fn new(board: &Arc<Board>, story: Story) -> Self {
        Self { board: Arc::clone(board), story: Arc::new(Mutex::new(story)) }
    }

    fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self) -> Story {
        std::mem::take(&mut *self.story())
    }

    /// A stream that was opened, or a pull that was answered.
    pub(super) fn opened(&self, instance: usize, is_pull: bool) -> usize {
        let opened = self.board.now();
        let closed = is_pull.then_some(opened);
        let mut story = self.story();
        story.sessions.push(Session { instance, opened, is_pull, is_begun: is_pull, closed, ended: None });
        story.sessions.len() - 1
    }

    /// A stream has begun.
    pub(super) fn begun(&self, session: usize) {
        self.story().sessions[session].is_begun = true;
    }

    pub(super) fn closed(&self, session: usize) {
        let now = self.board.now();
        self.story().sessions[session].closed = Some(now);
    }

    pub(super) fn ended(&self, session: usize, why: String) {
        let now = self.board.now();
        self.story().sessions[session].ended = Some((now, why));
    }

    pub(super) fn missing(&self) {
        let now = self.board.now();
        self.story().missing.push(now);
    }

    /// A delivery; answers nothing where it makes no sense.
    pub(super) fn delivered(
        &self,
        session: usize,
        received: &ReceivedMessage,
        ack_deadline: Duration,
    ) -> Option<Delivery> {
        let read = self.read(session, received, ack_deadline);
        match read {
            Ok(delivery) => {
                self.story().deliveries.push(delivery.clone());
                Some(delivery)
            }
            Err(what) => {
                self.board.trouble(format!("a delivery of {} {what}: {received:?}", self.story().name));
                None
            }
        }
    }

    fn read(
        &self,
        session: usize,
        received: &ReceivedMessage,
        ack_deadline: Duration,
    ) -> Result<Delivery, &'static str> {
        let message = received.message.as_ref().ok_or("has no message")?;
        let Some(Payload::Text(text)) = &message.payload else { return Err("has no text") };
        let epoch = message.epoch.parse().map_err(|_| "has no epoch")?;
        let position = Position::new(epoch, message.sequence);
        let id: AckId = received.ack_id.parse().map_err(|_| "has no ack id")?;
        if (id.epoch, id.sequence) != (epoch, message.sequence) || message.sequence < 1 {
            return Err("has the ack id of another message");
        }
        if message.channel != self.story().channel {
            return Err("is of another channel");
        }
        let deadline = received.ack_deadline_time.and_then(|time| SystemTime::try_from(time).ok());
        let deadline = self.board.at(deadline.ok_or("has no deadline")?);
        Ok(Delivery {
            session,
            ack_id: received.ack_id.clone(),
            generation: id.generation,
            position,
            body: label(text),
            key: message.ordering_key.clone(),
            attempt: u32::try_from(received.delivery_attempt).map_err(|_| "has no attempt")?,
            sent: deadline.saturating_sub(ack_deadline),
            received: self.board.now(),
            deadline,
        })
    }

    /// Losses that were reported.
    pub(super) fn lost(&self, lost: &[LostMessages]) {
        let at = self.board.now();
        self.story().lost.extend(lost.iter().map(|lost| Lost {
            at,
            count: lost.count,
            first: Position { epoch: lost.epoch.parse().ok(), sequence: lost.first_sequence },
            last: lost.last_sequence,
        }));
    }

    /// What is asked now; answers the numbers of the asks.
    pub(super) fn asked(&self, intents: &[Intent]) -> Vec<usize> {
        let asked = self.board.now();
        let mut story = self.story();
        let first = story.asks.len();
        let ask = |intent: &Intent| Ask { ack_id: intent.ack_id.clone(), deed: intent.deed, asked, answered: None };
        story.asks.extend(intents.iter().map(ask));
        (first..story.asks.len()).collect()
    }

    /// The answers to asks, in their order.
    pub(super) fn answered(&self, asks: &[usize], answers: &[Answer]) {
        let now = self.board.now();
        let mut story = self.story();
        for (ask, answer) in asks.iter().zip(answers) {
            story.asks[*ask].answered = Some((now, *answer));
        }
    }

    /// Reads what became of asks, in their order. Each id that was given must be in one list, which fits to what was
    /// asked.
    pub(super) fn read_settled(&self, intents: &[Intent], with_nonsense: bool, settled: &Settled) -> Vec<Answer> {
        let lists = [
            (&settled.acknowledged_ids, Some(0)),
            (&settled.rejected_ids, Some(1)),
            (&settled.extended_ids, Some(2)),
            (&settled.stale_ids, None),
        ];
        let mut answers: HashMap<&str, (Option<u8>, Answer)> = HashMap::new();
        let mut count = 0;
        for (list, kind) in lists {
            let answer = if kind.is_some() { Answer::Done } else { Answer::Stale };
            answers.extend(list.iter().map(|id| (id.as_str(), (kind, answer))));
            count += list.len();
        }
        answers.extend(settled.unknown_ids.iter().map(|id| (id.as_str(), (None, Answer::Unknown))));
        count += settled.unknown_ids.len();
        let fits = |intent: &Intent| {
            let kind = match intent.deed {
                Deed::Acknowledge => 0,
                Deed::Reject { .. } => 1,
                Deed::Extend(_) => 2,
            };
            answers.get(intent.ack_id.as_str()).is_some_and(|(of, _)| of.is_none_or(|of| of == kind))
        };
        let nonsense = answers.get(NONSENSE).map(|(_, answer)| *answer);
        let is_whole = count == intents.len() + usize::from(with_nonsense) && intents.iter().all(fits);
        if !is_whole || with_nonsense != nonsense.is_some() || nonsense == Some(Answer::Done) {
            let asked: Vec<_> = intents.iter().map(|intent| (&intent.ack_id, intent.deed)).collect();
            self.board.trouble(format!("{asked:?} was settled as {settled:?}"));
        }
        let of = |intent: &Intent| answers.get(intent.ack_id.as_str()).map_or(Answer::Unknown, |(_, answer)| *answer);
        intents.iter().map(of).collect()
    }

    pub(super) fn redriven(&self, redrive: Redrive) {
        self.story().redrives.push(redrive);
    }

    /// Dead letters that are on their channel.
    pub(super) fn seen(&self, copies: impl IntoIterator<Item = Copy>) {
        let mut story = self.story();
        for copy in copies {
            if !story.copies.contains(&copy) {
                story.copies.push(copy);
            }
        }
    }

    /// How many different messages were acknowledged since then.
    pub(super) fn end(&self, ending: Ending) {
        self.story().ending = Some(ending);
    }
}
