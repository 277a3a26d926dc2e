//! A pull consumer of JetStream: it asks for batches ahead, and acknowledges each message by itself, as clients do:
//! without an answer, but for the last one's.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{ask, session};
use crate::load::{
    Reader,
    resp::read,
    text::{self, Pattern},
};

/// Messages that may be out: JetStream's default.
const OUT: u64 = 1_000;
/// Messages of a request. Two are under way.
const BATCH: u64 = OUT / 2;
/// The subjects of deliveries, and of the last acknowledgement's answer, and the numbers of their subscriptions.
const INBOX: &str = "bench.pulled";
const ANSWER: &str = "bench.acknowledged";
const PULLED: &str = "1";
const ACKNOWLEDGED: &str = "2";

/// One consumer, on a connection of its own.
pub(crate) struct Consumer {
    socket: TcpStream,
    inbox: Inbox,
}

struct Inbox {
    part: Vec<u8>,
    /// What comes next.
    payload: Pattern,
    /// A request for a batch.
    fetch: String,
    asked: u64,
    seen: u64,
    /// How many there are. The last one's acknowledgement is answered.
    total: u64,
    is_answered: bool,
    out: Vec<u8>,
}

impl Consumer {
    /// Of a stream that has so many messages.
    pub(crate) async fn open(address: SocketAddr, subject: &str, payload: &str, total: u64) -> anyhow::Result<Self> {
        let stream = subject.replace('.', "_");
        let config = format!(
            r#"{{"durable_name":"bench","deliver_policy":"all","ack_policy":"explicit","max_ack_pending":{OUT}}}"#
        );
        let wanted = format!(r#"{{"stream_name":"{stream}","config":{config}}}"#);
        let answer = ask(address, &format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.bench"), &wanted).await?;
        ensure!(answer.contains("\"created\""), "JetStream: {answer}");
        let commands = format!("SUB {INBOX} {PULLED}\r\nSUB {ANSWER} {ACKNOWLEDGED}\r\n");
        let request = format!(r#"{{"batch":{BATCH},"expires":60000000000}}"#);
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.bench");
        let fetch = format!("PUB {subject} {INBOX} {}\r\n{request}\r\n", request.len());
        let inbox = Inbox {
            part: Vec::new(),
            payload: Pattern::new(payload),
            fetch,
            asked: 0,
            seen: 0,
            total,
            is_answered: false,
            out: Vec::new(),
        };
        let mut consumer = Self { socket: session(address, &commands).await?, inbox };
        consumer.inbox.ask();
        consumer.flush().await?;
        Ok(consumer)
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        self.socket.write_all(&self.inbox.out).await?;
        self.inbox.out.clear();
        Ok(())
    }
}

impl Reader for Consumer {
    /// How many messages are acknowledged, the last once that is answered.
    async fn more(&mut self) -> anyhow::Result<u64> {
        read(&self.socket, |bytes| self.inbox.take(bytes)).await?;
        if !self.inbox.out.is_empty() {
            self.flush().await?;
        }
        let Inbox { seen, total, is_answered, .. } = self.inbox;
        Ok(if is_answered { seen } else { seen.min(total - 1) })
    }
}

impl Inbox {
    /// Asks for as much as may be out.
    fn ask(&mut self) {
        while self.asked < self.total && self.asked + BATCH <= self.seen + OUT {
            self.out.extend_from_slice(self.fetch.as_bytes());
            self.asked += BATCH;
        }
    }

    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut part = std::mem::take(&mut self.part);
        part.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(length) = self.one(&part[from..])? {
            from += length;
        }
        part.drain(..from);
        self.part = part;
        self.ask();
        Ok(())
    }

    /// Takes what comes first, if it is whole, and answers its length.
    fn one(&mut self, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line = std::str::from_utf8(&bytes[..end])?.trim_end();
        if line == "PING" {
            self.out.extend_from_slice(b"PONG\r\n");
            return Ok(Some(end + 1));
        }
        let mut words = line.split(' ');
        ensure!(words.next() == Some("MSG"), "NATS: {line:?}");
        let (number, mut words) = (words.nth(1).context("a short line")?, words.rev());
        let length: usize = words.next().context("a short line")?.parse()?;
        let Some(payload) = bytes.get(end + 1..end + 1 + length + 2) else { return Ok(None) };
        if number == ACKNOWLEDGED {
            self.is_answered = true;
        } else {
            text::same(&self.payload, &payload[..length])?;
            self.payload.step();
            self.seen += 1;
            let reply = words.next().context("no reply subject")?;
            let answer = if self.seen == self.total { ANSWER } else { "" };
            let space = if answer.is_empty() { "" } else { " " };
            for word in ["PUB ", reply, space, answer, " 4\r\n+ACK\r\n"] {
                self.out.extend_from_slice(word.as_bytes());
            }
        }
        Ok(Some(end + 1 + length + 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_acknowledged_by_themselves_and_asked_for_ahead() {
        let (part, payload, out) = (Vec::new(), Pattern::new(text::first()), Vec::new());
        let (fetch, total) = ("FETCH".to_owned(), 501);
        let mut inbox = Inbox { part, payload, fetch, asked: 0, seen: 0, total, is_answered: false, out };
        inbox.ask();
        assert_eq!(inbox.out, b"FETCHFETCH");
        let (mut text, mut sent) = (Pattern::new(text::first()), b"PING\r\n".to_vec());
        for n in 1..=total {
            sent.extend_from_slice(format!("MSG orders 1 $JS.ACK.{n} {}\r\n", text::TEXT_BYTES).as_bytes());
            text.write(&mut sent, 1);
            sent.extend_from_slice(b"\r\n");
        }
        sent.chunks(33).for_each(|piece| inbox.take(piece).expect("in order"));
        let said = String::from_utf8_lossy(&inbox.out).into_owned();
        assert!(said.contains("PONG\r\nPUB $JS.ACK.1 4\r\n+ACK\r\nPUB $JS.ACK.2 4\r\n"), "{said}");
        assert!(said.ends_with("PUB $JS.ACK.501 bench.acknowledged 4\r\n+ACK\r\n"), "{said}");
        assert_eq!((inbox.seen, inbox.asked, inbox.is_answered), (501, 1_000, false));
        inbox.take(b"MSG bench.acknowledged 2 4\r\n+ACK\r\n").expect("an answer");
        assert!(inbox.is_answered);
        assert!(inbox.take(b"HMSG bench.pulled 1 20 20\r\n").is_err());
    }
}
