//! What is asked of a twin and what it answers, in words that both have in common.

use std::{collections::BTreeMap, fmt};

use tidings::{
    broker::Error,
    limits::RUN_MESSAGES,
    message::{Draft, Payload},
};
use uuid::Uuid;

#[derive(Debug, Clone)]
pub(super) enum Call {
    /// Made at once, each on one channel.
    Publish(Vec<(usize, Vec<Sent>)>),
    ReadUp(usize, i64, (usize, usize)),
    ReadDown(usize, i64, (usize, usize)),
    /// The time of that receipt (as far as there are so many), and so many milliseconds later.
    Since(usize, usize, i64),
    Heads(Vec<usize>),
    Channels(&'static str, Option<usize>, usize),
    Recent,
    Follow(usize),
    Leave(usize),
    Restart,
}

/// A draft, shown in short when it fails.
#[derive(Clone)]
pub(super) struct Sent(pub(super) Draft);

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Draft { id, dedup, payload, attributes, .. } = &self.0;
        let (id, given) = (id.as_u128(), if dedup.is_some() { " given" } else { "" });
        write!(f, "(#{id:x}{given} {:.60} {} attributes)", format!("{payload:?}"), attributes.len())
    }
}

/// A message without its time and epoch, and whether these are the ones of its receipt.
#[derive(Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) sequence: i64,
    pub(super) id: Uuid,
    pub(super) payload: Payload,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) ordering_key: String,
    pub(super) is_as_receipted: bool,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, id, payload, attributes, is_as_receipted, .. } = self;
        let (id, doubt) = (id.as_u128(), if *is_as_receipted { "" } else { " not as receipted" });
        write!(f, "({sequence} #{id:x} {:.60} {} attributes{doubt})", format!("{payload:?}"), attributes.len())
    }
}

/// A head without its time and epochs, and whether these are the ones of the last receipt. `spare` is how many messages
/// are kept beyond what the limits ask for.
#[derive(Debug, PartialEq)]
pub(super) struct Stand {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) spare: i64,
    pub(super) keeps_history: bool,
    pub(super) is_as_receipted: bool,
}

/// What a receipt says: id, sequence, and whether it is a repeat.
pub(super) type Receipted = (Uuid, i64, bool);

#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Receipts(Vec<Result<Vec<Receipted>, Error>>),
    /// The head, and the messages of all pages together, since a page of runs may be longer.
    Messages(Option<Stand>, Vec<Seen>),
    Heads(Vec<Option<Stand>>),
    Names(Vec<String>),
    /// What was asked for can be checked on one side alone, since times differ.
    Holds(bool),
}

/// What a call brought: its answer, and the pushes of each channel through each topic.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) answer: Answer,
    pub(super) pushes: BTreeMap<(String, String), Vec<Seen>>,
}

/// Why two outcomes are not the same.
pub(super) fn agree(memory: &Outcome, redis: &Outcome) -> Result<(), String> {
    let differ = || Err(format!("\nmemory: {memory:?}\nredis:  {redis:?}"));
    if memory.pushes != redis.pushes {
        return differ();
    }
    let same = match (&memory.answer, &redis.answer) {
        (Answer::Messages(one_head, one), Answer::Messages(other_head, other)) => {
            let first = one_head.as_ref().map_or(0, |head| head.first);
            let other: Vec<_> = other.iter().filter(|seen| seen.sequence >= first).collect();
            alike(one_head.as_ref(), other_head.as_ref()) && one.iter().eq(other)
        }
        (Answer::Heads(one), Answer::Heads(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one.as_ref(), other.as_ref()))
        }
        (one, other) => one == other,
    };
    if same { Ok(()) } else { differ() }
}

/// The embedded broker keeps what the limits ask for, and Redis the oldest run as long as one of its messages is
/// retained.
fn alike(memory: Option<&Stand>, redis: Option<&Stand>) -> bool {
    let (Some(memory), Some(redis)) = (memory, redis) else { return memory.is_none() && redis.is_none() };
    let exact = Stand { first: memory.first, spare: 0, ..*redis };
    *memory == exact && (0..=RUN_MESSAGES as i64).contains(&redis.spare) && memory.is_as_receipted
}
