//! Faults, drawn one after the other: of the links between the services and Redis, of Redis, and of the services.

mod links;
mod redis;

use std::time::Duration;

use tokio::{task::JoinSet, time::sleep};

use crate::{
    history::{At, Fault},
    nature::Nature,
    world::World,
};

/// A kind of fault, and how often it is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cut,
    Delay,
    Hold,
    Swallow,
    Mute,
    Refuse,
    KillPubSub,
    KillNormal,
    Pause,
    Restart,
    Trim,
    Snapshot,
    Publisher,
    Subscriber,
    Freeze,
    Failover,
    EarlyPromotion,
    Flush,
    Restore,
}

/// What happens to every run.
const COMMON: [(Kind, u32); 15] = [
    (Kind::Cut, 10),
    (Kind::Delay, 5),
    (Kind::Hold, 4),
    (Kind::Swallow, 3),
    (Kind::Mute, 4),
    (Kind::Refuse, 3),
    (Kind::KillPubSub, 8),
    (Kind::KillNormal, 5),
    (Kind::Pause, 3),
    (Kind::Restart, 5),
    (Kind::Trim, 4),
    (Kind::Snapshot, 3),
    (Kind::Publisher, 3),
    (Kind::Subscriber, 4),
    (Kind::Freeze, 3),
];

/// The faults of a run.
pub(crate) struct Faults {
    rng: fastrand::Rng,
    kinds: Vec<(Kind, u32)>,
    pause_ms: u64,
    /// Those of links end by themselves.
    healing: JoinSet<()>,
}

impl Faults {
    /// Those that a nature allows.
    pub(crate) fn new(nature: &Nature, rng: fastrand::Rng) -> Self {
        let mut kinds = COMMON.to_vec();
        if nature.replica {
            kinds.push((Kind::Failover, 5));
        }
        if nature.losses {
            kinds.extend([(Kind::Flush, 1), (Kind::Restore, 3)]);
            if nature.replica {
                kinds.push((Kind::EarlyPromotion, 3));
            }
        }
        Self { rng, kinds, pause_ms: nature.pause_ms, healing: JoinSet::new() }
    }

    /// Troubles the world until then, and heals it.
    pub(crate) async fn run(mut self, world: &mut World, until: At) {
        while world.board.now() < until {
            sleep(Duration::from_millis(self.rng.u64(50..self.pause_ms))).await;
            if let Some(fault) = self.one(world).await {
                world.board.history().faults.push(fault);
            }
            while self.healing.try_join_next().is_some() {}
        }
        while self.healing.join_next().await.is_some() {}
        let calm = world.board.now();
        world.board.history().calm = calm;
    }

    fn draw(&mut self) -> Kind {
        let all: u32 = self.kinds.iter().map(|(_, weight)| weight).sum();
        let mut left = self.rng.u32(..all);
        let drawn = self.kinds.iter().find(|(_, weight)| {
            let here = left < *weight;
            left = left.saturating_sub(*weight);
            here
        });
        drawn.map_or(Kind::Cut, |(kind, _)| *kind)
    }

    async fn one(&mut self, world: &mut World) -> Option<Fault> {
        let began = world.board.now();
        let mut fault = match self.draw() {
            kind @ (Kind::Cut | Kind::Delay | Kind::Hold | Kind::Swallow | Kind::Mute | Kind::Refuse) => {
                self.bend(world, kind)
            }
            Kind::KillPubSub => redis::kill(world, "pubsub"),
            Kind::KillNormal => redis::kill(world, "normal"),
            Kind::Pause => redis::pause(world, self.short(2_000)).await,
            Kind::Restart => redis::restart(world, self.short(800)).await,
            Kind::Trim => {
                let channel = world.board.some_channel(&mut self.rng);
                redis::trim(world, &channel, self.rng.u32(..5))
            }
            Kind::Snapshot => redis::snapshot(world),
            Kind::Publisher => self.service(world, true).await,
            Kind::Subscriber => self.service(world, false).await,
            Kind::Freeze => {
                let service = self.rng.usize(..world.links.len());
                world.freeze(service, self.short(6_000)).await
            }
            Kind::Failover => redis::failover(world, self.rng.bool()).await?,
            Kind::EarlyPromotion => redis::promote_early(world, self.short(400), self.rng.bool()).await?,
            Kind::Flush => redis::flush(world),
            Kind::Restore => redis::restore(world).await?,
        };
        fault.began = began;
        fault.ended = world.board.now();
        Some(fault)
    }

    async fn service(&mut self, world: &mut World, publisher: bool) -> Fault {
        let publishers = world.board.publishers.len();
        let service =
            if publisher { self.rng.usize(..publishers) } else { self.rng.usize(publishers..world.links.len()) };
        let gently = self.rng.bool();
        let pause = self.short(500);
        world.replace(service, gently, pause).await
    }

    /// Up to so long; short more often than long.
    fn short(&mut self, most_ms: u64) -> Duration {
        let share = self.rng.f64() * self.rng.f64();
        Duration::from_millis((most_ms as f64 * share) as u64)
    }
}

fn fault(what: impl Into<String>) -> Fault {
    Fault { what: what.into(), ..Fault::default() }
}
