//! Replicas of the subscriber over one embedded broker, whose clock is the paused one of the runtime.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use fastrand::Rng;
use tidings::{
    access::Rights,
    broker::{
        Broker, Retention,
        memory::Memory,
        subscriptions::{Books, Look, Place, Subscriptions},
    },
    channel::Names,
    limits, pb,
    subscription::SubscriptionName,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    faults::{Faults, Gate},
    store::Faulty,
    truth::Shared,
};
use crate::{
    capture::Capture,
    hub::Hub,
    pages::Pages,
    stream::{self, Source},
    work::{Desk, Given, HoldLimits, Holds, StartAt},
};

/// Milliseconds since 1970 at which schedules begin.
const START_MS: i64 = 1_700_000_000_000;

/// How many ordering keys there are.
const KEYS: usize = 24;

/// What kind of schedule it is.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) replicas: usize,
    pub(super) streams: usize,
    pub(super) pullers: usize,
    pub(super) messages: usize,
    pub(super) rounds: usize,
    pub(super) has_faults: bool,
    pub(super) has_filter: bool,
    pub(super) has_seeks: bool,
    pub(super) is_ordered: bool,
    pub(super) attempts: i32,
    pub(super) max_outstanding: i32,
    pub(super) ack_deadline: Duration,
    pub(super) min_backoff: Duration,
}

impl Plan {
    pub(super) fn random(rng: &mut Rng) -> Self {
        let has_seeks = rng.u32(..4) == 0;
        let plan = Self {
            replicas: rng.usize(2..=3),
            streams: rng.usize(2..=5),
            pullers: rng.usize(0..=2),
            messages: rng.usize(300..=1_200),
            rounds: rng.usize(1..=3),
            has_faults: rng.u32(..4) > 0,
            has_filter: rng.u32(..4) == 0,
            has_seeks,
            is_ordered: false,
            // The dead letters of earlier generations stay, and nobody can tell from them what is settled in this one.
            attempts: if rng.bool() && !has_seeks { rng.i32(1..=6) } else { 0 },
            max_outstanding: if rng.u32(..3) == 0 { rng.i32(3..=60) } else { 0 },
            ack_deadline: Duration::from_secs(rng.u64(1..=8)),
            min_backoff: Duration::from_millis(if rng.bool() { 0 } else { rng.u64(1..500) }),
        };
        // Not drawn, so that older seeds stay what they were.
        Self { is_ordered: plan.messages.is_multiple_of(3), ..plan }
    }

    /// The ordering key of a message, as far as its number goes; a few have none.
    pub(super) fn key(&self, number: usize) -> String {
        let is_keyed = self.is_ordered && !number.is_multiple_of(7);
        if is_keyed { format!("key {}", number % KEYS) } else { String::new() }
    }
}

/// One replica.
pub(super) struct Replica {
    pub(super) number: usize,
    pub(super) desk: Arc<Desk>,
    pub(super) faults: Arc<Faults>,
    pub(super) server: CancellationToken,
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) truth: Shared,
    pub(super) name: SubscriptionName,
    pub(super) place: Place,
    pub(super) broker: Arc<Memory>,
    pub(super) store: Arc<dyn Subscriptions>,
    replicas: Mutex<Vec<Arc<Replica>>>,
    rng: Mutex<Rng>,
    numbered: AtomicUsize,
    /// Nobody decides anything.
    pub(super) is_quiet: AtomicBool,
    /// Everybody is healthy, and takes and acknowledges all.
    pub(super) is_draining: AtomicBool,
    has_faults_now: AtomicBool,
    /// Since when there are none.
    healthy_since: Mutex<Instant>,
    /// Decisions that are not answered yet.
    pub(super) asking: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// A world with its subscription, which begins with the first message.
    pub(super) async fn new(plan: Plan, truth: Shared, mut rng: Rng) -> Arc<Self> {
        let retention = Retention {
            max_messages: 100_000,
            max_bytes: 1 << 30,
            max_age_ms: 86_400_000,
            dedup_window_ms: 1_000,
            dedup_max_ids: 10,
        };
        let start = Instant::now();
        let now_ms = move || START_MS + i64::try_from(start.elapsed().as_millis()).unwrap_or(0);
        let broker = Memory::with_clock(retention, now_ms);
        let names = names();
        let name = SubscriptionName::parse("work", &names).expect("a name");
        let place = Place { channel: names.parse("orders").expect("a channel"), name: name.clone() };
        let store = broker.subscriptions();
        let (replicas, numbered) = (Mutex::default(), AtomicUsize::new(0));
        let forked = Mutex::new(rng.fork());
        let world = Self {
            plan,
            truth,
            name,
            place,
            broker,
            store,
            replicas,
            rng: forked,
            numbered,
            is_quiet: AtomicBool::new(false),
            is_draining: AtomicBool::new(false),
            has_faults_now: AtomicBool::new(false),
            healthy_since: Mutex::new(Instant::now()),
            asking: AtomicUsize::new(0),
        };
        let world = Arc::new(world);
        for _ in 0..world.plan.replicas {
            let replica = world.start();
            lock(&world.replicas).push(replica);
        }
        world.create().await;
        world
    }

    pub(super) async fn create(&self) {
        let duration = |duration: Duration| prost_types::Duration::try_from(duration).ok();
        let plan = &self.plan;
        let max_backoff = duration(plan.min_backoff.max(Duration::from_secs(2)));
        let given = pb::Subscription {
            filter: if plan.has_filter { r#"attributes.k = "a""#.to_owned() } else { String::new() },
            ordered: plan.is_ordered,
            ack_deadline: duration(plan.ack_deadline),
            max_delivery_attempts: Some(plan.attempts),
            max_outstanding_messages: plan.max_outstanding,
            retry_policy: Some(pb::RetryPolicy { min_backoff: duration(plan.min_backoff), max_backoff }),
            ..pb::Subscription::default()
        };
        let rights = Rights::all();
        let (name, channel) = (rights.manage(self.name.clone()), rights.read(self.place.channel.clone()));
        let desk = Arc::clone(&self.nth(0).desk);
        let (name, channel) = (name.expect("a right"), channel.expect("a right"));
        let dead = names().parse("dead").expect("a channel");
        let dead = rights.publish(dead).expect("a right");
        let created = desk.create(name, channel, &dead, given, &StartAt::Earliest, None).await;
        created.expect("it is created");
        self.truth.sought(self.books().await.state.generation, 0);
    }

    /// The books, as they are now.
    pub(super) async fn books(&self) -> Books {
        self.store.look(&self.place, Look::default()).await.expect("no fault").expect("there are books")
    }

    pub(super) fn fork(&self) -> Rng {
        lock(&self.rng).fork()
    }

    fn start(&self) -> Arc<Replica> {
        let number = self.numbered.fetch_add(1, Relaxed) + 1;
        let faults = Faults::new(number, self.truth.clone(), self.fork());
        faults.set(self.has_faults_now.load(Relaxed));
        let broker: Arc<dyn Broker> =
            Arc::new(Faulty { broker: Arc::<Memory>::clone(&self.broker), faults: Arc::clone(&faults) });
        let (names, pages, server) = (Arc::new(names()), Pages::new(Arc::clone(&broker)), CancellationToken::new());
        let timeout = Duration::from_secs(20);
        let hub = Hub::start(&broker, Arc::clone(&pages), Arc::clone(&names), Capture::new(Vec::new()), timeout);
        let source = Source {
            broker,
            hub,
            pages,
            lifetime_ms: stream::lifetime_ms(Duration::from_secs(86_400)),
            wide: Arc::new(Semaphore::new(limits::WIDE_OPENINGS)),
        };
        let holds = Arc::new(Holds::new(HoldLimits { channel: 256 << 20, total: 1 << 40 }));
        let given = Given { source, names, holds, keeps_history: true };
        Arc::new(Replica { number, desk: Desk::new(given), faults, server })
    }

    pub(super) fn nth(&self, index: usize) -> Arc<Replica> {
        Arc::clone(&lock(&self.replicas)[index])
    }

    /// One of the replicas that are not dead.
    pub(super) fn any(&self, rng: &mut Rng) -> Arc<Replica> {
        self.nth(rng.usize(..self.plan.replicas))
    }

    /// Calls fail by chance from now on, or no longer.
    pub(super) fn set_faults(&self, is_on: bool) {
        self.has_faults_now.store(is_on, Relaxed);
        *lock(&self.healthy_since) = Instant::now();
        for replica in &*lock(&self.replicas) {
            replica.faults.set(is_on);
            if !is_on {
                replica.faults.turn(Gate::Open);
            }
        }
    }

    /// Whether nothing has failed for so long.
    pub(super) fn is_healthy_for(&self, time: Duration) -> bool {
        !self.plan.has_faults || !self.has_faults_now() && lock(&self.healthy_since).elapsed() >= time
    }

    pub(super) fn has_faults_now(&self) -> bool {
        self.has_faults_now.load(Relaxed)
    }

    /// Replaces a replica, which dies at once or ends as it should.
    pub(super) fn replace(&self, rng: &mut Rng, is_killed: bool) {
        let index = rng.usize(..self.plan.replicas);
        let old = self.nth(index);
        if is_killed {
            old.faults.turn(Gate::Dead);
        } else {
            self.truth.fault(old.number, "ends");
        }
        old.server.cancel();
        tokio::spawn(async move {
            // As a server does when its last call has ended.
            sleep(limits::DRAIN_SETTLEMENTS + Duration::from_secs(1)).await;
            old.desk.close().await;
        });
        let new = self.start();
        lock(&self.replicas)[index] = new;
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet.load(Relaxed)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Relaxed)
    }

    /// Waits while nobody decides anything.
    pub(super) async fn awake(&self) {
        while self.is_quiet() {
            sleep(Duration::from_millis(50)).await;
        }
    }
}

fn names() -> Names {
    Names::new("tidings", "").expect("names")
}
