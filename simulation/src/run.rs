//! Runs one schedule: starts the programs' own code over the model, makes the steps, mends all faults, and lets things
//! come to rest.

use std::{sync::Arc, time::Duration};

use tidings::{
    broker::{Retention, Shared, memory::Memory},
    channel::{ChannelName, Names},
    message::{DedupKey, Draft, Payload, Sender},
};
use tidings_redis::{Redis, Role, ServerUrl, Settings};
use tidings_subscriber::simulation::Subscriber;
use tidings_transport::{Options, Origins};
use tokio::{runtime::RngSeed, sync::watch, task::JoinHandle, time::sleep};

use crate::{
    clock,
    lister::{LISTERS, Lister},
    oracle,
    reader::{Cursors, Reading},
    redis::lua::Engine,
    schedule::{CHANNELS, Schedule, Setup, Step, publisher, subscriber},
    truth::{Acknowledged, Numbered, Reader},
    world::{self, World},
};

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// As fine as time is.
const SLICE_MS: u64 = 25;
/// How long everything gets at the end to come to rest: rounds of heads, probes, and pauses between attempts.
const REST_MS: u64 = 6_000;

/// What was found.
pub(crate) struct Outcome {
    /// The rule that was broken, and how.
    pub(crate) violation: Option<(String, String)>,
    pub(crate) trace: Vec<String>,
    pub(crate) digest: u64,
    pub(crate) messages: usize,
}

/// Runs a schedule on a thread of its own, where time and chance are the schedule's. The engine comes back.
pub(crate) fn run(schedule: &Schedule, engine: Engine, is_traced: bool) -> (Outcome, Engine) {
    std::thread::scope(|scope| {
        scope.spawn(|| run_here(schedule, engine, is_traced)).join().unwrap_or_else(|panic| {
            eprintln!("seed {}: the run itself failed", schedule.setup.seed);
            std::panic::resume_unwind(panic)
        })
    })
}

fn run_here(schedule: &Schedule, engine: Engine, is_traced: bool) -> (Outcome, Engine) {
    let setup = &schedule.setup;
    clock::begin(setup.seed);
    let mut world = World::new(setup.servers, engine);
    world.truth.is_traced = is_traced;
    world.truth.sets_clocks = schedule.steps.iter().any(|(step, _)| matches!(step, Step::Clock { .. }));
    world.truth.keeps_history = setup.max_messages > 0;
    world.truth.trims = setup.max_messages < 100;
    world.truth.lists = vec![Vec::new(); LISTERS];
    for client in 0..setup.clients() {
        world.routes.insert(setup.client(client), 0);
    }
    for (index, reader) in setup.readers.iter().enumerate() {
        let (name, topic) = (format!("R{index}"), reader.topic.to_owned());
        world.truth.readers.push(Reader { name, topic, started: None, received: Vec::new() });
    }
    world::begin(world);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&setup.seed.to_le_bytes()))
        .build()
        .expect("a runtime");
    runtime.block_on(play(schedule));
    drop(runtime);
    let mut world = world::end();
    let violation = oracle::judge(&mut world.truth);
    let World { truth, engine, .. } = world;
    let (digest, messages) = (oracle::digest(&truth), truth.acknowledged.len());
    (Outcome { violation, trace: truth.trace, digest, messages }, engine)
}

async fn play(schedule: &Schedule) {
    let mut stage = Stage::new(&schedule.setup);
    pass(100).await;
    for (step, wait_ms) in &schedule.steps {
        // No copy comes back within the millisecond in which something was written.
        if step.may_lose() {
            pass(2).await;
        }
        // Its line comes before its effects.
        let at = world::with(|world| world.truth.trace.len());
        if stage.make(*step).await {
            world::with(|world| world.truth.note_at(at, || step.describe(&schedule.setup)));
        }
        match wait_ms {
            0 => tokio::task::yield_now().await,
            ms => pass(*ms).await,
        }
    }
    stage.mend().await;
}

/// Lets time pass.
async fn pass(ms: u64) {
    let mut left = ms;
    while left > 0 {
        let slice = left.min(SLICE_MS);
        sleep(Duration::from_millis(slice)).await;
        clock::set(clock::now_ms() + slice as i64);
        world::with(World::wait);
        left -= slice;
    }
}

struct Publisher {
    broker: Shared,
    /// Which run of it this is.
    run: usize,
    /// Publishes with ids of the client's, newest last.
    ids: Vec<(usize, Vec<Draft>)>,
    under_way: Vec<JoinHandle<()>>,
}

struct Stage<'a> {
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
    fn new(setup: &'a Setup) -> Self {
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
    async fn make(&mut self, step: Step) -> bool {
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
                return world::with(|world| self.fault(world, step));
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

    fn fault(&self, world: &mut World, step: Step) -> bool {
        match step {
            Step::Kill { server } => {
                if std::mem::replace(&mut world.servers[server].is_down, true) {
                    return false;
                }
                world.servers[server].is_stopped = false;
                world.cut(|connection| connection.server == server);
            }
            Step::Start { server, back } => {
                if !world.servers[server].is_down {
                    return false;
                }
                let of = &mut world.servers[server];
                of.is_down = false;
                of.keys = of.copy(back);
                of.scripts.clear();
                of.applied = Default::default();
                if of.is_primary() {
                    of.lead();
                }
                world.replicate();
            }
            Step::Stop { server } => {
                if world.servers[server].is_down || world.servers[server].is_stopped {
                    return false;
                }
                world.servers[server].is_stopped = true;
            }
            Step::Wake { server } => {
                if !world.servers[server].is_stopped {
                    return false;
                }
                world.wake(server);
            }
            Step::Promote { server } => {
                let of = &mut world.servers[server];
                if of.is_primary() || of.is_down || of.is_stopped {
                    return false;
                }
                of.lead();
            }
            Step::Demote { server, of } => {
                let is_in_line = world.servers[of].is_primary() && server != of;
                if !is_in_line || world.servers[server].is_down || !world.servers[server].is_primary() {
                    return false;
                }
                world.servers[server].replica_of = Some(of);
                world.servers[server].applied = Default::default();
                world.replicate();
            }
            Step::Lag { server, lags } => {
                if std::mem::replace(&mut world.servers[server].lags, lags) == lags {
                    return false;
                }
                world.replicate();
            }
            Step::Route { client, server, cuts } => {
                let client = self.setup.client(client);
                world.routes.insert(client.clone(), server);
                if cuts {
                    world.cut(|connection| connection.client == client && connection.server != server);
                }
            }
            Step::Cut { client, live } => {
                let client = self.setup.client(client);
                world.cut(|connection| connection.client == client && connection.is_live() == live);
            }
            Step::Hold { client, live, commands } => {
                let client = self.setup.client(client);
                let connections = world.connections.values_mut();
                for connection in
                    connections.filter(|connection| connection.client == client && connection.is_live() == live)
                {
                    match commands {
                        true => connection.holds_commands = true,
                        false => connection.holds_replies = true,
                    }
                }
            }
            Step::Release { client } => {
                let client = self.setup.client(client);
                world.release(|connection| connection.client == client);
            }
            Step::Flush { server } => {
                if world.servers[server].is_down || !world.servers[server].is_primary() {
                    return false;
                }
                world.servers[server].keys.clear();
                world.servers[server].step(Vec::new());
                world.replicate();
            }
            Step::Restore { server, channel, back, ids } => {
                let of = &mut world.servers[server];
                if of.is_down || !of.is_primary() || of.versions.len() <= back {
                    return false;
                }
                let copy = of.copy(back);
                let of_channel = format!("{{{}}}:", CHANNELS[channel]);
                let names: Vec<Vec<u8>> = of.keys.names().chain(copy.names()).map(<[u8]>::to_vec).collect();
                for name in names {
                    let text = String::from_utf8_lossy(&name);
                    if text.contains(&of_channel) && (ids || !text.contains(":ids:")) {
                        of.keys.restore(&name, &copy);
                    }
                }
                of.step(Vec::new());
                world.replicate();
            }
            Step::DropRegistry { server } => {
                let of = &mut world.servers[server];
                if of.is_down || !of.is_primary() || !of.keys.remove(b"tidings:channels") {
                    return false;
                }
                of.step(Vec::new());
                world.replicate();
            }
            Step::Clock { server, ms } => world.servers[server].clock_ms = ms,
            _ => return false,
        }
        true
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
    async fn mend(&mut self) {
        world::with(|world| {
            world.truth.note(|| "all faults end".to_owned());
            for index in 0..world.servers.len() {
                if std::mem::take(&mut world.servers[index].is_down) {
                    let of = &mut world.servers[index];
                    of.keys = of.copy(0);
                    of.scripts.clear();
                    of.applied = Default::default();
                    if of.is_primary() {
                        of.lead();
                    }
                }
                world.wake(index);
            }
            // Most follow it: it is the primary from here on.
            let mut votes = vec![0; world.servers.len()];
            world.routes.values().for_each(|server| votes[*server] += 1);
            let alive = (0..votes.len()).filter(|index| world.servers[*index].is_primary());
            let primary = alive.max_by_key(|index| (votes[*index], usize::MAX - index)).unwrap_or(0);
            if !world.servers[primary].is_primary() {
                world.servers[primary].lead();
            }
            for index in 0..world.servers.len() {
                world.servers[index].lags = false;
                if index != primary {
                    world.servers[index].replica_of = Some(primary);
                    world.servers[index].applied = Default::default();
                }
            }
            world.routes.values_mut().for_each(|server| *server = primary);
            world.release(|_| true);
            world.cut(|connection| connection.server != primary);
            world.replicate();
            world.truth.note(|| format!("S{primary} is the primary"));
        });
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
