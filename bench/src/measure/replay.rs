//! Messages read from a log a second, from its beginning to its end.

use std::rc::Rc;

use anyhow::{Context as _, ensure};
use tidings::pb::StreamMessagesRequest;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Plan, Sample, fanout};
use crate::{
    load::{
        Feeder as _,
        frames::Order,
        grpc::Connection,
        publishing::Stream,
        resp::{command, connect},
        text::{self, Pattern},
    },
    stage::{Disk, History, Meter, Process, Service, Watched},
};

/// In the log.
const MESSAGES: u64 = 1_000_000;
const CHANNEL: &str = "bench.archive";
/// Entries a bare client reads at a time. An entry has up to 128 messages; of 10, 32, 100 and 1,000 this was the
/// fastest.
const ENTRIES: &str = "32";

/// By a stream that begins with the earliest.
pub(crate) async fn tidings(plan: &mut Plan<'_>) -> anyhow::Result<Sample> {
    fill(plan).await?;
    let subscriber: Rc<Process> = plan.stage.service(Service::Subscriber(Disk::Archive)).await?;
    let servers = [Watched::from(&*subscriber), Watched::from(&*plan.stage.redis(Disk::Archive))];
    let connection = Connection::open(subscriber.target.clone()).await?;
    let request =
        StreamMessagesRequest { channel: CHANNEL.to_owned(), earliest: true, ..StreamMessagesRequest::default() };
    let meter = Meter::start(&servers)?;
    let count = connection.follow(&request, Order::Numbered).await?.catch_up().await?;
    ensure!(count == MESSAGES, "{count} messages");
    Ok(Sample::rate(count, meter.stop()?))
}

/// By a bare client with XRANGE.
pub(crate) async fn bare(plan: &mut Plan<'_>) -> anyhow::Result<Sample> {
    fill(plan).await?;
    let redis = plan.stage.redis(Disk::Archive);
    let mut log = Log {
        socket: connect(fanout::address(&redis)).await?,
        buffer: Vec::with_capacity(4 << 20),
        at: 0,
        text: Pattern::new(text::first()),
        seen: 0,
    };
    let meter = Meter::start(&[Watched::from(&*redis)])?;
    let (key, mut after) = (format!("tidings:{{{CHANNEL}}}:log"), "-".to_owned());
    while let Some(last) = log.page(&key, &after).await? {
        after = format!("({last}");
    }
    ensure!(log.seen == MESSAGES, "{} messages", log.seen);
    Ok(Sample::rate(log.seen, meter.stop()?))
}

/// Fills the log where that has not been done.
async fn fill(plan: &mut Plan<'_>) -> anyhow::Result<()> {
    let redis = plan.stage.redis(Disk::Archive);
    if redis.command(&["EXISTS", &format!("tidings:{{{CHANNEL}}}:log")]) == ":1" {
        return Ok(());
    }
    let publisher = plan.stage.service(Service::Publisher(Disk::Archive, History::Million)).await?;
    let mut stream = Stream::open(publisher.target.clone(), CHANNEL, true).await?;
    for _ in 0..MESSAGES / 100 {
        stream.send(100).await?;
    }
    ensure!(stream.settle().await? == MESSAGES, "not all were published");
    Ok(())
}

/// A bare client that reads a log, and takes of it what our streams are compared by.
struct Log {
    socket: TcpStream,
    buffer: Vec<u8>,
    /// Up to here the buffer is read.
    at: usize,
    text: Pattern,
    seen: u64,
}

impl Log {
    /// Reads the next page; answers the last entry's ID, if there was one.
    async fn page(&mut self, key: &str, after: &str) -> anyhow::Result<Option<String>> {
        self.socket.write_all(&command(&["XRANGE", key, after, "+", "COUNT", ENTRIES])).await?;
        self.at = 0;
        self.buffer.clear();
        let entries = self.number(b'*').await?;
        let mut last = None;
        for _ in 0..entries {
            self.number(b'*').await?;
            last = Some(self.string().await?);
            for _ in 0..self.number(b'*').await? / 2 {
                let (name, value) = (self.string().await?, self.string().await?);
                if &self.buffer[name] == b"m" {
                    let json = &self.buffer[value];
                    let at = r#"{"id":"0192d3a4-5b6c-7d8e-9f01-23456789abcd","message":""#.len();
                    text::same(&self.text, json.get(at..at + text::TEXT_BYTES).context("a short message")?)?;
                    self.seen += 1;
                    self.text.step();
                }
            }
        }
        Ok(last.map(|id| String::from_utf8_lossy(&self.buffer[id]).into_owned()))
    }

    /// The number of a line that begins with this.
    async fn number(&mut self, kind: u8) -> anyhow::Result<usize> {
        loop {
            let rest = &self.buffer[self.at..];
            if let Some(end) = rest.iter().take(20).position(|byte| *byte == b'\n') {
                ensure!(rest[0] == kind, "unexpected: {:?}", String::from_utf8_lossy(&rest[..end]));
                let number = std::str::from_utf8(&rest[1..end - 1])?.parse()?;
                self.at += end + 1;
                return Ok(number);
            }
            self.more().await?;
        }
    }

    /// The range of a bulk string.
    async fn string(&mut self) -> anyhow::Result<std::ops::Range<usize>> {
        let length = self.number(b'$').await?;
        while self.buffer.len() < self.at + length + 2 {
            self.more().await?;
        }
        let range = self.at..self.at + length;
        self.at += length + 2;
        Ok(range)
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        ensure!(self.socket.read_buf(&mut self.buffer).await? > 0, "Redis closed the connection");
        Ok(())
    }
}
