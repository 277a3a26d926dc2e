//! The deliveries that are out at this consumer, and what was decided about them. Pure: it sees messages and answers,
//! no connection.
//!
//! A message is known by its position. Where it is delivered again while it is still here, because a stream was lost,
//! what is done about it goes on, and is told with the new ack id.

use std::{collections::HashMap, time::Duration};

use tidings::{
    limits::{CONSUME_SETTLE_TRIES, SETTLED},
    pb::{Extension, Message, ReceivedMessage, Rejection, Settled, Settlement},
    printable::Printable,
};

/// How long a message waits that is given back: at once, it would come to the stream that gives it back.
const GIVE_BACK_DELAY: prost_types::Duration = prost_types::Duration { seconds: 0, nanos: 200_000_000 };

/// A message: its epoch and its sequence.
pub(super) type Key = (String, i64);

/// What is decided about a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    Acknowledge,
    Reject {
        reason: String,
        /// It is put aside at once.
        is_final: bool,
    },
    /// Nothing was done about it: the attempt does not count.
    GiveBack,
}

/// How far a decision has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    No,
    /// On the stream with this number.
    On(u64),
    /// The server does not know what became of it.
    Unknown,
}

#[derive(Debug)]
struct Held {
    ack_id: String,
    /// For people.
    label: String,
    decision: Option<Decision>,
    told: Told,
    tries: u32,
    /// The server says that the lease is over, and people were told.
    is_over: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    held: HashMap<Key, Held>,
    keys: HashMap<String, Key>,
}

impl Ledger {
    /// Takes a delivery in; `None` where its message is here already.
    pub(super) fn take(&mut self, received: &ReceivedMessage) -> Option<Key> {
        let message = received.message.as_ref()?;
        let (key, ack_id) = (key(message), received.ack_id.clone());
        self.keys.insert(ack_id.clone(), key.clone());
        if let Some(held) = self.held.get_mut(&key) {
            let old = std::mem::replace(&mut held.ack_id, ack_id);
            (held.told, held.is_over) = (Told::No, false);
            self.keys.remove(&old);
            return None;
        }
        let label = format!("{} #{}", Printable(&message.channel), message.sequence);
        let held = Held { ack_id, label, decision: None, told: Told::No, tries: 0, is_over: false };
        self.held.insert(key.clone(), held);
        Some(key)
    }

    /// Notes a decision; answers which message it is about, for people.
    pub(super) fn decide(&mut self, key: &Key, decision: Decision) -> &str {
        match self.held.get_mut(key) {
            Some(held) => {
                held.decision.get_or_insert(decision);
                &held.label
            }
            None => "",
        }
    }

    /// Decides to give back all about which nothing is decided.
    pub(super) fn give_back(&mut self) {
        for held in self.held.values_mut() {
            held.decision.get_or_insert(Decision::GiveBack);
        }
    }

    /// Those about which nothing is decided.
    pub(super) fn open(&self) -> usize {
        self.held.values().filter(|held| held.decision.is_none()).count()
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether something decided has to be told.
    pub(super) fn has_untold(&self) -> bool {
        self.held.values().any(Held::is_untold)
    }

    /// What is to be told on a stream, in one request; `None` when all is.
    pub(super) fn tell(&mut self, stream: u64) -> Option<Settlement> {
        let mut settlement = Settlement::default();
        let untold = self.held.values_mut().filter(|held| held.is_untold()).take(SETTLED);
        for held in untold {
            held.told = Told::On(stream);
            let ack_ids = vec![held.ack_id.clone()];
            match &held.decision {
                Some(Decision::Acknowledge) => settlement.ack_ids.extend(ack_ids),
                Some(Decision::Reject { reason, is_final }) => settlement.rejections.push(Rejection {
                    ack_ids,
                    reason: reason.clone(),
                    dead_letter: *is_final,
                    ..Rejection::default()
                }),
                Some(Decision::GiveBack) => {
                    let delay = Some(GIVE_BACK_DELAY);
                    settlement.rejections.push(Rejection { ack_ids, delay, uncounted: true, ..Rejection::default() });
                }
                None => {}
            }
        }
        let is_empty = settlement.ack_ids.is_empty() && settlement.rejections.is_empty();
        (!is_empty).then_some(settlement)
    }

    /// Extends the leases of those about which nothing is decided.
    pub(super) fn extend(&self, deadline: Duration) -> Vec<Settlement> {
        let ack_deadline = deadline.try_into().ok();
        let open = self.held.values().filter(|held| held.decision.is_none());
        let ids: Vec<_> = open.map(|held| held.ack_id.clone()).collect();
        let extension = |ids: &[String]| Extension { ack_ids: ids.to_vec(), ack_deadline };
        ids.chunks(SETTLED)
            .map(|ids| Settlement { extensions: vec![extension(ids)], ..Settlement::default() })
            .collect()
    }

    /// A stream has ended: what was told on it and not answered is told again.
    pub(super) fn ended(&mut self, stream: u64) {
        for held in self.held.values_mut().filter(|held| held.told == Told::On(stream)) {
            held.told = Told::No;
        }
    }

    /// Takes in what became of deliveries; answers what people should know.
    pub(super) fn settled(&mut self, settled: Settled) -> Vec<String> {
        let mut warnings = Vec::new();
        for ack_id in settled.acknowledged_ids.iter().chain(&settled.rejected_ids) {
            self.forget(ack_id);
        }
        for ack_id in settled.stale_ids {
            let Some(held) = self.keys.get(&ack_id).and_then(|key| self.held.get_mut(key)) else { continue };
            let was_over = std::mem::replace(&mut held.is_over, true);
            let is_silent = was_over || held.decision == Some(Decision::GiveBack);
            if !is_silent {
                warnings.push(format!("{}: its lease is over, it may be delivered again", held.label));
            }
            if held.decision.is_some() {
                self.forget(&ack_id);
            }
        }
        for ack_id in settled.unknown_ids {
            let Some(held) = self.keys.get(&ack_id).and_then(|key| self.held.get_mut(key)) else { continue };
            if held.decision.is_none() || held.told == Told::Unknown {
                continue;
            }
            (held.told, held.tries) = (Told::Unknown, held.tries + 1);
            if held.tries >= CONSUME_SETTLE_TRIES {
                let label = &held.label;
                warnings
                    .push(format!("{label}: the server does not know what became of it, it may be delivered again"));
                self.forget(&ack_id);
            }
        }
        warnings
    }

    /// How often the most uncertain decision was told in vain; `None` where none is uncertain.
    pub(super) fn unknown_tries(&self) -> Option<u32> {
        self.held.values().filter(|held| held.told == Told::Unknown).map(|held| held.tries).max()
    }

    /// What is uncertain is told again.
    pub(super) fn tell_unknown_again(&mut self) {
        for held in self.held.values_mut().filter(|held| held.told == Told::Unknown) {
            held.told = Told::No;
        }
    }

    fn forget(&mut self, ack_id: &str) {
        if let Some(key) = self.keys.remove(ack_id) {
            self.held.remove(&key);
        }
    }
}

impl Held {
    fn is_untold(&self) -> bool {
        self.decision.is_some() && self.told == Told::No
    }
}

fn key(message: &Message) -> Key {
    (message.epoch.clone(), message.sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(sequence: i64, ack_id: &str) -> ReceivedMessage {
        let message = Message { channel: "c".to_owned(), epoch: "e".to_owned(), sequence, ..Message::default() };
        ReceivedMessage { message: Some(message), ack_id: ack_id.to_owned(), ..ReceivedMessage::default() }
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn what_is_decided_is_told_once_and_forgotten_when_it_is_done() {
        let mut ledger = Ledger::default();
        let one = ledger.take(&received(1, "a")).expect("new");
        let two = ledger.take(&received(2, "b")).expect("new");
        assert_eq!((ledger.tell(0), ledger.open()), (None, 2));
        assert_eq!(ledger.decide(&one, Decision::Acknowledge), "c #1");
        assert_eq!(ledger.tell(0).expect("one").ack_ids, ["a"]);
        assert_eq!(ledger.tell(0), None);
        assert_eq!(ledger.extend(Duration::from_secs(3))[0].extensions[0].ack_ids, ["b"]);
        // The stream is lost before it answers.
        ledger.ended(0);
        ledger.decide(&two, Decision::Reject { reason: "r".to_owned(), is_final: true });
        let told = ledger.tell(1).expect("both");
        assert_eq!((told.ack_ids, told.rejections[0].ack_ids.clone()), (ids(&["a"]), ids(&["b"])));
        assert!(told.rejections[0].dead_letter && told.rejections[0].reason == "r");
        let settled = Settled { acknowledged_ids: ids(&["a"]), rejected_ids: ids(&["b"]), ..Settled::default() };
        assert!(ledger.settled(settled).is_empty() && ledger.is_empty());
    }

    #[test]
    fn a_message_that_comes_again_goes_on_under_its_new_id() {
        let mut ledger = Ledger::default();
        let key = ledger.take(&received(1, "a")).expect("new");
        let warned = ledger.settled(Settled { stale_ids: ids(&["a"]), ..Settled::default() });
        assert_eq!((warned.len(), ledger.open()), (1, 1));
        assert_eq!(ledger.take(&received(1, "b")), None);
        ledger.decide(&key, Decision::Acknowledge);
        assert_eq!(ledger.tell(0).expect("it").ack_ids, ["b"]);
        assert!(ledger.settled(Settled { stale_ids: ids(&["a"]), ..Settled::default() }).is_empty());
        ledger.settled(Settled { acknowledged_ids: ids(&["b"]), ..Settled::default() });
        assert!(ledger.is_empty());
    }

    #[test]
    fn what_is_uncertain_is_told_again_a_few_times() {
        let mut ledger = Ledger::default();
        let key = ledger.take(&received(1, "a")).expect("new");
        ledger.decide(&key, Decision::Acknowledge);
        for tries in 1..CONSUME_SETTLE_TRIES {
            assert!(ledger.tell(0).is_some());
            assert!(ledger.settled(Settled { unknown_ids: ids(&["a"]), ..Settled::default() }).is_empty());
            assert_eq!((ledger.unknown_tries(), ledger.tell(0)), (Some(tries), None));
            ledger.tell_unknown_again();
        }
        assert!(ledger.tell(0).is_some());
        assert_eq!(ledger.settled(Settled { unknown_ids: ids(&["a"]), ..Settled::default() }).len(), 1);
        assert!(ledger.is_empty());
    }
}
