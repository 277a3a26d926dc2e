//! The servers that are measured, each a process of its own on a free loopback port, started when it is first needed
//! and ended with the stage: real Redis servers, the services' own optimised binaries, and the peers.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use tidings_testing::RedisServer;

mod peers;
mod process;
mod service;

pub(crate) use process::{Meter, Process, Usage, Watched};
pub(crate) use service::answers;

/// A Redis server of the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Disk {
    /// Nothing is written to a disk.
    None,
    /// Appended to a file, which is flushed every second.
    EverySecond,
    /// Nothing either, and what it keeps stays for all rounds.
    Archive,
}

/// A service of the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    /// A publisher with the defaults of its flags, but for these.
    Publisher(Disk, History),
    /// A subscriber with the defaults of its flags.
    Subscriber(Disk),
    /// A tonic server that answers a `Publish` at once.
    Echo,
}

/// What a publisher keeps of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum History {
    /// The default: 100,000 messages.
    Default,
    /// Nothing.
    None,
    /// A little more than a million messages.
    Million,
}

/// What others use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    Nats,
    RabbitMq,
    NodePublisher,
    NodeSubscriber,
}

/// Everything that runs.
#[derive(Default)]
pub(crate) struct Stage {
    redis: HashMap<Disk, Rc<RedisServer>>,
    services: HashMap<Service, Rc<Process>>,
    peers: HashMap<Peer, Rc<Process>>,
    /// What peers need besides.
    helpers: Vec<Process>,
    warm: HashSet<Peer>,
}

impl Stage {
    /// A Redis server.
    pub(crate) fn redis(&mut self, disk: Disk) -> Rc<RedisServer> {
        let appended = ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"];
        let start = || match disk {
            Disk::None | Disk::Archive => RedisServer::start(),
            Disk::EverySecond => RedisServer::start_with(&appended),
        };
        Rc::clone(self.redis.entry(disk).or_insert_with(|| Rc::new(start())))
    }

    /// A service.
    pub(crate) async fn service(&mut self, service: Service) -> anyhow::Result<Rc<Process>> {
        if let Some(process) = self.services.get(&service) {
            return Ok(Rc::clone(process));
        }
        let process = self.start(service)?;
        answers(service, process.address).await?;
        let process = Rc::new(process);
        self.services.insert(service, Rc::clone(&process));
        Ok(process)
    }

    /// One of what others use.
    pub(crate) async fn peer(&mut self, peer: Peer) -> anyhow::Result<Rc<Process>> {
        if let Some(process) = self.peers.get(&peer) {
            return Ok(Rc::clone(process));
        }
        let process = match peer {
            Peer::Nats => peers::nats().await?,
            Peer::NodePublisher => peers::node("publisher", &self.redis(Disk::None)).await?,
            Peer::NodeSubscriber => peers::node("subscriber", &self.redis(Disk::None)).await?,
            Peer::RabbitMq => {
                let (process, mapper) = peers::rabbitmq().await?;
                self.helpers.push(mapper);
                process
            }
        };
        let process = Rc::new(process);
        self.peers.insert(peer, Rc::clone(&process));
        Ok(process)
    }

    /// Whether a peer has not been measured yet: V8 compiles what has run for a while.
    pub(crate) fn is_cold(&mut self, peer: Peer) -> bool {
        self.warm.insert(peer)
    }

    /// A service of a measurement's own, for which nobody has waited yet.
    pub(crate) fn start(&mut self, service: Service) -> anyhow::Result<Process> {
        self.start_under(service, &[])
    }

    /// The same, run by another program.
    pub(crate) fn start_under(&mut self, service: Service, runner: &[&str]) -> anyhow::Result<Process> {
        let disk = match service {
            Service::Publisher(disk, _) | Service::Subscriber(disk) => disk,
            Service::Echo => Disk::None,
        };
        service::start(service, &self.redis(disk), runner)
    }

    /// Drops what Redis keeps, so that no measurement pays for the one before.
    pub(crate) fn clear(&self) {
        for (disk, redis) in &self.redis {
            if *disk != Disk::Archive {
                redis.command(&["FLUSHALL"]);
            }
        }
    }
}
