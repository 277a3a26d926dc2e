//! The programs of a schedule, and the steps that they make.

use std::{sync::Arc, time::Duration};

use tidings::{
    broker::{Retention, Shared, memory::Memory},
    channel::{ChannelName, Names},
    message::{DedupKey, Draft, Payload, Sender},
};
use tidings_redis::{Redis, Role, ServerUrl, Settings};
use tidings_subscriber::simulation::Subscriber;
use tidings_transport::{Options, Origins};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    faults,
    lister::{LISTERS, Lister},
    reader::{Cursors, Reading},
    schedule::{CHANNELS, Setup, Step, publisher, subscriber},
    truth::{Acknowledged, Numbered},
    world::{self, pass},
};

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long everything gets at the end to come to rest: rounds of heads, probes, and pauses between attempts.
const REST_MS: u64 = 6_000;

struct Publisher {
    broker: Shared,
    /// Which run of it this is.
    run: usize,
    /// Publishes with ids of the client's, newest last.
    ids: Vec<(usize, Vec<Draft>)>,
    under_way: Vec<JoinHandle<()>>,
}

/// All of them, with the readers and listers that are their clients.
pub(crate) struct Stage<'a> {
    setup: &'a Setup,
    names: Names,
    publishers: Vec<Publisher>,
    subscribers: Vec<Arc<Subscriber>>,
    brokers: Vec<Shared>,
    readers: Vec<Option<(usize, JoinHandle<()>)>>,
    readings: Vec<Reading>,
    stalls: Vec<watch::Sender<bool>>,
    listers: Vec<Lister>,
    texts: usize,
    memory: Option<Shared>,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(setup: &'a Setup) -> Self {
        let names = Names::new("tidings", "").expect("a prefix");
        let mut stage = Self {
            setup,
            names,
            publishers: Vec::new(),
            subscribers: Vec::new(),
            brokers: Vec::new(),
            readers: Vec::new(),
            readings: Vec::new(),
            stalls: Vec::new(),
            listers: (0..LISTERS).map(Lister::new).collect(),
            texts: 0,
            memory: None,
        };
        stage.embed();
        for index in 0..setup.publishers {
            let new = stage.publisher(index);
            stage.publishers.push(new);
        }
        for index in 0..setup.subscribers {
            let (broker, new) = stage.subscriber(index);
            stage.subscribers.push(new);
            stage.brokers.push(broker);
        }
        for (index, plan) in setup.readers.iter().enumerate() {
            let (stall, stalls) = watch::channel(false);
            stage.stalls.push(stall);
            let cursors = Arc::new(std::sync::Mutex::new(Cursors::default()));
            stage.readings.push(Reading { index, topic: plan.topic, earliest: plan.earliest, cursors, stalls });
            stage.readers.push(None);
        }
        stage
    }

    fn retention(&self) -> Retention {
        Retention {
            max_messages: self.setup.max_messages,
            max_bytes: 1 << 20,
            max_age_ms: 86_400_000,
            dedup_window_ms: self.setup.dedup_window_ms,
            dedup_max_ids: 1_000,
        }
    }

    fn embed(&mut self) {
        self.memory = self.setup.embedded.then(|| Memory::new(self.retention()) as Shared);
    }

    fn broker(&self, host: &str, role: Role) -> Shared {
        if let Some(memory) = &self.memory {
            return Arc::clone(memory);
        }
        let server = ServerUrl::parse(&format!("redis://{host}")).expect("an address").into();
        let retention = self.retention();
        Redis::start(Settings { server, key_prefix: "tidings".to_owned(), timeout: TIMEOUT, retention, role })
    }

    fn publisher(&self, index: usize) -> Publisher {
        let run = world::with(|world| world.truth.begin_run());
        Publisher {
            broker: self.broker(&publisher(index), Role::Publisher),
            run,
            ids: Vec::new(),
            under_way: Vec::new(),
        }
    }

    fn subscriber(&self, index: usize) -> (Shared, Arc<Subscriber>) {
        let broker = self.broker(&subscriber(index), Role::Subscriber);
        let second = Duration::from_secs(1);
        let settings = tidings_subscriber::Settings {
            names: self.names.clone(),
            broker_timeout: TIMEOUT,
            max_age: Duration::from_secs(86_400),
            keeps_history: true,
            hold_limits: tidings_subscriber::HoldLimits { channel: 256 << 20, total: 1 << 40 },
            watched: Vec::new(),
            capture: Vec::new(),
            server: Options {
                keepalive_interval: second,
                keepalive_timeout: second,
                max_connection_age: None,
                max_connection_age_grace: second,
                shutdown_timeout: second,
                origins: Origins::Localhost,
                fast_path: true,
                tls: None,
                auth: None,
                accounts: tidings_transport::Accounts::new(tidings_transport::Quotas::UNLIMITED),
                trusted_proxies: Vec::new(),
                elsewhere: None,
            },
        };
        (Arc::clone(&broker), Arc::new(Subscriber::start(broker, settings)))
    }

    fn channel(&self, index: usize) -> ChannelName {
        self.names.parse(CHANNELS[index]).expect("a name")
    }

    /// Makes a step. False where it can't be done.
    pub(crate) async fn make(&mut self, step: Step) -> bool {
        if self.setup.embedded
            && !matches!(
                step,
                Step::Publish { .. }
                    | Step::Retry { .. }
                    | Step::Open { .. }
                    | Step::Leave { .. }
                    | Step::Stall { .. }
                    | Step::Page { .. }
                    | Step::RestartSubscriber { .. }
            )
        {
            return false;
        }
        match step {
            Step::Publish { publisher, channel, messages, with_id, replicas } => {
                let drafts: Vec<_> = (0..messages).map(|_| self.draft(with_id)).collect();
                if with_id {
                    self.publishers[publisher].ids.push((channel, drafts.clone()));
                }
                self.publish(publisher, channel, drafts, replicas);
            }
            Step::Retry { publisher, back } => {
                let all: Vec<_> = self.publishers.iter().flat_map(|publisher| publisher.ids.iter().cloned()).collect();
                let Some((channel, drafts)) = all.len().checked_sub(1 + back).map(|at| all[at].clone()) else {
                    return false;
                };
                self.publish(publisher, channel, drafts, 0);
            }
            Step::Open { reader, subscriber } => {
                if self.readers[reader].is_some() {
                    return false;
                }
                self.open(reader, subscriber);
            }
            Step::Leave { reader } => {
                let Some((_, task)) = self.readers[reader].take() else { return false };
                task.abort();
            }
            Step::Page { lister, subscriber } => {
                let Some(token) = self.listers[lister].take() else { return false };
                self.page(lister, subscriber, token);
            }
            Step::Stall { reader, stalls } => return self.stalls[reader].send_replace(stalls) != stalls,
            Step::RestartPublisher { publisher } => self.restart_publisher(publisher),
            Step::RestartSubscriber { subscriber } => {
                if self.setup.embedded {
                    self.embed();
                    (0..self.publishers.len()).for_each(|index| self.restart_publisher(index));
                }
                let open: Vec<usize> = (0..self.readers.len())
                    .filter(|index| self.readers[*index].as_ref().is_some_and(|(at, _)| *at == subscriber))
                    .collect();
                for index in &open {
                    if let Some((_, task)) = self.readers[*index].take() {
                        task.abort();
                    }
                }
                let (broker, new) = self.subscriber(subscriber);
                self.brokers[subscriber] = broker;
                let old = std::mem::replace(&mut self.subscribers[subscriber], new);
                tokio::task::yield_now().await;
                if let Ok(old) = Arc::try_unwrap(old).map_err(drop) {
                    old.close().await;
                }
                for index in open {
                    self.open(index, subscriber);
                }
            }
            step => {
                return world::with(|world| faults::make(self.setup, world, step));
            }
        }
        true
    }

    fn restart_publisher(&mut self, index: usize) {
        let run = self.publishers[index].run;
        world::with(|world| world.truth.remembering.retain(|known| *known != run));
        let new = self.publisher(index);
        let old = std::mem::replace(&mut self.publishers[index], new);
        old.under_way.into_iter().for_each(|task| task.abort());
        // The clients live on.
        self.publishers[index].ids = old.ids;
    }

    fn draft(&mut self, deduplicate: bool) -> Draft {
        self.texts += 1;
        let id = uuid::Uuid::from_u128((u128::from(self.setup.seed) << 64) | self.texts as u128);
        Draft {
            id,
            dedup: deduplicate.then(|| DedupKey::new(Sender::Unasked, id)),
            payload: Payload::Text(format!("m{}", self.texts)),
            attributes: Vec::new(),
            ordering_key: String::new(),
        }
    }

    fn publish(&mut self, index: usize, channel: usize, drafts: Vec<Draft>, replicas: u32) {
        let name = self.channel(channel);
        let texts: Vec<String> = drafts.iter().map(text).collect();
        let begun = world::with(|world| world.truth.tick());
        let publisher = &mut self.publishers[index];
        let (run, publishing) = (publisher.run, publisher.broker.publish(&name, drafts, replicas));
        publisher.under_way.retain(|task| !task.is_finished());
        publisher.under_way.push(tokio::spawn(async move {
            let published = publishing.await;
            world::with(|world| match published {
                Err(error) => world.truth.note(|| format!("P{index}: {} failed: {error}", texts.join(" "))),
                Ok(receipts) => {
                    for (receipt, text) in receipts.into_iter().zip(texts) {
                        let (channel, epoch) = (name.to_string(), receipt.epoch.to_string());
                        let given = world.truth.given.entry((channel.clone(), epoch.clone())).or_default();
                        *given = (*given).max(receipt.sequence);
                        let message = Numbered { channel, epoch, sequence: receipt.sequence, text };
                        let is_duplicate = receipt.duplicate;
                        let again = if is_duplicate { ", again" } else { "" };
                        world.truth.note(|| format!("P{index} has a receipt: {message}{again}"));
                        world.truth.acknowledged.push(Acknowledged { message, begun, run, is_duplicate });
                    }
                }
            });
        }));
    }

    fn page(&self, lister: usize, subscriber: usize, token: String) {
        let subscriber = Arc::clone(&self.subscribers[subscriber]);
        tokio::spawn(self.listers[lister].clone().page(subscriber, token));
    }

    fn open(&mut self, reader: usize, subscriber: usize) {
        let reading = self.readings[reader].clone();
        let task = tokio::spawn(reading.run(Arc::clone(&self.subscribers[subscriber])));
        self.readers[reader] = Some((subscriber, task));
    }

    /// Ends all faults, has every publisher publish once more on each channel, and waits until nothing more can come.
    pub(crate) async fn mend(&mut self) {
        world::with(faults::end_all);
        for (index, stall) in self.stalls.iter().enumerate() {
            stall.send_replace(false);
            if self.readers[index].is_none() && world::with(|world| world.truth.readers[index].started.is_some()) {
                let subscriber = index % self.setup.subscribers;
                let reading = self.readings[index].clone();
                let task = tokio::spawn(reading.run(Arc::clone(&self.subscribers[subscriber])));
                self.readers[index] = Some((subscriber, task));
            }
        }
        pass(REST_MS).await;
        for channel in 0..CHANNELS.len() {
            for publisher in 0..self.publishers.len() {
                let draft = self.draft(false);
                self.publish(publisher, channel, vec![draft], 0);
                pass(50).await;
            }
        }
        for lister in 0..LISTERS {
            if let Some(token) = self.listers[lister].take() {
                self.page(lister, lister % self.setup.subscribers, token);
            }
        }
        pass(REST_MS).await;
        for task in self.publishers.iter_mut().flat_map(|publisher| publisher.under_way.drain(..)) {
            task.abort();
        }
    }
}

fn text(draft: &Draft) -> String {
    match &draft.payload {
        Payload::Text(text) => text.clone(),
        other => format!("{other:?}"),
    }
}
