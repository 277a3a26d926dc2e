//! NATS, core and JetStream, as cheaply as the others: the text protocol of
//! <https://docs.nats.io/reference/reference-protocols/nats-protocol>.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    Feeder, Reader,
    resp::{connect, read},
    text::{self, Pattern},
};

pub(crate) mod pull;

/// JetStream publishes of one connection that may be unanswered.
const IN_FLIGHT: u64 = 1_024;
const PING: &[u8] = b"PING\r\n";

/// Connects and waits until the server has taken what is sent along.
async fn session(address: SocketAddr, commands: &str) -> anyhow::Result<TcpStream> {
    let mut socket = connect(address).await?;
    let greeting = format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\n{commands}PING\r\n");
    socket.write_all(greeting.as_bytes()).await?;
    let mut got = Vec::new();
    while !got.ends_with(b"PONG\r\n") {
        ensure!(socket.read_buf(&mut got).await? > 0, "NATS closed: {:?}", String::from_utf8_lossy(&got));
    }
    ensure!(!got.windows(4).any(|window| window == b"-ERR"), "NATS: {:?}", String::from_utf8_lossy(&got));
    Ok(socket)
}

/// Publishes the same payload with another counter.
pub(crate) struct Publisher {
    socket: TcpStream,
    publish: Pattern,
    buffer: Vec<u8>,
    sent: u64,
}

impl Publisher {
    /// On a connection of its own.
    pub(crate) async fn open(address: SocketAddr, subject: &str, payload: &str) -> anyhow::Result<Self> {
        let publish = Pattern::new(format!("PUB {subject} {}\r\n{payload}\r\n", payload.len()));
        Ok(Self { socket: session(address, "").await?, publish, buffer: Vec::new(), sent: 0 })
    }
}

impl Feeder for Publisher {
    // NATS answers none of them: the readers hold the publisher back.
    async fn send(&mut self, count: usize) -> anyhow::Result<()> {
        self.buffer.clear();
        self.publish.write(&mut self.buffer, count);
        self.sent += count as u64;
        Ok(self.socket.write_all(&self.buffer).await?)
    }

    async fn settle(&mut self) -> anyhow::Result<u64> {
        Ok(self.sent)
    }
}

/// Some subscriptions on one connection, as a gRPC connection has some streams.
pub(crate) struct Subscriber {
    socket: TcpStream,
    inbox: Inbox,
}

struct Inbox {
    part: Vec<u8>,
    /// What comes next for each subscription, and how much came.
    next: Vec<(Pattern, u64)>,
    /// The offset of a subscription's digit in a message.
    digit: usize,
}

impl Subscriber {
    /// Up to ten of them.
    pub(crate) async fn open(address: SocketAddr, subject: &str, payload: &str, count: usize) -> anyhow::Result<Self> {
        let commands: String = (0..count).map(|sid| format!("SUB {subject} {sid}\r\n")).collect();
        let message = |sid| format!("MSG {subject} {sid} {}\r\n{payload}\r\n", payload.len());
        let next = (0..count).map(|sid| (Pattern::new(message(sid)), 0)).collect();
        let inbox = Inbox { part: Vec::new(), next, digit: "MSG  ".len() + subject.len() };
        Ok(Self { socket: session(address, &commands).await?, inbox })
    }
}

impl Reader for Subscriber {
    async fn more(&mut self) -> anyhow::Result<u64> {
        read(&self.socket, |bytes| self.inbox.take(bytes)).await?;
        Ok(self.inbox.next.iter().map(|(_, seen)| *seen).min().unwrap_or_default())
    }

    fn streams(&self) -> u64 {
        self.inbox.next.len() as u64
    }
}

impl Inbox {
    fn take(&mut self, mut bytes: &[u8]) -> anyhow::Result<()> {
        let whole = self.next[0].0.bytes().len();
        while !self.part.is_empty() {
            let wanted = if self.part[0] == PING[0] { PING.len() } else { whole };
            let (some, rest) = bytes.split_at(bytes.len().min(wanted - self.part.len()));
            self.part.extend_from_slice(some);
            bytes = rest;
            if self.part.len() < wanted {
                return Ok(());
            }
            let part = std::mem::take(&mut self.part);
            if part != PING {
                self.message(&part)?;
            }
        }
        loop {
            // The server asks once, soon after the beginning, and does not insist.
            if let Some(rest) = bytes.strip_prefix(PING) {
                bytes = rest;
            } else if bytes.len() >= whole {
                self.message(&bytes[..whole])?;
                bytes = &bytes[whole..];
            } else {
                self.part.extend_from_slice(bytes);
                return Ok(());
            }
        }
    }

    fn message(&mut self, message: &[u8]) -> anyhow::Result<()> {
        let digit = usize::from(message[self.digit].wrapping_sub(b'0'));
        let (next, seen) = self.next.get_mut(digit).context("a delivery to nobody")?;
        text::same(next, message)?;
        *seen += 1;
        next.step();
        Ok(())
    }
}

/// Publishes to a JetStream stream, and counts its acknowledgements.
pub(crate) struct Stream {
    socket: TcpStream,
    publish: Pattern,
    buffer: Vec<u8>,
    sent: u64,
    acknowledged: Acknowledged,
}

#[derive(Default)]
struct Acknowledged {
    part: Vec<u8>,
    count: u64,
    last: u64,
}

/// Makes a stream that keeps a subject in files.
pub(crate) async fn create(address: SocketAddr, subject: &str) -> anyhow::Result<()> {
    let name = subject.replace('.', "_");
    let wanted = format!(r#"{{"name":"{name}","subjects":["{subject}"],"storage":"file","num_replicas":1}}"#);
    let answer = ask(address, &format!("$JS.API.STREAM.CREATE.{name}"), &wanted).await?;
    ensure!(answer.contains("\"created\""), "JetStream: {answer}");
    Ok(())
}

/// Removes it with all it keeps.
pub(crate) async fn delete(address: SocketAddr, subject: &str) -> anyhow::Result<()> {
    let answer = ask(address, &format!("$JS.API.STREAM.DELETE.{}", subject.replace('.', "_")), "").await?;
    ensure!(answer.contains("\"success\":true"), "JetStream: {answer}");
    Ok(())
}

async fn ask(address: SocketAddr, subject: &str, request: &str) -> anyhow::Result<String> {
    let mut socket = session(address, "SUB bench.answer 1\r\n").await?;
    let request = format!("PUB {subject} bench.answer {}\r\n{request}\r\n", request.len());
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}\r\n") {
        ensure!(socket.read_buf(&mut answer).await? > 0, "NATS closed the connection");
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

impl Stream {
    /// On a connection of its own; others may publish to the same subject.
    pub(crate) async fn open(address: SocketAddr, subject: &str, payload: &str, n: usize) -> anyhow::Result<Self> {
        let inbox = format!("bench.inbox.{n}");
        let publish = Pattern::new(format!("PUB {subject} {inbox} {}\r\n{payload}\r\n", payload.len()));
        let socket = session(address, &format!("SUB {inbox} 1\r\n")).await?;
        Ok(Self { socket, publish, buffer: Vec::new(), sent: 0, acknowledged: Acknowledged::default() })
    }

    /// The last acknowledged sequence.
    pub(crate) fn last(&self) -> u64 {
        self.acknowledged.last
    }

    async fn answered(&mut self, goal: u64) -> anyhow::Result<()> {
        while self.acknowledged.count < goal {
            read(&self.socket, |bytes| self.acknowledged.take(bytes)).await?;
        }
        Ok(())
    }
}

impl Feeder for Stream {
    async fn send(&mut self, count: usize) -> anyhow::Result<()> {
        self.buffer.clear();
        self.publish.write(&mut self.buffer, count);
        self.socket.write_all(&self.buffer).await?;
        self.sent += count as u64;
        self.answered((self.sent + count as u64).saturating_sub(IN_FLIGHT)).await
    }

    async fn settle(&mut self) -> anyhow::Result<u64> {
        self.answered(self.sent).await?;
        Ok(self.sent)
    }
}

impl Acknowledged {
    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut part = std::mem::take(&mut self.part);
        part.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(end) = part[from..].iter().position(|byte| *byte == b'\n') {
            let line = &part[from..from + end];
            from += end + 1;
            // `MSG …`, and after it `{"stream":"…","seq":1}`.
            if line.first() == Some(&b'{') {
                self.one(std::str::from_utf8(line)?)?;
            } else {
                ensure!(!line.starts_with(b"-ERR"), "NATS: {:?}", String::from_utf8_lossy(line));
            }
        }
        part.drain(..from);
        self.part = part;
        Ok(())
    }

    fn one(&mut self, answer: &str) -> anyhow::Result<()> {
        let (_, number) = answer.split_once("\"seq\":").with_context(|| format!("JetStream: {answer}"))?;
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        let sequence = number[..digits].parse()?;
        ensure!(sequence > self.last, "sequence {sequence} after {}", self.last);
        (self.last, self.count) = (sequence, self.count + 1);
        Ok(())
    }
}
