//! One client's connection to a server, as the server has it.

use std::sync::Arc;

use tidings_redis::simulation::Pipe;

use crate::redis::reply::{self, Reply};

/// What has been sent and not carried out, what is answered and held back, and what it listens to.
pub(crate) struct Connection {
    pub(crate) client: String,
    pub(crate) server: usize,
    /// Nothing that is sent arrives for now.
    pub(crate) holds_commands: bool,
    /// Nothing that is answered or pushed arrives for now.
    pub(crate) holds_replies: bool,
    pipe: Arc<Pipe>,
    /// Commands that were not carried out yet.
    inbox: Vec<u8>,
    held: Vec<u8>,
    channels: Vec<Vec<u8>>,
    patterns: Vec<Vec<u8>>,
    waits: Option<Wait>,
    /// Which version of its server its last write made.
    wrote: usize,
}

/// A WAIT that is not answered.
#[derive(Clone, Copy)]
pub(super) struct Wait {
    pub(super) replicas: i64,
    pub(super) until_ms: i64,
    /// The version of the server that they must have.
    pub(super) wrote: usize,
}

impl Connection {
    pub(super) fn new(client: String, server: usize, pipe: Arc<Pipe>) -> Self {
        Self {
            client,
            server,
            holds_commands: false,
            holds_replies: false,
            pipe,
            inbox: Vec::new(),
            held: Vec::new(),
            channels: Vec::new(),
            patterns: Vec::new(),
            waits: None,
            wrote: 0,
        }
    }

    /// Whether it is a live one.
    pub(crate) fn is_live(&self) -> bool {
        !(self.channels.is_empty() && self.patterns.is_empty())
    }

    /// Whether its commands have to wait.
    pub(super) fn is_held_up(&self) -> bool {
        self.holds_commands || self.waits.is_some()
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
    }

    /// Takes the next command that is there whole.
    pub(super) fn next_command(&mut self) -> Option<Vec<Vec<u8>>> {
        let (words, length) = reply::command(&self.inbox)?;
        self.inbox.drain(..length);
        Some(words)
    }

    pub(super) fn send(&mut self, reply: &Reply) {
        let mut bytes = Vec::new();
        reply.write(&mut bytes);
        match self.holds_replies {
            true => self.held.extend(bytes),
            false => self.pipe.deliver(&bytes),
        }
    }

    /// Carries out SUBSCRIBE and its sisters.
    pub(super) fn subscribe(&mut self, command: &str, topics: &[Vec<u8>]) {
        for topic in topics {
            let of_kind = if command.starts_with('P') { &mut self.patterns } else { &mut self.channels };
            of_kind.retain(|known| known != topic);
            if !command.contains("UN") {
                of_kind.push(topic.clone());
            }
            let count = (self.patterns.len() + self.channels.len()) as i64;
            let kind = Reply::text(command.to_ascii_lowercase());
            self.send(&Reply::Push(vec![kind, Reply::Bulk(topic.clone()), Reply::Int(count)]));
        }
    }

    /// Pushes a message, once for each topic that it fits.
    pub(super) fn push(&mut self, channel: &[u8], payload: &[u8]) {
        let bulk = |bytes: &[u8]| Reply::Bulk(bytes.to_vec());
        if self.channels.iter().any(|known| known == channel) {
            self.send(&Reply::Push(vec![Reply::text("message"), bulk(channel), bulk(payload)]));
        }
        let matching: Vec<_> = self.patterns.iter().filter(|glob| fits(glob, channel)).cloned().collect();
        for glob in matching {
            self.send(&Reply::Push(vec![Reply::text("pmessage"), bulk(&glob), bulk(channel), bulk(payload)]));
        }
    }

    pub(super) fn forget_topics(&mut self) {
        self.channels.clear();
        self.patterns.clear();
    }

    /// Breaks it off. What was held is lost.
    pub(super) fn cut(&self) {
        self.pipe.cut();
    }

    /// Lets go of what is held.
    pub(super) fn release(&mut self) {
        self.holds_commands = false;
        self.holds_replies = false;
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            self.pipe.deliver(&held);
        }
    }

    pub(super) fn has_written(&mut self, version: usize) {
        self.wrote = version;
    }

    /// Waits until so many replicas have its last write.
    pub(super) fn wait(&mut self, replicas: i64, until_ms: i64) {
        self.waits = Some(Wait { replicas, until_ms, wrote: self.wrote });
    }

    pub(super) fn waits(&self) -> Option<Wait> {
        self.waits
    }

    pub(super) fn end_wait(&mut self, reached: i64) {
        self.waits = None;
        self.send(&Reply::Int(reached));
    }
}

/// Globs are a name's beginning and a star here.
fn fits(glob: &[u8], channel: &[u8]) -> bool {
    glob.strip_suffix(b"*").is_some_and(|start| channel.starts_with(start))
}
