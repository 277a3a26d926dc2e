//! A consumer of a queue, which acknowledges each message by itself. AMQP answers none of that: what is asked after the
//! last one, and answered, says that the server has taken them all.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{BODY, FRAME_BYTES, METHOD, expect, method, payload, session, short};
use crate::load::{
    Reader,
    resp::read,
    text::{self, Pattern},
};

/// Messages that may be out.
const PREFETCH: u16 = 1_000;
const QOS: [u8; 4] = [0, 60, 0, 10];
const QOS_OK: [u8; 4] = [0, 60, 0, 11];
const DELIVER: [u8; 4] = [0, 60, 0, 60];

/// One consumer, on a connection of its own.
pub(crate) struct Consumer {
    socket: TcpStream,
    inbox: Inbox,
}

struct Inbox {
    part: Vec<u8>,
    /// What comes next, and its delivery tag, once that has come.
    payload: Pattern,
    tag: Option<u64>,
    seen: u64,
    /// How many there are.
    total: u64,
    is_answered: bool,
    out: Vec<u8>,
}

impl Consumer {
    /// Of a queue that has so many messages.
    pub(crate) async fn open(address: SocketAddr, queue: &str, payload: &str, total: u64) -> anyhow::Result<Self> {
        let mut socket = session(address, queue).await?;
        socket.write_all(&qos()).await?;
        expect(&mut socket, (60, 11)).await?;
        // No table of arguments, and no flag: each delivery waits for its acknowledgement.
        let consume = [&[0, 0][..], &short(queue), &short("bench"), &[0], &0u32.to_be_bytes()].concat();
        socket.write_all(&method(1, (60, 20), &consume)).await?;
        expect(&mut socket, (60, 21)).await?;
        let (part, payload, out) = (Vec::new(), Pattern::new(payload), Vec::new());
        let inbox = Inbox { part, payload, tag: None, seen: 0, total, is_answered: false, out };
        Ok(Self { socket, inbox })
    }
}

impl Reader for Consumer {
    /// How many messages are acknowledged, the last once the server has taken that.
    async fn more(&mut self) -> anyhow::Result<u64> {
        read(&self.socket, |bytes| self.inbox.take(bytes)).await?;
        self.socket.write_all(&self.inbox.out).await?;
        self.inbox.out.clear();
        let Inbox { seen, total, is_answered, .. } = self.inbox;
        Ok(if is_answered { seen } else { seen.min(total - 1) })
    }
}

impl Inbox {
    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut part = std::mem::take(&mut self.part);
        part.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(payload) = payload(&part[from..]) {
            match part[from] {
                METHOD => self.method(payload)?,
                BODY => self.body(payload)?,
                _ => {}
            }
            from += payload.len() + FRAME_BYTES + 1;
        }
        part.drain(..from);
        self.part = part;
        Ok(())
    }

    fn method(&mut self, payload: &[u8]) -> anyhow::Result<()> {
        let (head, rest) = payload.split_first_chunk::<4>().context("a short frame")?;
        if *head == QOS_OK {
            self.is_answered = true;
            return Ok(());
        }
        ensure!(*head == DELIVER, "RabbitMQ did not deliver: {:?}", String::from_utf8_lossy(payload));
        // The consumer's tag comes first.
        let name = usize::from(*rest.first().context("a short delivery")?);
        let tag = rest.get(1 + name..).and_then(<[u8]>::first_chunk).context("a short delivery")?;
        self.tag = Some(u64::from_be_bytes(*tag));
        Ok(())
    }

    fn body(&mut self, payload: &[u8]) -> anyhow::Result<()> {
        let tag = self.tag.take().context("a body of nothing")?;
        text::same(&self.payload, payload)?;
        self.payload.step();
        self.seen += 1;
        self.out.extend(method(1, (60, 80), &[&tag.to_be_bytes()[..], &[0]].concat()));
        if self.seen == self.total {
            self.out.extend(qos());
        }
        Ok(())
    }
}

/// How many messages may be out; this is answered.
fn qos() -> Vec<u8> {
    let [count, most] = PREFETCH.to_be_bytes();
    let [_, class, _, number] = QOS;
    method(1, (class.into(), number.into()), &[0, 0, 0, 0, count, most, 0])
}

#[cfg(test)]
mod tests {
    use super::{super::frame, *};
    use crate::load::amqp::HEADER;

    #[test]
    fn each_message_is_acknowledged_by_its_tag() {
        let (part, payload, out) = (Vec::new(), Pattern::new(text::first()), Vec::new());
        let mut inbox = Inbox { part, payload, tag: None, seen: 0, total: 2, is_answered: false, out };
        let (mut text, mut sent) = (Pattern::new(text::first()), Vec::new());
        for tag in [7u64, 8] {
            let deliver = [&short("bench")[..], &tag.to_be_bytes(), &[0], &short(""), &short("queue")].concat();
            sent.extend(method(1, (60, 60), &deliver));
            sent.extend(frame(HEADER, 1, &[0; 14]));
            sent.extend(frame(BODY, 1, text.bytes()));
            text.step();
        }
        sent.chunks(9).for_each(|piece| inbox.take(piece).expect("in order"));
        let ack = |tag: u64| method(1, (60, 80), &[&tag.to_be_bytes()[..], &[0]].concat());
        assert_eq!(inbox.out, [ack(7), ack(8), qos()].concat());
        assert!(!inbox.is_answered);
        inbox.take(&method(1, (60, 11), &[])).expect("an answer");
        assert!(inbox.is_answered && inbox.take(&method(1, (20, 40), &[])).is_err());
    }
}
