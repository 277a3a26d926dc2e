//! Draws schedules. Single faults are drawn at random, and now and then a whole story: a failover, a failback, a copy
//! that is restored.

use fastrand::Rng;

use crate::{
    lister::LISTERS,
    schedule::{CHANNELS, PATTERN, ReaderPlan, Schedule, Setup, Step},
};

/// Kinds of faults, each of which can be left out.
pub(crate) const KINDS: [&str; 14] = [
    "failover",
    "stop",
    "restart",
    "restore",
    "flush",
    "registry",
    "hold",
    "cut",
    "forget",
    "resubscribe",
    "clock",
    "trim",
    "ids",
    "embedded",
];

/// Which kinds a schedule may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kinds([bool; KINDS.len()]);

impl Kinds {
    pub(crate) fn all() -> Self {
        Self([true; KINDS.len()])
    }

    pub(crate) fn none() -> Self {
        Self([false; KINDS.len()])
    }

    /// Turns one on or off.
    pub(crate) fn set(&mut self, kind: &str, on: bool) -> bool {
        let at = KINDS.iter().position(|name| *name == kind);
        at.map(|at| self.0[at] = on).is_some()
    }

    fn has(&self, kind: &str) -> bool {
        KINDS.iter().position(|name| *name == kind).is_some_and(|at| self.0[at])
    }
}

struct Drawing<'a> {
    rng: Rng,
    kinds: &'a Kinds,
    setup: Setup,
    steps: Vec<(Step, u64)>,
    /// The server that counts as the primary.
    primary: usize,
    /// Few channels meet more.
    channels: usize,
    /// Those that were put back. A second time would take away what Redis knows of the first loss, and the server is
    /// the same, so that nobody reports it again.
    restored: Vec<usize>,
}

/// Draws the schedule of a seed.
pub(crate) fn schedule(seed: u64, kinds: &Kinds) -> Schedule {
    let mut rng = Rng::with_seed(seed);
    let embedded = kinds.has("embedded") && rng.u32(..16) == 0;
    let servers = if kinds.has("failover") { rng.usize(1..=3) } else { 1 };
    let readers = (0..rng.usize(1..=3)).map(|_| ReaderPlan {
        topic: if rng.bool() { PATTERN } else { CHANNELS[usize::from(rng.u32(..4) == 0)] },
        earliest: rng.u32(..4) == 0,
    });
    let readers = readers.collect();
    let setup = Setup {
        seed,
        servers,
        publishers: rng.usize(1..=3),
        subscribers: if embedded { 1 } else { 1 + usize::from(rng.u32(..4) == 0) },
        readers,
        max_messages: match (kinds.has("trim"), rng.u32(..8)) {
            (true, 0) => 4,
            (true, 1) => 0,
            _ => 1_000,
        },
        dedup_window_ms: [1_000, 120_000][rng.usize(..2)],
        embedded,
    };
    let channels = 1 + usize::from(rng.u32(..3) == 0);
    let mut drawing = Drawing { rng, kinds, setup, steps: Vec::new(), primary: 0, channels, restored: Vec::new() };
    drawing.begin();
    let length = drawing.rng.usize(30..80);
    while drawing.steps.len() < length {
        drawing.draw();
    }
    Schedule { setup: drawing.setup, steps: drawing.steps }
}

impl Drawing<'_> {
    fn step(&mut self, step: Step) {
        let wait = match self.rng.u32(..20) {
            0..6 => 0,
            6..12 => self.rng.u64(1..10),
            12..17 => self.rng.u64(20..200),
            17..19 => self.rng.u64(300..1_200),
            _ => self.rng.u64(2_000..4_000),
        };
        self.steps.push((step, wait));
    }

    fn begin(&mut self) {
        for reader in 0..self.setup.readers.len() {
            if self.rng.u32(..4) > 0 {
                let subscriber = self.rng.usize(..self.setup.subscribers);
                self.step(Step::Open { reader, subscriber });
            }
        }
        self.steps.push((Step::Stall { reader: 0, stalls: false }, 50));
        for _ in 0..self.rng.usize(1..4) {
            self.publish(None);
        }
    }

    fn publish(&mut self, publisher: Option<usize>) {
        let publisher = publisher.unwrap_or_else(|| self.rng.usize(..self.setup.publishers));
        let channel = self.rng.usize(..self.channels);
        let messages = if self.rng.u32(..4) == 0 { self.rng.usize(2..5) } else { 1 };
        let with_id = self.kinds.has("ids") && self.rng.u32(..4) == 0;
        let replicas = u32::from(self.setup.servers > 1 && self.rng.u32(..10) == 0);
        self.step(Step::Publish { publisher, channel, messages, with_id, replicas });
        // Several at once: calls overlap.
        if self.rng.u32(..16) == 0 {
            for _ in 0..self.rng.usize(2..6) {
                let messages = self.rng.usize(1..4);
                let step = Step::Publish { publisher, channel, messages, with_id: false, replicas: 0 };
                self.steps.push((step, self.rng.u64(..2)));
            }
        }
    }

    fn server(&mut self) -> usize {
        self.rng.usize(..self.setup.servers)
    }

    fn client(&mut self) -> usize {
        self.rng.usize(..self.setup.clients())
    }

    fn some_publishes(&mut self, publisher: Option<usize>) {
        for _ in 0..self.rng.usize(1..4) {
            self.publish(publisher);
        }
    }

    fn draw(&mut self) {
        let chance = self.rng.u32(..100);
        match chance {
            0..45 => self.publish(None),
            45..60 => self.read(),
            60..64 if self.kinds.has("ids") => {
                let (publisher, back) = (self.rng.usize(..self.setup.publishers), self.rng.usize(..4));
                self.step(Step::Retry { publisher, back });
            }
            _ if self.setup.embedded => {
                if self.rng.u32(..4) == 0 {
                    self.step(Step::RestartSubscriber { subscriber: 0 });
                }
            }
            _ => self.fault(),
        }
    }

    fn read(&mut self) {
        let reader = self.rng.usize(..self.setup.readers.len());
        let subscriber = self.rng.usize(..self.setup.subscribers);
        match self.rng.u32(..9) {
            6.. => {
                let lister = self.rng.usize(..LISTERS);
                self.step(Step::Page { lister, subscriber });
            }
            0..3 => self.step(Step::Open { reader, subscriber }),
            3 => self.step(Step::Leave { reader }),
            4 => self.step(Step::Stall { reader, stalls: true }),
            _ => self.step(Step::Stall { reader, stalls: false }),
        }
    }

    fn fault(&mut self) {
        let kind = crate::generate::KINDS[self.rng.usize(..KINDS.len())];
        if !self.kinds.has(kind) {
            return;
        }
        match kind {
            "failover" if self.setup.servers > 1 => self.failover(),
            "stop" => {
                let server = self.server();
                self.step(Step::Stop { server });
                self.some_publishes(None);
                self.step(Step::Wake { server });
            }
            "restart" => {
                let (server, back) = (self.primary, self.back());
                self.step(Step::Kill { server });
                if self.rng.bool() {
                    self.publish(None);
                }
                self.step(Step::Start { server, back });
            }
            "restore" => {
                let channel = self.rng.usize(..self.channels);
                let (server, back, ids) = (self.primary, self.rng.usize(1..8), self.rng.bool());
                if self.restored.contains(&channel) {
                    return;
                }
                self.restored.push(channel);
                self.step(Step::Restore { server, channel, back, ids });
                self.some_publishes(None);
            }
            "flush" => {
                // What a head knew of a copy that was put back goes with a flush: ARCHITECTURE.md names it.
                if !self.restored.is_empty() {
                    return;
                }
                let server = self.primary;
                self.step(Step::Flush { server });
                self.some_publishes(None);
            }
            "registry" => {
                let server = self.primary;
                self.step(Step::DropRegistry { server });
            }
            "hold" => {
                let client = self.client();
                let live = client >= self.setup.publishers && self.rng.u32(..4) > 0;
                let commands = self.rng.bool();
                self.step(Step::Hold { client, live, commands });
                self.some_publishes(None);
                if self.rng.bool() {
                    self.step(Step::Cut { client, live });
                }
                self.step(Step::Release { client });
            }
            "cut" => {
                let client = self.client();
                let live = client >= self.setup.publishers && self.rng.bool();
                self.step(Step::Cut { client, live });
            }
            "forget" => {
                let publisher = self.rng.usize(..self.setup.publishers);
                self.step(Step::RestartPublisher { publisher });
            }
            "resubscribe" => {
                let subscriber = self.rng.usize(..self.setup.subscribers);
                self.step(Step::RestartSubscriber { subscriber });
            }
            "clock" => {
                let (server, ms) = (self.server(), self.rng.i64(-3_000..3_000));
                let ms = if self.rng.u32(..8) == 0 { -20 * 86_400_000 } else { ms };
                self.step(Step::Clock { server, ms });
            }
            _ => {}
        }
    }

    fn back(&mut self) -> usize {
        match self.rng.u32(..3) {
            0 => 0,
            _ => self.rng.usize(1..10),
        }
    }

    /// Another server becomes the primary; clients follow at different times, or late.
    fn failover(&mut self) {
        let old = self.primary;
        let new = (old + self.rng.usize(1..self.setup.servers)) % self.setup.servers;
        if self.rng.bool() {
            self.step(Step::Lag { server: new, lags: true });
            self.some_publishes(None);
        }
        let end = self.rng.u32(..4);
        match end {
            0 => self.step(Step::Kill { server: old }),
            1 => self.step(Step::Stop { server: old }),
            _ => {}
        }
        self.step(Step::Promote { server: new });
        self.step(Step::Lag { server: new, lags: false });
        let mut late = Vec::new();
        for client in 0..self.setup.clients() {
            let cuts = self.rng.u32(..4) > 0;
            match self.rng.u32(..3) {
                0 => late.push(client),
                _ => self.step(Step::Route { client, server: new, cuts }),
            }
        }
        self.primary = new;
        self.some_publishes(None);
        if self.rng.bool() {
            self.some_publishes(None);
        }
        match end {
            0 if self.rng.bool() => {
                let back = self.back();
                self.step(Step::Start { server: old, back });
                if self.rng.bool() {
                    // The old one again, with what it had: everybody goes back.
                    self.step(Step::Kill { server: new });
                    for client in 0..self.setup.clients() {
                        self.step(Step::Route { client, server: old, cuts: true });
                    }
                    self.primary = old;
                    self.some_publishes(None);
                    self.step(Step::Start { server: new, back: 0 });
                    self.step(Step::Demote { server: new, of: old });
                    return;
                }
            }
            0 => {
                self.step(Step::Start { server: old, back: 0 });
            }
            1 => self.step(Step::Wake { server: old }),
            _ => {}
        }
        if self.rng.bool() {
            self.some_publishes(None);
        }
        self.step(Step::Demote { server: old, of: new });
        for client in late {
            self.step(Step::Route { client, server: new, cuts: true });
        }
        for server in 0..self.setup.servers {
            if server != new && server != old {
                self.step(Step::Demote { server, of: new });
            }
        }
    }
}
