//! One of the two: carries out calls, and says what they brought.

use std::collections::{BTreeMap, BTreeSet};

use tidings::{
    broker::{From, Head, LiveCommand, LiveEvent, PageLimit, Receipt, Retention, Shared, Topic},
    channel::{ChannelName, Pattern},
    envelope,
};

use super::words::{Answer, Call, Outcome, Seen, Sent, Stand};
use crate::fixture::{Fixture, Live, name, within};

/// Channels of a case, and topics that it may follow.
pub(super) const CHANNELS: usize = 3;
pub(super) const TOPICS: usize = 4;

pub(super) struct Twin {
    fixture: Fixture,
    broker: Shared,
    live: Live,
    case: String,
    retention: Retention,
    /// All that are no repeats, by channel, and the sizes of their messages.
    receipts: [Vec<Receipt>; CHANNELS],
    sizes: [Vec<u64>; CHANNELS],
}

impl Twin {
    pub(super) async fn new(fixture: Fixture, retention: Retention) -> Self {
        let broker = fixture.broker(retention).await;
        let live = Live::open(&broker);
        Self {
            fixture,
            broker,
            live,
            case: String::new(),
            retention,
            receipts: Default::default(),
            sizes: Default::default(),
        }
    }

    /// Begins again, on channels that no other case uses and with a connection that follows nothing.
    pub(super) fn begin(&mut self, case: &str) {
        self.live = Live::open(&self.broker);
        (self.receipts, self.sizes) = Default::default();
        case.clone_into(&mut self.case);
    }

    pub(super) async fn close(self) {
        drop(self.live);
        self.fixture.close().await;
    }

    pub(super) async fn carry_out(&mut self, call: &Call) -> Outcome {
        let answer = within(self.answer(call), "an answer").await;
        let pushes = self.pushes().await;
        Outcome { answer, pushes }
    }

    async fn answer(&mut self, call: &Call) -> Answer {
        match call {
            Call::Publish(batches) => self.publish(batches).await,
            Call::ReadUp(index, at, limit) => self.read(*index, From::After(*at), *limit).await,
            Call::ReadDown(index, at, limit) => self.read(*index, From::Before(*at), *limit).await,
            Call::Since(index, of, later) => Answer::Holds(self.is_since_right(*index, *of, *later).await),
            Call::Heads(indexes) => {
                let channels: Vec<_> = indexes.iter().map(|index| self.channel(*index)).collect();
                let heads = self.broker.heads(&channels).await.expect("read");
                let stands = indexes
                    .iter()
                    .zip(heads)
                    .map(|(index, head)| head.expect("it can be read").map(|head| self.stand(*index, &head)));
                Answer::Heads(stands.collect())
            }
            Call::Channels(pattern, after, limit) => {
                let pattern = Pattern::parse(&format!("{}.{pattern}", self.case)).expect("valid");
                let after = after.map_or(String::new(), |index| self.channel(index).to_string());
                Answer::Names(self.list(&pattern, after, *limit).await)
            }
            Call::Recent => Answer::Names(self.recent().await),
            Call::Follow(topic) => {
                self.live.subscribe(self.topic(*topic)).await;
                Answer::Holds(true)
            }
            Call::Leave(topic) => {
                self.live.send(LiveCommand::Unsubscribe(self.topic(*topic))).await;
                Answer::Holds(true)
            }
            Call::Restart => {
                if self.fixture.restart() {
                    self.live.restored().await;
                    // The first answer of the new process: a broker learns of the old one's end by asking.
                    while self.broker.heads(&[self.channel(0)]).await.is_err() {
                        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    }
                }
                Answer::Holds(true)
            }
        }
    }

    fn channel(&self, index: usize) -> ChannelName {
        name(&format!("{}.{}", self.case, ["a", "b", "c"][index]))
    }

    fn topic(&self, index: usize) -> Topic {
        let pattern =
            |pattern: &str| Topic::Pattern(Pattern::parse(&format!("{}{pattern}", self.case)).expect("valid"));
        match index {
            0 | 1 => Topic::Channel(self.channel(index)),
            2 => pattern(".[bc]"),
            _ => pattern("*"),
        }
    }

    async fn publish(&mut self, batches: &[(usize, Vec<Sent>)]) -> Answer {
        let calls: Vec<_> = batches
            .iter()
            .map(|(index, sent)| {
                let drafts = sent.iter().map(|sent| sent.0.clone()).collect();
                (*index, self.broker.publish(&self.channel(*index), drafts, 0))
            })
            .collect();
        let mut answers = Vec::new();
        for ((index, call), (_, sent)) in calls.into_iter().zip(batches) {
            let answer = call.await;
            for (receipt, sent) in answer.iter().flatten().zip(sent).filter(|(receipt, _)| !receipt.duplicate) {
                let json = envelope::encode(&sent.0).stamp(receipt.time_ms, receipt.sequence, receipt.epoch);
                self.receipts[index].push(*receipt);
                self.sizes[index].push(json.len() as u64);
            }
            answers.push(answer.map(|receipts| receipts.iter().map(|r| (r.id, r.sequence, r.duplicate)).collect()));
        }
        Answer::Receipts(answers)
    }

    async fn read(&self, index: usize, mut from: From, (messages, bytes): (usize, usize)) -> Answer {
        let (mut seen, mut stand) = (Vec::new(), None);
        loop {
            let page = self.broker.read(&self.channel(index), from, PageLimit { messages, bytes }).await.expect("read");
            stand = stand.or(page.head.map(|head| self.stand(index, &head)));
            seen.extend(page.messages.iter().map(|stored| {
                let seen = self.seen(&self.channel(index), &stored.json);
                assert_eq!(seen.sequence, stored.sequence);
                seen
            }));
            match (from, page.messages.last()) {
                (From::After(_), Some(last)) if !page.is_last => from = From::After(last.sequence),
                (From::Before(_), Some(last)) if !page.is_last => from = From::Before(last.sequence),
                _ => return Answer::Messages(stand, seen),
            }
        }
    }

    async fn is_since_right(&self, index: usize, of: usize, later: i64) -> bool {
        let (channel, receipts) = (self.channel(index), &self.receipts[index]);
        let time_ms =
            receipts.get(of.min(receipts.len().saturating_sub(1))).map_or(0, |receipt| receipt.time_ms) + later;
        let before = receipts.iter().filter(|receipt| receipt.time_ms < time_ms).count() as i64;
        let head =
            self.broker.heads(std::slice::from_ref(&channel)).await.expect("read").remove(0).expect("it can be read");
        let expected = head.map_or(0, |head| before.max(head.first - 1));
        self.broker.sequence_before(&channel, time_ms).await == Ok(expected)
    }

    /// The channels that have messages, by pages. The registry of Redis is written before the message is, and so may
    /// name one whose first publish was refused.
    async fn list(&self, pattern: &Pattern, mut after: String, limit: usize) -> Vec<String> {
        let mut names = Vec::new();
        loop {
            let page = self.broker.channels(Some(pattern), &after, limit).await.expect("listed");
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { return names };
            last.as_str().clone_into(&mut after);
            names.extend(self.with_head(page).await);
        }
    }

    async fn recent(&mut self) -> Vec<String> {
        let (mut found, mut skip) = (BTreeSet::new(), 0);
        loop {
            self.live.send(LiveCommand::Recent { skip }).await;
            let LiveEvent::Recent { names, more, .. } = self.live.event().await else {
                panic!("an answer was expected")
            };
            skip += names.len();
            let prefix = format!("{}.", self.case);
            let names = names.into_iter().filter(|name| name.as_str().starts_with(&prefix));
            found.extend(self.with_head(names.collect()).await);
            if !more {
                return found.into_iter().collect();
            }
        }
    }

    async fn with_head(&self, names: Vec<ChannelName>) -> Vec<String> {
        let heads = self.broker.heads(&names).await.expect("read");
        names
            .iter()
            .zip(heads)
            .filter(|(_, head)| matches!(head, Ok(Some(_))))
            .map(|(name, _)| name.to_string())
            .collect()
    }

    /// The pushes so far: a check is answered after them.
    async fn pushes(&mut self) -> BTreeMap<(String, String), Vec<Seen>> {
        let mut pushes: BTreeMap<_, Vec<_>> = BTreeMap::new();
        self.live.send(LiveCommand::Check(self.channel(0))).await;
        loop {
            match self.live.event().await {
                LiveEvent::Push { topic, channel, payload } => {
                    let channel = name(std::str::from_utf8(&channel).expect("a name of ours"));
                    let seen = self.seen(&channel, &payload);
                    pushes.entry((format!("{topic:?}"), channel.to_string())).or_default().push(seen);
                }
                LiveEvent::Head(..) => return pushes,
                other => panic!("a push or a head was expected: {other:?}"),
            }
        }
    }

    fn seen(&self, channel: &ChannelName, json: &[u8]) -> Seen {
        let envelope = envelope::decode(json, 0);
        let claim = envelope.claim.expect("one of ours");
        let index = (0..CHANNELS).find(|index| self.channel(*index) == *channel).expect("a channel of this case");
        let receipt = self.receipts[index].iter().find(|receipt| receipt.sequence == claim.sequence);
        let is_as_receipted = receipt.is_some_and(|receipt| {
            (receipt.id, receipt.epoch, receipt.time_ms) == (envelope.id, claim.epoch, envelope.time_ms)
        });
        Seen {
            sequence: claim.sequence,
            id: envelope.id,
            payload: envelope.payload,
            attributes: envelope.attributes,
            ordering_key: envelope.ordering_key,
            is_as_receipted,
        }
    }

    /// The lowest sequence that the limits leave: the newest message stays whatever its size.
    fn first_to_keep(&self, index: usize) -> i64 {
        let (mut kept, mut bytes) = (0, 0);
        for size in self.sizes[index].iter().rev() {
            bytes += size;
            if kept >= self.retention.max_messages || (bytes > self.retention.max_bytes && kept > 0) {
                break;
            }
            kept += 1;
        }
        self.sizes[index].len() as i64 - kept as i64 + 1
    }

    fn stand(&self, index: usize, head: &Head) -> Stand {
        let last = self.receipts[index].iter().max_by_key(|receipt| receipt.sequence);
        let is_as_receipted = last.is_some_and(|last| {
            (Some(last.epoch), last.sequence, last.time_ms) == (head.epoch(), head.last, head.time_ms)
        });
        let spare = self.first_to_keep(index) - head.first;
        Stand { first: head.first, last: head.last, spare, keeps_history: head.keeps_history, is_as_receipted }
    }
}
