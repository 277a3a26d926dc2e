//! What must be so, by what consumers have seen and asked, and what was published. The first thing that is not ends the
//! schedule.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidings::{
    broker::{
        Error,
        subscriptions::{Change, LetterId},
    },
    subscription::{AckId, BlockId, Generation},
};
use tokio::time::Instant;

pub(super) use self::message::Taken;
use self::{message::Message, order::Order};
use crate::work::outcome::Outcome;

mod message;
mod order;

/// How long a replica may go on by settings that were changed, where calls fail, and where none does.
const STALE_SETTINGS: Duration = Duration::from_secs(15);
const FRESH_SETTINGS: Duration = Duration::from_millis(3_500);
/// Events of a trace.
const TRACE: usize = 80;

/// What is asked about a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Acknowledge,
    Reject { is_uncounted: bool, is_dead: bool },
    Extend(Duration),
}

/// Something that was asked.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) text: String,
    /// `None` where the text is no ack id.
    pub(super) id: Option<AckId>,
    pub(super) deed: Deed,
    pub(super) at: Instant,
}

/// A setting that was asked for, and since when it is confirmed.
struct Setting<T> {
    value: T,
    confirmed: Option<Instant>,
}

#[derive(Default)]
struct Truth {
    messages: HashMap<(Generation, i64), Message>,
    /// Whether each matches.
    published: BTreeMap<i64, bool>,
    /// Of those that have keys.
    order: Order,
    /// The present one, and the sequence that it began after.
    generation: Option<(Generation, i64)>,
    faulted: HashMap<usize, Instant>,
    attempts: Vec<Setting<u32>>,
    paused: Vec<Setting<bool>>,
    most_out: u64,
    has_faults: bool,
    letters: HashSet<LetterId>,
    deliveries: u64,
    redrives: u64,
    trace: VecDeque<String>,
    failure: Option<String>,
}

/// The truth, for all who take part.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Truth>>, Instant);

impl Shared {
    pub(super) fn new(has_faults: bool, most_out: u64, attempts: u32) -> Self {
        let attempts = vec![Setting { value: attempts, confirmed: Some(Instant::now()) }];
        let paused = vec![Setting { value: false, confirmed: Some(Instant::now()) }];
        let truth = Truth { has_faults, most_out, attempts, paused, ..Truth::default() };
        Self(Arc::new(Mutex::new(truth)), Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Truth> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an event.
    pub(super) fn note(&self, event: &str) {
        let event = format!("{:9.3} {event}", self.1.elapsed().as_secs_f64());
        let mut truth = self.lock();
        if truth.trace.len() == TRACE {
            truth.trace.pop_front();
        }
        truth.trace.push_back(event);
    }

    /// Something is not as it must be.
    pub(super) fn fail(&self, what: &str) {
        let at = self.1.elapsed().as_secs_f64();
        let mut truth = self.lock();
        if truth.failure.is_none() {
            let trace = Vec::from(std::mem::take(&mut truth.trace)).join("\n");
            truth.failure = Some(format!("{at:9.3} {what}\n--- the last events ---\n{trace}"));
        }
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    /// What happened last, where nothing failed.
    pub(super) fn trace(&self) -> String {
        Vec::from(self.lock().trace.clone()).join("\n")
    }

    pub(super) fn deliveries(&self) -> (u64, u64) {
        let truth = self.lock();
        (truth.deliveries, truth.redrives)
    }

    /// Something goes wrong at a replica.
    pub(super) fn fault(&self, replica: usize, what: &str) {
        self.note(&format!("replica {replica}: {what}"));
        self.lock().faulted.insert(replica, Instant::now());
    }

    /// A message is published; where the order of its key counts, with that.
    pub(super) fn published(&self, sequence: i64, matches: bool, key: Option<&str>) {
        let mut truth = self.lock();
        truth.published.insert(sequence, matches);
        if let Some(key) = key.filter(|_| matches) {
            truth.order.published(sequence, key);
        }
    }

    /// The broker carried a change out.
    pub(super) fn carried_out(&self, generation: Generation, change: &Change) {
        let result = self.lock().order.carried_out(generation, change);
        if let Err(why) = result {
            self.fail(&why);
        }
    }

    pub(super) fn sought(&self, generation: Generation, after: i64) {
        self.note(&format!("sought: after {after}, generation {generation}"));
        let mut truth = self.lock();
        truth.generation = Some((generation, after));
        truth.order.sought(generation, after);
    }

    pub(super) fn is_out(&self, out: u64) {
        let most_out = self.lock().most_out;
        if out > most_out {
            self.fail(&format!("{out} messages are out, and at most {most_out} may be"));
        }
    }

    pub(super) fn set_attempts(&self, value: u32, is_confirmed: bool) {
        set(&mut self.lock().attempts, value, is_confirmed);
    }

    pub(super) fn set_paused(&self, value: bool, is_confirmed: bool) {
        set(&mut self.lock().paused, value, is_confirmed);
    }

    /// Looks at a message, changes what is known of it, and fails where that can't be.
    fn about(
        &self,
        generation: Generation,
        sequence: i64,
        event: &str,
        change: impl FnOnce(&mut Message, &Context<'_>) -> Result<(), String>,
    ) {
        let event = format!("{:9.3} {sequence}: {event}", self.1.elapsed().as_secs_f64());
        let failure = {
            let mut truth = self.lock();
            if truth.trace.len() == TRACE {
                truth.trace.pop_front();
            }
            truth.trace.push_back(event.clone());
            let Truth { messages, faulted, attempts, has_faults, .. } = &mut *truth;
            let message = messages.entry((generation, sequence)).or_default();
            message.history.push(event);
            let limits = possible(attempts, *has_faults);
            let limit = if limits.contains(&0) { 0 } else { limits.iter().copied().max().unwrap_or(0) };
            let is_settled = limits.len() == 1;
            let context = Context { faulted, limit, sure_limit: if is_settled { limit } else { 0 } };
            let result = change(message, &context);
            result.err().map(|why| {
                let mut text = format!("message {sequence}: {why}");
                let _written = write!(text, "\n--- its history ---\n{}", message.history.join("\n"));
                text
            })
        };
        if let Some(failure) = failure {
            self.fail(&failure);
        }
    }

    /// The broker leases a message.
    pub(super) fn granted(&self, generation: Generation, sequence: i64, block: BlockId, replica: usize) {
        let event = format!("leased by {replica} in {block}");
        self.about(generation, sequence, &event, |message, context| {
            message.granted(block, replica, |replica| context.faulted.get(&replica).copied())
        });
    }

    /// A consumer takes a delivery.
    pub(super) fn delivered(&self, id: &AckId, taken: &Taken, consumer: &str) {
        let failure = {
            let mut truth = self.lock();
            truth.deliveries += 1;
            let is_paused = !possible(&truth.paused, truth.has_faults).contains(&false);
            match truth.published.get(&id.sequence) {
                None => Some("delivered, and never published"),
                Some(false) => Some("delivered, and it does not match"),
                Some(true) if is_paused && !truth.has_faults => Some("delivered while paused"),
                Some(true) => None,
            }
        };
        if let Some(failure) = failure {
            self.fail(&format!("message {}: {failure}", id.sequence));
        }
        let wait = taken.until - Instant::now();
        let event = format!("delivered to {consumer}, attempt {}, for {wait:?}, in {}", taken.attempt, id.block);
        self.about(id.generation, id.sequence, &event, |message, context| message.delivered(taken, context.limit));
    }

    pub(super) fn asked(&self, asked: &Asked, by: &str) {
        if let Some(id) = asked.id {
            let event = format!("{:?} asked by {by}", asked.deed);
            self.about(id.generation, id.sequence, &event, |message, _| {
                message.asked(id.block, asked);
                Ok(())
            });
        }
    }

    pub(super) fn answered(&self, asked: &Asked, outcome: Outcome) {
        let Some(id) = asked.id else {
            if !matches!(outcome, Outcome::Stale | Outcome::Unknown) {
                self.fail("nonsense was settled");
            }
            return;
        };
        let is_over = self.lock().generation.is_some_and(|(generation, _)| generation != id.generation);
        if is_over {
            return;
        }
        let event = format!("{:?} answered: {outcome:?}", asked.deed);
        self.about(id.generation, id.sequence, &event, |message, context| {
            message.answered(id.block, asked, outcome, context.sure_limit)
        });
    }

    /// A stream that has a delivery is closed.
    pub(super) fn closed(&self, id: &AckId) {
        self.about(id.generation, id.sequence, "its stream closed", |message, _| {
            message.closed(id.block);
            Ok(())
        });
    }

    /// Dead letters are put back.
    pub(super) fn redriven(&self, there: &[LetterId], answer: Result<usize, Error>) {
        let Some((generation, _)) = self.lock().generation else { return };
        if answer.as_ref().is_ok_and(|count| *count != there.len()) {
            self.fail(&format!("{answer:?} were put back, and {} were there", there.len()));
        }
        for id in there {
            if !self.lock().letters.insert(id.clone()) {
                self.fail(&format!("the dead letter {id:?} was put back twice"));
            }
            self.lock().redrives += 1;
            self.about(generation, id.sequence, "put back", |message, _| {
                message.redriven();
                Ok(())
            });
        }
    }

    /// The messages of the present generation that match, and of them those that are acknowledged.
    pub(super) fn matching(&self) -> (Vec<i64>, HashSet<i64>) {
        let truth = self.lock();
        let Some((generation, after)) = truth.generation else { return (Vec::new(), HashSet::new()) };
        let matching =
            truth.published.range(after + 1..).filter(|(_, matches)| **matches).map(|(sequence, _)| *sequence);
        let matching: Vec<_> = matching.collect();
        let is_done = |sequence: &&i64| {
            truth.messages.get(&(generation, **sequence)).is_some_and(|message| message.acknowledged.is_some())
        };
        let acknowledged = matching.iter().filter(is_done).copied().collect();
        (matching, acknowledged)
    }

    /// What happened to a message, and whether it must be dead.
    pub(super) fn history(&self, sequence: i64) -> (String, bool) {
        let truth = self.lock();
        let message = truth.generation.and_then(|(generation, _)| truth.messages.get(&(generation, sequence)));
        message.map_or_else(Default::default, |message| (message.history.join("\n"), message.is_dead))
    }

    pub(super) fn sequences(&self) -> Vec<i64> {
        self.lock().published.keys().copied().collect()
    }
}

/// What rules about a message need to know.
struct Context<'a> {
    faulted: &'a HashMap<usize, Instant>,
    /// The most deliveries that anybody may allow; 0 for no limit.
    limit: u32,
    /// The same where all agree; 0 where they may not.
    sure_limit: u32,
}

fn set<T: PartialEq>(settings: &mut Vec<Setting<T>>, value: T, is_confirmed: bool) {
    match settings.last_mut() {
        Some(last) if is_confirmed && last.value == value => {
            last.confirmed.get_or_insert_with(Instant::now);
        }
        _ => settings.push(Setting { value, confirmed: is_confirmed.then(Instant::now) }),
    }
}

/// The values by which a replica may work now.
fn possible<T: Copy>(settings: &[Setting<T>], has_faults: bool) -> Vec<T> {
    let old = if has_faults { STALE_SETTINGS } else { FRESH_SETTINGS };
    let is_known = |setting: &Setting<T>| setting.confirmed.is_some_and(|confirmed| confirmed.elapsed() >= old);
    let from = settings.iter().rposition(is_known).unwrap_or(0);
    settings[from..].iter().map(|setting| setting.value).collect()
}
