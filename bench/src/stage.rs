//! The servers that are measured, each a process of its own on a free loopback port, started when it is first needed
//! and ended with the stage: real Redis servers, the services' own optimised binaries, and the peers.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    rc::Rc,
};

use anyhow::Context as _;
use tidings_testing::{RedisServer, TlsRedis};

mod credentials;
mod peers;
mod process;
mod service;

pub(crate) use credentials::Credentials;
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
    /// Nothing is written to a disk, and the services reach it over TLS.
    Tls,
}

/// A service of the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    /// A publisher with the defaults of its flags, but for these.
    Publisher(Disk, History),
    /// A subscriber with the defaults of its flags.
    Subscriber(Disk),
    /// A publisher with the defaults of its flags, but for whom it lets in.
    GuardedPublisher(Access),
    /// A subscriber likewise.
    GuardedSubscriber(Access),
    /// A tonic server that answers a `Publish` at once.
    Echo,
}

impl Service {
    /// What it has its messages on.
    pub(crate) fn disk(self) -> Option<Disk> {
        match self {
            Self::Publisher(disk, _) | Self::Subscriber(disk) => Some(disk),
            Self::GuardedPublisher(_) | Self::GuardedSubscriber(_) => Some(Disk::None),
            Self::Echo => None,
        }
    }

    /// Whom it lets in.
    pub(crate) fn access(self) -> Access {
        match self {
            Self::GuardedPublisher(access) | Self::GuardedSubscriber(access) => access,
            _ => Access::Plain,
        }
    }
}

/// How clients come to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Access {
    /// In plain text, without signing in.
    Plain,
    /// In plain text, with a token.
    Token,
    /// With TLS and a token.
    TlsAndToken,
}

impl Access {
    /// A publisher that lets in those who come so.
    pub(crate) fn publisher(self) -> Service {
        match self {
            Self::Plain => Service::Publisher(Disk::None, History::Default),
            access => Service::GuardedPublisher(access),
        }
    }

    /// A subscriber likewise.
    pub(crate) fn subscriber(self) -> Service {
        match self {
            Self::Plain => Service::Subscriber(Disk::None),
            access => Service::GuardedSubscriber(access),
        }
    }
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
    tls_redis: Option<Rc<TlsRedis>>,
    credentials: Option<Rc<Credentials>>,
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
            Disk::EverySecond => RedisServer::start_with(&appended),
            _ => RedisServer::start(),
        };
        Rc::clone(self.redis.entry(disk).or_insert_with(|| Rc::new(start())))
    }

    /// The Redis server of [`Disk::Tls`].
    pub(crate) fn tls_redis(&mut self) -> Rc<TlsRedis> {
        let start = || Rc::new(TlsRedis::start(&["127.0.0.1"], false));
        Rc::clone(self.tls_redis.get_or_insert_with(start))
    }

    /// What services and clients that are guarded need.
    pub(crate) fn credentials(&mut self) -> anyhow::Result<Rc<Credentials>> {
        if self.credentials.is_none() {
            self.credentials = Some(Rc::new(Credentials::new()?));
        }
        self.credentials.clone().context("no credentials")
    }

    /// A service.
    pub(crate) async fn service(&mut self, service: Service) -> anyhow::Result<Rc<Process>> {
        if let Some(process) = self.services.get(&service) {
            return Ok(Rc::clone(process));
        }
        let process = self.start(service)?;
        answers(service, &process.target).await?;
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
        let redis = match service.disk() {
            None => Vec::new(),
            Some(Disk::Tls) => {
                let redis = self.tls_redis();
                let ca = redis.files.path("ca.pem").display().to_string();
                vec!["--redis-url".to_owned(), redis.url("", "127.0.0.1"), "--redis-ca".to_owned(), ca]
            }
            Some(disk) => vec!["--redis-url".to_owned(), self.redis(disk).url()],
        };
        let credentials = if service.access() == Access::Plain { None } else { Some(self.credentials()?) };
        service::start(service, &redis, credentials.as_deref(), runner)
    }

    /// Where the Redis server of a service is reached without TLS, whatever the service does.
    pub(crate) fn plain_port(&mut self, disk: Disk) -> SocketAddr {
        let port = match disk {
            Disk::Tls => self.tls_redis().server.port(),
            disk => self.redis(disk).port(),
        };
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// The Redis server of a service, to be looked at.
    pub(crate) fn watched(&mut self, disk: Disk) -> Watched {
        match disk {
            Disk::Tls => Watched::from(&self.tls_redis().server),
            disk => Watched::from(&*self.redis(disk)),
        }
    }

    /// Drops what Redis keeps, so that no measurement pays for the one before.
    pub(crate) fn clear(&self) {
        for (disk, redis) in &self.redis {
            if *disk != Disk::Archive {
                redis.command(&["FLUSHALL"]);
            }
        }
        if let Some(redis) = &self.tls_redis {
            redis.server.command(&["FLUSHALL"]);
        }
    }
}
