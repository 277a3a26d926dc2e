//! As much of HTTP/1.1 as it takes to talk to the Node.js pair: a POST on a connection that is kept, and server-sent
//! events.

use std::{cell::RefCell, net::SocketAddr};

use anyhow::{Context as _, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    Reader,
    resp::{connect, read},
    text::{self, Pattern},
};

/// A POST of a message, as it is on the wire.
pub(crate) fn post(channel: &str) -> Pattern {
    let body = format!(r#"{{"channel":"{channel}","message":"{}"}}"#, text::first());
    Pattern::new(format!(
        "POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// A connection that is used for one request after the other.
pub(crate) struct Connection {
    socket: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { socket: connect(address).await?, answer: Vec::new() })
    }

    /// Sends a request and waits for its answer, which must be a good one.
    pub(crate) async fn call(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.socket.write_all(request).await?;
        self.answer.clear();
        while !whole(&self.answer)? {
            ensure!(self.socket.read_buf(&mut self.answer).await? > 0, "the server closed the connection");
        }
        Ok(())
    }
}

/// Whether an answer is there with all its body.
fn whole(answer: &[u8]) -> anyhow::Result<bool> {
    const LENGTH: &str = "content-length: ";
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(false) };
    let head = std::str::from_utf8(&answer[..end])?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    let length =
        head.lines().find(|line| line.len() > LENGTH.len() && line[..LENGTH.len()].eq_ignore_ascii_case(LENGTH));
    let length: usize = length.context("no length")?[LENGTH.len()..].parse()?;
    Ok(answer.len() >= end + 4 + length)
}

/// Connections that are free at the moment.
pub(crate) struct Pool {
    address: SocketAddr,
    free: RefCell<Vec<Connection>>,
}

impl Pool {
    /// None yet.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, free: RefCell::new(Vec::new()) }
    }

    /// Sends a request on one that is free, or on a new one.
    pub(crate) async fn call(&self, request: &[u8]) -> anyhow::Result<()> {
        let free = self.free.borrow_mut().pop();
        let mut connection = match free {
            Some(connection) => connection,
            None => Connection::open(self.address).await?,
        };
        connection.call(request).await?;
        self.free.borrow_mut().push(connection);
        Ok(())
    }
}

/// Messages as server-sent events.
pub(crate) struct Events {
    socket: TcpStream,
    lines: Lines,
}

#[derive(Default)]
struct Lines {
    part: Vec<u8>,
    seen: u64,
    counters: Vec<u64>,
}

impl Events {
    /// Opens them; when they are there, what is published from now on will arrive.
    pub(crate) async fn open(address: SocketAddr, channel: &str) -> anyhow::Result<Self> {
        let mut socket = connect(address).await?;
        socket.write_all(format!("GET /messages/{channel} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
        let mut head = Vec::new();
        while !head.windows(11).any(|window| window == b": connected") {
            ensure!(socket.read_buf(&mut head).await? > 0, "closed: {:?}", String::from_utf8_lossy(&head));
        }
        Ok(Self { socket, lines: Lines::default() })
    }
}

impl Reader for Events {
    async fn more(&mut self) -> anyhow::Result<u64> {
        read(&self.socket, |bytes| self.lines.take(bytes)).await?;
        Ok(self.lines.seen)
    }

    fn shuffled(&mut self) -> Option<Vec<u64>> {
        Some(std::mem::take(&mut self.lines.counters))
    }
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        const MESSAGE: &[u8] = b"\"message\":\"";
        self.part.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(end) = self.part[from..].iter().position(|byte| *byte == b'\n') {
            let line = &self.part[from..from + end];
            from += end + 1;
            if line.starts_with(b"data: ") {
                let at = line.windows(MESSAGE.len()).position(|window| window == MESSAGE);
                let text = line.get(at.context("no message")? + MESSAGE.len()..).unwrap_or_default();
                self.counters.push(text::counter(text.get(..text::TEXT_BYTES).context("a short message")?)?);
                self.seen += 1;
            }
        }
        self.part.drain(..from);
        Ok(())
    }
}
