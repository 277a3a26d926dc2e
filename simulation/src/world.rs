//! All servers and connections of one schedule. Bytes that a socket is handed are carried out at once, unless a fault
//! is between them.

use std::{cell::RefCell, collections::BTreeMap, io, rc::Rc, sync::Arc, time::Duration};

use tidings_redis::simulation::{Network, Pipe};
use tokio::time::sleep;

use self::{
    connection::{Connection, Wait},
    heads::Heads,
};
use crate::{
    clock,
    redis::{
        Server,
        commands::{Context, name},
        lua::Engine,
        reply::Reply,
    },
    truth::Truth,
};

mod connection;
mod heads;

/// As fine as time is.
const SLICE_MS: u64 = 25;

/// What all of a schedule happens in.
pub(crate) struct World {
    pub(crate) servers: Vec<Server>,
    pub(crate) connections: BTreeMap<u64, Connection>,
    /// Where each client's host leads.
    pub(crate) routes: BTreeMap<String, usize>,
    pub(crate) truth: Truth,
    pub(crate) engine: Engine,
    next: u64,
    heads: Heads,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Puts a world onto this thread.
pub(crate) fn begin(world: World) {
    WORLD.set(Some(world));
    tidings_redis::simulation::set_network(Some(Rc::new(Wires)));
}

/// Takes it off again.
pub(crate) fn end() -> World {
    tidings_redis::simulation::set_network(None);
    WORLD.take().expect("a world")
}

/// Looks at this thread's world.
pub(crate) fn with<T>(look: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(|world| look(world.as_mut().expect("a world")))
}

/// Lets time pass.
pub(crate) async fn pass(ms: u64) {
    let mut left = ms;
    while left > 0 {
        let slice = left.min(SLICE_MS);
        sleep(Duration::from_millis(slice)).await;
        clock::set(clock::now_ms() + slice as i64);
        with(World::wait);
        left -= slice;
    }
}

struct Wires;

impl Network for Wires {
    fn dial(&self, host: &str) -> io::Result<Arc<Pipe>> {
        with(|world| world.dial(host))
    }

    fn receive(&self, pipe: &Pipe, bytes: &[u8]) {
        with(|world| {
            if let Some(connection) = world.connections.get_mut(&pipe.id) {
                connection.receive(bytes);
                world.carry_out(pipe.id);
            }
        });
    }

    fn hang_up(&self, pipe: &Pipe) {
        WORLD.with_borrow_mut(|world| world.as_mut().map(|world| world.hang_up(pipe.id)));
    }
}

impl World {
    pub(crate) fn new(servers: usize, engine: Engine) -> Self {
        let mut servers: Vec<Server> = (0..servers).map(|_| Server::new()).collect();
        servers.iter_mut().skip(1).for_each(|server| server.replica_of = Some(0));
        let mut world = Self {
            servers,
            connections: BTreeMap::new(),
            routes: BTreeMap::new(),
            truth: Truth::default(),
            engine,
            next: 0,
            heads: Heads::default(),
        };
        world.replicate();
        world
    }

    fn dial(&mut self, host: &str) -> io::Result<Arc<Pipe>> {
        let server = *self.routes.get(host).ok_or(io::ErrorKind::NotFound)?;
        if self.servers[server].is_down {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        self.next += 1;
        let pipe = Pipe::new(self.next);
        let connection = Connection::new(host.to_owned(), server, Arc::clone(&pipe));
        self.connections.insert(self.next, connection);
        Ok(pipe)
    }

    /// A client closes its end: what it has sent before arrives, unless the connection is held.
    fn hang_up(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match self.servers[connection.server].is_stopped || connection.holds_commands {
            // It is carried out when the server wakes, with nobody to answer.
            true => {
                connection.forget_topics();
            }
            false => drop(self.connections.remove(&id)),
        }
    }

    /// Cuts connections. What was held on them is lost.
    pub(crate) fn cut(&mut self, which: impl Fn(&Connection) -> bool) {
        self.connections.retain(|_, connection| {
            let goes = which(connection);
            if goes {
                connection.cut();
            }
            !goes
        });
    }

    /// Lets go of what is held.
    pub(crate) fn release(&mut self, which: impl Fn(&Connection) -> bool) {
        let ids: Vec<u64> = self.connections.iter().filter(|(_, c)| which(c)).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.release();
            }
            self.carry_out(id);
        }
    }

    /// Carries out what a connection has sent, as far as it may.
    fn carry_out(&mut self, id: u64) {
        while let Some(connection) = self.connections.get_mut(&id) {
            let server = &self.servers[connection.server];
            if connection.is_held_up() || server.is_stopped || server.is_down {
                return;
            }
            let Some(words) = connection.next_command() else { return };
            let reply = self.command(id, &words);
            if let (Some(reply), Some(connection)) = (reply, self.connections.get_mut(&id)) {
                connection.send(&reply);
            }
        }
    }

    /// One command. No reply where that comes later.
    fn command(&mut self, id: u64, words: &[Vec<u8>]) -> Option<Reply> {
        let connection = self.connections.get_mut(&id)?;
        let server = &mut self.servers[connection.server];
        let command = name(&words[0]);
        Some(match &*command {
            "HELLO" => {
                let role = if server.is_primary() { "master" } else { "replica" };
                Reply::Map(vec![
                    Reply::text("server"),
                    Reply::text("redis"),
                    Reply::text("version"),
                    Reply::text("7.0.15"),
                    Reply::text("proto"),
                    Reply::Int(3),
                    Reply::text("role"),
                    Reply::text(role),
                ])
            }
            "SELECT" | "CLIENT" => Reply::Status("OK"),
            "CONFIG" => Reply::Map(Vec::new()),
            "SUBSCRIBE" | "PSUBSCRIBE" | "UNSUBSCRIBE" | "PUNSUBSCRIBE" => {
                connection.subscribe(&command, &words[1..]);
                return None;
            }
            "SCRIPT" => {
                assert_eq!(name(&words[1]), "LOAD");
                let hash = self.engine.load(&words[2]);
                server.scripts.insert(hash.clone());
                Reply::text(hash)
            }
            "WAIT" => {
                let number =
                    |word: &[u8]| std::str::from_utf8(word).ok().and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
                let until = clock::now_ms() + number(&words[2]);
                connection.wait(number(&words[1]), until);
                self.wait();
                return None;
            }
            _ => self.work(id, &command, words),
        })
    }

    /// A command that has to do with keys.
    fn work(&mut self, id: u64, command: &str, words: &[Vec<u8>]) -> Reply {
        let index = self.connections[&id].server;
        let info = self.info(index);
        let server = &mut self.servers[index];
        let hash = match command {
            "EVAL" => {
                let hash = self.engine.load(&words[1]);
                server.scripts.insert(hash.clone());
                Some(hash)
            }
            "EVALSHA" => {
                let hash = String::from_utf8_lossy(&words[1]).into_owned();
                if !server.scripts.contains(&hash) {
                    return Reply::error("NOSCRIPT No matching script. Please use EVAL.");
                }
                Some(hash)
            }
            _ => None,
        };
        let writes = match &hash {
            Some(hash) => !self.engine.is_reading(hash),
            None => Context::writes(command),
        };
        if writes && !server.is_primary() {
            return Reply::error("READONLY You can't write against a read only replica.");
        }
        server.keys.expire(server.now_us() / 1000);
        let keys = std::mem::take(&mut server.keys);
        let mut context = Context { keys, now_us: server.now_us(), info, published: Vec::new(), wrote: false };
        let reply = match hash {
            Some(hash) => self.engine.run(&hash, &words[2..], &mut context),
            None => context.run(words),
        };
        let Context { keys, published, wrote, .. } = context;
        let server = &mut self.servers[index];
        server.keys = keys;
        if server.is_primary() {
            for (channel, payload) in &published {
                self.truth.published(index, channel, payload);
            }
        }
        for (channel, payload) in &published {
            self.push(index, channel, payload);
        }
        if wrote || !published.is_empty() {
            self.heads.look(index, &self.servers[index].keys, &mut self.truth);
            let server = &mut self.servers[index];
            server.step(published);
            let at = server.versions.len();
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.has_written(at);
            }
            self.replicate();
        }
        reply
    }

    fn push(&mut self, server: usize, channel: &[u8], payload: &[u8]) {
        for connection in self.connections.values_mut().filter(|connection| connection.server == server) {
            connection.push(channel, payload);
        }
    }

    /// What a server says of its replication, among other things.
    fn info(&self, index: usize) -> String {
        let server = &self.servers[index];
        let (role, id) = match server.replica_of {
            None => ("master", &server.replication_id),
            Some(_) => ("slave", &server.applied.0),
        };
        let mut text = format!(
            "# Server\r\nredis_version:7.0.15\r\nmaxmemory_policy:noeviction\r\n# Replication\r\nrole:{role}\r\n"
        );
        for (at, replica) in self.servers.iter().enumerate() {
            if replica.replica_of == Some(index) && !replica.is_down {
                text += &format!("slave{at}:ip=127.0.0.1,port=6379,state=online,offset=1,lag=0\r\n");
            }
        }
        text + &format!("master_replid:{id}\r\n")
    }

    /// Lets replicas that do not lag have what their primaries have, and answers who waits for that.
    pub(crate) fn replicate(&mut self) {
        for index in 0..self.servers.len() {
            let replica = &self.servers[index];
            let Some(primary) = replica.replica_of else { continue };
            if replica.lags || replica.is_down || replica.is_stopped {
                continue;
            }
            let source = &self.servers[primary];
            if source.is_down || source.is_stopped || !source.is_primary() {
                continue;
            }
            let id = source.replication_id.clone();
            let from = match replica.applied.0 == id {
                true => replica.applied.1,
                // Another history: it takes all of it, and forgets its own.
                false => source.versions.len() - 1,
            };
            let new = source.versions[from..].to_vec();
            let applied = (id, source.versions.len());
            let replica = &mut self.servers[index];
            let is_whole = replica.applied.0 != applied.0;
            if is_whole {
                replica.versions.clear();
            }
            replica.applied = applied;
            let mut relayed = Vec::new();
            for version in new {
                replica.keys = version.keys.clone();
                if !is_whole {
                    relayed.extend(version.published.iter().cloned());
                }
                replica.versions.push(version);
            }
            for (channel, payload) in relayed {
                self.push(index, &channel, &payload);
            }
        }
        self.wait();
    }

    /// Answers those that wait for replicas, where they are reached, or it is time.
    fn wait(&mut self) {
        let mut released = Vec::new();
        for (id, connection) in &mut self.connections {
            let Some(Wait { replicas, until_ms, wrote }) = connection.waits() else { continue };
            let reached = self.servers.iter().filter(|replica| {
                let primary = &self.servers[connection.server];
                replica.replica_of == Some(connection.server)
                    && replica.applied.0 == primary.replication_id
                    && replica.applied.1 >= wrote
            });
            let reached = reached.count() as i64;
            if reached >= replicas || clock::now_ms() >= until_ms {
                connection.end_wait(reached);
                released.push(*id);
            }
        }
        for id in released {
            self.carry_out(id);
        }
    }

    /// A stopped server wakes: what has waited in its sockets is carried out, as if no time had passed.
    pub(crate) fn wake(&mut self, index: usize) {
        self.servers[index].is_stopped = false;
        let ids: Vec<u64> = self.connections.iter().filter(|(_, c)| c.server == index).map(|(id, _)| *id).collect();
        for id in ids {
            self.carry_out(id);
        }
        self.replicate();
    }
}
