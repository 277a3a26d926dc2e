//! What a feed knows of one channel: its history, once its head was read; until then, and where a push is in doubt,
//! what waits for an answer.

use tidings::{
    broker::Head,
    channel::ChannelName,
    cursor::ChannelHash,
    envelope::{Claim, EnvelopeRef},
    limits::COMPARED_MESSAGES,
    message::Position,
};

use super::{
    claims::{Course, Shown},
    held::Room,
    looked::Question,
    verdict::Mark,
    waiting::{Push, Queue},
};
use crate::chunk::{Numbered, Origin};

/// Whether messages of plain programs on a channel are adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Captured {
    No,
    /// They are, and received through this feed.
    Here,
    /// They are, received through another one.
    Elsewhere,
}

/// One channel.
pub(super) struct Known {
    hash: ChannelHash,
    captured: Captured,
    /// Something was received since that was last asked.
    received: bool,
    state: State,
}

enum State {
    /// Something was asked for.
    Asked(Box<Asked>),
    /// The head was read.
    Head(Course),
}

/// What waits for an answer.
struct Asked {
    held: Queue,
    /// What was known before.
    before: Option<Course>,
    /// The log was asked, not the head.
    is_log: bool,
}

impl Known {
    /// A channel whose head is asked for.
    pub(super) fn asked(hash: ChannelHash, captured: Captured, room: &Room) -> Self {
        let asked = Asked { held: Queue::new(room), before: None, is_log: false };
        Self { hash, captured, received: true, state: State::Asked(Box::new(asked)) }
    }

    /// A channel whose head was read.
    pub(super) fn read(hash: ChannelHash, captured: Captured, course: Course) -> Self {
        Self { hash, captured, received: true, state: State::Head(course) }
    }

    pub(super) fn hash(&self) -> ChannelHash {
        self.hash
    }

    pub(super) fn captured(&self) -> Captured {
        self.captured
    }

    pub(super) fn set_captured(&mut self, captured: Captured) {
        self.captured = captured;
    }

    /// Whether something numbered was received since this was last asked.
    pub(super) fn take_received(&mut self) -> bool {
        std::mem::take(&mut self.received)
    }

    /// Whether its pushes wait.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self.state, State::Asked(_))
    }

    /// Whether some of them are held.
    pub(super) fn holds(&self) -> bool {
        matches!(&self.state, State::Asked(asked) if !asked.held.is_empty())
    }

    /// Whether its head was read, and there was one.
    pub(super) fn has_head(&self) -> bool {
        matches!(&self.state, State::Head(course) if course.position() != Position::START)
    }

    /// What waits.
    pub(super) fn held(&mut self) -> Option<&mut Queue> {
        match &mut self.state {
            State::Asked(asked) => Some(&mut asked.held),
            State::Head(_) => None,
        }
    }

    /// Its history, where nothing waits.
    pub(super) fn course(&mut self) -> Option<&mut Course> {
        match &mut self.state {
            State::Asked(_) => None,
            State::Head(course) => Some(course),
        }
    }

    /// Takes a head that was read for any reason. Returns what it shows.
    pub(super) fn compare(&mut self, head: Option<&Head>) -> Shown {
        self.course().map_or(Shown::Nothing, |course| course.compare(head))
    }

    /// Takes a push that has the position it claims, or claims none: its place in the history. `None` where it claims
    /// another one than comes next.
    pub(super) fn number(&mut self, envelope: &EnvelopeRef<'_>, push: Push<'_>) -> Option<Numbered> {
        let State::Head(course) = &mut self.state else { return None };
        let numbered = match envelope.claim() {
            Some(claim) if !course.follows(claim) => return None,
            Some(claim @ Claim { epoch, sequence }) => {
                let bits = Mark::bits(push.payload);
                // The date of what was adopted is a plain program's own; it is in the log since just now.
                let (time_ms, mark) = match push.notice {
                    Some(_) => (push.arrival_ms, Mark { time_ms: 0, bits }),
                    None => (envelope.time_ms(), Mark { time_ms: envelope.time_ms(), bits }),
                };
                course.pass(claim, mark);
                Numbered { before: Position::new(epoch, sequence - 1), sequence, position: course.position(), time_ms }
            }
            None => {
                let before = course.position();
                Numbered { before, sequence: 0, position: before, time_ms: envelope.time_ms() }
            }
        };
        // An unnumbered message says nothing of numbered messages: one may have been lost all the same.
        self.received |= numbered.sequence > 0;
        Some(numbered)
    }

    /// Where a position lies.
    pub(super) fn origin(&self, position: Position) -> Origin {
        match &self.state {
            State::Asked(_) => Origin::default(),
            State::Head(course) => course.origin(position),
        }
    }

    /// Takes what waited for the head, or for the log, with what was known before. Nothing where something else was
    /// asked. [`resume`](Self::resume) must follow.
    pub(super) fn answered(&mut self, by_log: bool) -> Option<(Queue, Option<Course>)> {
        match &mut self.state {
            State::Asked(asked) if asked.is_log == by_log => {}
            _ => return None,
        }
        match std::mem::replace(&mut self.state, State::Head(Course::default())) {
            State::Asked(asked) => Some((asked.held, asked.before)),
            State::Head(_) => None,
        }
    }

    /// What waits for nothing continues in this history.
    pub(super) fn resume(&mut self, course: Course) {
        self.state = State::Head(course);
    }

    /// Lets pushes wait for the head.
    pub(super) fn ask_head(&mut self, held: Queue) -> Option<()> {
        let before = Some(std::mem::take(self.course()?));
        self.state = State::Asked(Box::new(Asked { held, before, is_log: false }));
        Some(())
    }

    /// Lets pushes wait for the log. It is asked about the first of them, and those after it whose claims are near.
    pub(super) fn ask_log(&mut self, channel: &ChannelName, held: Queue) -> Option<Question> {
        let course = std::mem::take(self.course()?);
        let (last, has_fallen) = (course.last(), course.has_fallen());
        let claims: Vec<i64> = held.claims().map(|claim| claim.sequence).collect();
        let after = claims.first().map_or(last.position.sequence, |first| *first) - 1;
        let most = after + COMPARED_MESSAGES as i64;
        let to = claims.into_iter().filter(|sequence| (after..=most).contains(sequence)).max().unwrap_or(most);
        self.state = State::Asked(Box::new(Asked { held, before: Some(course), is_log: true }));
        Some(Question { channel: channel.clone(), after, to, last, by_head: false, has_fallen })
    }

    /// The head is where the pushes led to, and says that another message is there: the log is asked whether the last
    /// one is still there.
    pub(super) fn ask_last(&mut self, channel: &ChannelName, room: &Room) -> Option<Question> {
        let course = std::mem::take(self.course()?);
        let (last, has_fallen) = (course.last(), course.has_fallen());
        let after = last.position.sequence - 1;
        self.state = State::Asked(Box::new(Asked { held: Queue::new(room), before: Some(course), is_log: true }));
        Some(Question { channel: channel.clone(), after, to: after + 1, last, by_head: true, has_fallen })
    }
}
