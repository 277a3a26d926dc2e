//! The live side of the embedded broker: who follows what, and one bounded queue a connection.
//!
//! A publisher puts pushes into queues and never waits. A connection that reads too slowly loses what waits, gets an
//! event that says so, and repairs it from the log, just as a Redis connection that was cut.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use crate::{
    broker::{LiveCommand, LiveEvent, Topic},
    channel::{ChannelName, PatternSet},
    limits::EMBEDDED_READ_BYTES,
};

/// Bytes that an event costs in a queue beside its payload.
const EVENT_COST: usize = 128;

/// All live connections, by the topics that they follow.
#[derive(Default)]
pub(super) struct Connections {
    opened: u64,
    queues: HashMap<u64, Arc<Queue>>,
    channels: HashMap<ChannelName, Vec<u64>>,
    patterns: PatternSet<Followed>,
}

/// A pattern, and the connections that follow it.
type Followed = (Topic, Vec<u64>);

impl Connections {
    /// Adds a connection and answers its number.
    pub(super) fn open(&mut self, queue: Arc<Queue>) -> u64 {
        self.opened += 1;
        self.queues.insert(self.opened, queue);
        self.opened
    }

    pub(super) fn close(&mut self, id: u64) {
        self.queues.remove(&id);
        self.channels.retain(|_, followers| forget(followers, id));
        self.patterns.retain(|(_, followers)| forget(followers, id));
    }

    pub(super) fn subscribe(&mut self, id: u64, topic: Topic) {
        match &topic {
            Topic::Channel(channel) => follow(self.channels.entry(channel.clone()).or_default(), id),
            Topic::Pattern(pattern) => {
                let mut followers = self.patterns.get(pattern).map_or(Vec::new(), |(_, followers)| followers.clone());
                follow(&mut followers, id);
                self.patterns.insert(pattern.clone(), (topic.clone(), followers));
            }
        }
        self.send(id, LiveEvent::Subscribed(topic));
    }

    pub(super) fn unsubscribe(&mut self, id: u64, topic: &Topic) {
        match topic {
            Topic::Channel(channel) => {
                if self.channels.get_mut(channel).is_some_and(|followers| !forget(followers, id)) {
                    self.channels.remove(channel);
                }
            }
            Topic::Pattern(pattern) => {
                let Some((topic, mut followers)) = self.patterns.remove(pattern) else { return };
                if forget(&mut followers, id) {
                    self.patterns.insert(pattern.clone(), (topic, followers));
                }
            }
        }
    }

    /// Sends one event to one connection.
    pub(super) fn send(&self, id: u64, event: LiveEvent) {
        if let Some(queue) = self.queues.get(&id) {
            queue.push(vec![event], EVENT_COST);
        }
    }

    /// Pushes what one call published to all who follow the channel, to each as often as it follows it.
    pub(super) fn deliver(&mut self, channel: &ChannelName, messages: &[Bytes]) {
        let mut topics: BTreeMap<u64, Vec<Topic>> = BTreeMap::new();
        for id in self.channels.get(channel).into_iter().flatten() {
            topics.entry(*id).or_default().push(Topic::Channel(channel.clone()));
        }
        if !self.patterns.is_empty() {
            for (topic, ids) in &*self.patterns.matching(channel.as_str()) {
                for id in ids {
                    topics.entry(*id).or_default().push(topic.clone());
                }
            }
        }
        if topics.is_empty() || messages.is_empty() {
            return;
        }
        let name = Bytes::copy_from_slice(channel.as_str().as_bytes());
        let bytes: usize = messages.iter().map(Bytes::len).sum();
        for (id, topics) in topics {
            let push = |payload: &Bytes, topic: &Topic| LiveEvent::Push {
                topic: topic.clone(),
                channel: name.clone(),
                payload: payload.clone(),
            };
            let events: Vec<_> =
                messages.iter().flat_map(|payload| topics.iter().map(move |topic| push(payload, topic))).collect();
            if let Some(queue) = self.queues.get(&id) {
                let cost = bytes + events.len() * EVENT_COST;
                queue.push(events, cost);
            }
        }
    }
}

fn follow(followers: &mut Vec<u64>, id: u64) {
    if !followers.contains(&id) {
        followers.push(id);
    }
}

/// Answers whether any is left.
fn forget(followers: &mut Vec<u64>, id: u64) -> bool {
    followers.retain(|follower| *follower != id);
    !followers.is_empty()
}

/// What waits for one connection's reader, at most `limit` bytes and one call.
pub(super) struct Queue {
    limit: usize,
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    calls: VecDeque<(Vec<LiveEvent>, usize)>,
    bytes: usize,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, waiting: Mutex::default(), filled: Notify::new() }
    }

    /// Adds events that belong together. Where there is no room, what waits is lost, but for confirmations.
    fn push(&self, events: Vec<LiveEvent>, bytes: usize) {
        let mut waiting = self.lock();
        if !waiting.calls.is_empty() && waiting.bytes + bytes > self.limit {
            waiting.overrun(&events);
        } else {
            waiting.bytes += bytes;
            waiting.calls.push_back((events, bytes));
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// The events that wait, in whole calls, up to the size of one batch; empty where none wait.
    pub(super) fn take(&self) -> Vec<LiveEvent> {
        let mut waiting = self.lock();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some((_, cost)) = waiting.calls.front()
            && (bytes == 0 || bytes + cost <= EMBEDDED_READ_BYTES)
            && let Some((events, cost)) = waiting.calls.pop_front()
        {
            bytes += cost;
            waiting.bytes -= cost;
            match taken.is_empty() {
                true => taken = events,
                false => taken.extend(events),
            }
        }
        taken
    }

    /// Waits until something waits.
    async fn filled(&self) {
        // A wake that came for nobody is kept, so what is pushed between both lines is not missed.
        while self.lock().calls.is_empty() {
            self.filled.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics under this lock")
    }
}

impl Waiting {
    /// Drops the events that wait and the new ones: the reader asks for heads again, and reads messages from the log.
    fn overrun(&mut self, coming: &[LiveEvent]) {
        let waiting = self.calls.drain(..).flat_map(|(events, _)| events);
        let mut events = vec![LiveEvent::Lost("the reader was too slow".to_owned()), LiveEvent::Restored];
        // Confirmations are not counted, or a reader of very many topics would be overrun at every push. Each topic is
        // confirmed once, so they have a bound all the same.
        self.bytes = events.len() * EVENT_COST;
        let mut confirmed = HashSet::new();
        for event in waiting.chain(coming.iter().cloned()) {
            if let LiveEvent::Subscribed(topic) = event
                && confirmed.insert(topic.clone())
            {
                events.push(LiveEvent::Subscribed(topic));
            }
        }
        self.calls.push_back((events, self.bytes));
    }
}

/// Carries out a connection's commands and hands over what waits, until one of its ends is dropped. Commands are
/// carried out also while the reader takes nothing, so that asking never waits for reading.
pub(super) async fn run(
    queue: &Queue,
    mut commands: mpsc::Receiver<LiveCommand>,
    events: mpsc::Sender<Vec<LiveEvent>>,
    carry_out: impl Fn(LiveCommand),
) {
    loop {
        let room = async {
            queue.filled().await;
            events.reserve().await
        };
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => carry_out(command),
                None => return,
            },
            room = room => match room {
                Ok(room) => room.send(queue.take()),
                Err(_) => return,
            },
            () = events.closed() => return,
        }
    }
}
