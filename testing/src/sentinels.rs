//! A primary with replicas, and the sentinels that watch it.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{RedisServer, TEST_TIMEOUT};

/// The name of the service.
pub const SERVICE: &str = "mymaster";
/// How long a server may not answer before it is taken for dead: short, and long enough for a busy machine.
const DOWN_AFTER_MS: u32 = 1_000;
/// After twice this time a failover that came to nothing may be tried again.
const FAILOVER_TIMEOUT_MS: u32 = 2_000;
/// How many must agree that a server is dead, of three.
const QUORUM: usize = 2;

/// What a sentinel of a test watches.
#[derive(Debug, Clone, Copy)]
pub struct Monitored {
    /// Where the primary is, for what it knows.
    pub port: u16,
    /// The epoch of its configuration.
    pub epoch: u64,
}

/// A service of one primary and two replicas, and three sentinels that know each other. Dropping it ends them all.
#[derive(Debug)]
pub struct Sentinels {
    /// The servers; the first one is the primary at the start.
    pub servers: Vec<RedisServer>,
    /// The sentinels.
    pub sentinels: Vec<RedisServer>,
}

impl Sentinels {
    /// Starts them all, and waits until each sentinel could carry out a failover.
    pub fn start() -> Self {
        Self::start_with(&["--save", "", "--appendonly", "no"])
    }

    /// The same with arguments for the servers.
    pub fn start_with(arguments: &[&str]) -> Self {
        let primary = RedisServer::start_with(arguments);
        let primary_port = primary.port().to_string();
        let replica = || {
            let replica_of = ["--replicaof", "127.0.0.1", &primary_port];
            RedisServer::start_with(&[&replica_of[..], arguments].concat())
        };
        let servers = vec![primary, replica(), replica()];
        let watched = Monitored { port: servers[0].port(), epoch: 1 };
        let sentinels = (0..3).map(|_| sentinel_of(watched, QUORUM)).collect();
        let all = Self { servers, sentinels };
        all.introduce();
        all
    }

    /// Sentinels find each other, and the replicas, through the primary, within two seconds.
    fn introduce(&self) {
        wait_until("replicas are in sync", || {
            let info = self.servers[0].command(&["INFO", "replication"]);
            info.matches("state=online").count() == self.servers.len() - 1
        });
        for sentinel in &self.sentinels {
            wait_until("a sentinel knows all others and all replicas", || {
                let all = |what: &str, field: &str, value: &str, count: usize| {
                    let entries = sentinel.command(&["SENTINEL", what, SERVICE]);
                    let words: Vec<_> =
                        entries.lines().map(str::trim_end).filter(|line| !line.starts_with('$')).collect();
                    words.windows(2).filter(|pair| *pair == [field, value]).count() == count
                };
                let (others, replicas) = (self.sentinels.len() - 1, self.servers.len() - 1);
                all("SENTINELS", "flags", "sentinel", others)
                    && all("REPLICAS", "flags", "slave", replicas)
                    && all("REPLICAS", "master-link-status", "ok", replicas)
            });
        }
    }

    /// The address of the service, with a login for Redis (`user:password@`, or nothing).
    pub fn url(&self, login: &str) -> String {
        sentinel_url(login, &self.sentinels.iter().collect::<Vec<_>>())
    }

    /// Which of the servers a sentinel announces now.
    pub fn announced_by(&self, sentinel: usize) -> usize {
        let answer = self.sentinels[sentinel].command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]);
        let port = answer.lines().last().unwrap_or_default().trim();
        let server = self.servers.iter().position(|server| server.port().to_string() == port);
        server.unwrap_or_else(|| panic!("it announces {answer}"))
    }

    /// Waits until a sentinel announces another primary than this one; answers which.
    pub fn replaced(&self, sentinel: usize, before: usize) -> usize {
        wait_until("a failover", || self.announced_by(sentinel) != before);
        self.announced_by(sentinel)
    }

    /// Has a sentinel change over to a replica, though nothing is wrong; answers which, at once when it is a primary.
    pub fn fail_over(&self, sentinel: usize) -> usize {
        let before = self.announced_by(sentinel);
        // Just after one failover it may refuse the next.
        wait_until("it begins a failover", || {
            self.sentinels[sentinel].command(&["SENTINEL", "FAILOVER", SERVICE]) == "+OK"
        });
        self.replaced(sentinel, before)
    }

    /// Keeps a server's replicas from getting anything more, while clients that are connected notice nothing.
    pub fn leave_replicas_behind(&self, primary: usize) {
        let primary = &self.servers[primary];
        assert_eq!(primary.command(&["CONFIG", "SET", "requirepass", "nobody knows"]), "+OK");
        let login = ["AUTH", "nobody knows"];
        primary.commands(&[&login, &["CLIENT", "KILL", "TYPE", "replica"]]);
        wait_until("its replicas are gone", || {
            primary.commands(&[&login, &["INFO", "replication"]]).contains("connected_slaves:0")
        });
    }
}

/// Starts a sentinel that watches a server alone until it hears of more.
pub fn sentinel_of(watched: Monitored, quorum: usize) -> RedisServer {
    let Monitored { port, epoch } = watched;
    let configuration = format!(
        "sentinel monitor {SERVICE} 127.0.0.1 {port} {quorum}\n\
         sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n\
         sentinel failover-timeout {SERVICE} {FAILOVER_TIMEOUT_MS}\n\
         sentinel config-epoch {SERVICE} {epoch}\n\
         sentinel current-epoch {epoch}\n"
    );
    RedisServer::start_from_file(&configuration, &["--sentinel"])
}

/// The address of the service at these sentinels, with a login for Redis.
pub fn sentinel_url(login: &str, sentinels: &[&RedisServer]) -> String {
    let hosts: Vec<_> = sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
    format!("redis+sentinel://{login}{}/{SERVICE}", hosts.join(","))
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + TEST_TIMEOUT;
    while !condition() {
        assert!(Instant::now() < end, "gave up waiting: {what}");
        sleep(Duration::from_millis(10));
    }
}
