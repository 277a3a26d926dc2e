//! A consumer of a durable subscription, on a `ConsumeMessages` call: it compares what it is given, acknowledges it,
//! and makes sure that it is told so.

use std::{collections::VecDeque, rc::Rc};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use h2::{RecvStream, SendStream};
use tidings::pb::{ConsumeMessagesRequest, StartConsuming, consume_messages_request::Request};

use super::{
    Reader,
    frames::{Field, field, frame_bytes},
    grpc::{CONSUME_MESSAGES, Connection, accepted, framed},
    text,
};

const PREFIX_BYTES: usize = 5;
/// Fields of a response.
const STARTED: u64 = 1;
const RECEIVED: u64 = 2;
const SETTLED: u64 = 3;
/// Fields of a delivery.
const MESSAGE: u64 = 1;
const ACK_ID: u64 = 2;
const ATTEMPT: u64 = 3;
/// Fields of its message.
const TEXT: u64 = 3;
const SEQUENCE: u64 = 9;
/// The tags of a request's settlement, and of an id in it.
const SETTLEMENT_TAG: u8 = 2 << 3 | 2;
const ACK_ID_TAG: u8 = 1 << 3 | 2;

/// What a consumer does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    /// Messages that may be out.
    pub(crate) credit: i32,
    /// Messages that it acknowledges with one settlement.
    pub(crate) batch: usize,
    /// It is the only one, and so is the publisher: messages and texts are numbered from 1.
    pub(crate) alone: bool,
}

/// One consumer.
pub(crate) struct Consumer {
    send: SendStream<Bytes>,
    body: RecvStream,
    session: Session,
    _connection: Rc<Connection>,
}

/// What has come, and what is to be said to it.
struct Session {
    habits: Habits,
    part: Vec<u8>,
    is_started: bool,
    /// Requests that are to be sent.
    out: Vec<u8>,
    /// The next settlement, encoded, and how many ids it has.
    next: Vec<u8>,
    ids: usize,
    /// Settlements that are not answered, and the ids of each.
    asked: VecDeque<(Vec<u8>, usize)>,
    /// The last sequence.
    last: u64,
    acknowledged: u64,
    counters: Vec<u64>,
}

impl Consumer {
    /// Begins to consume, and waits until the server has begun as well.
    pub(crate) async fn open(connection: &Rc<Connection>, name: &str, habits: Habits) -> anyhow::Result<Self> {
        let (response, mut send) = connection.begin(&connection.method(CONSUME_MESSAGES)?).await?;
        let start = StartConsuming {
            name: name.to_owned(),
            max_outstanding_messages: habits.credit,
            ..StartConsuming::default()
        };
        send.send_data(framed(&ConsumeMessagesRequest { request: Some(Request::Start(start)) }), false)?;
        let (body, session) = (accepted(response).await?, Session::new(habits));
        let mut consumer = Self { send, body, session, _connection: Rc::clone(connection) };
        while !consumer.session.is_started {
            consumer.more().await?;
        }
        Ok(consumer)
    }
}

impl Reader for Consumer {
    /// How many messages are acknowledged: the answers count.
    async fn more(&mut self) -> anyhow::Result<u64> {
        let data = self.body.data().await.context("the stream ended")??;
        self.body.flow_control().release_capacity(data.len())?;
        self.session.take(&data)?;
        if !self.session.out.is_empty() {
            self.send.send_data(std::mem::take(&mut self.session.out).into(), false)?;
        }
        Ok(self.session.acknowledged)
    }

    fn shuffled(&mut self) -> Option<Vec<u64>> {
        (!self.session.habits.alone).then(|| std::mem::take(&mut self.session.counters))
    }
}

impl Session {
    fn new(habits: Habits) -> Self {
        Self {
            habits,
            part: Vec::new(),
            is_started: false,
            out: Vec::new(),
            next: Vec::new(),
            ids: 0,
            asked: VecDeque::new(),
            last: 0,
            acknowledged: 0,
            counters: Vec::new(),
        }
    }

    /// Takes in what arrived.
    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut part = std::mem::take(&mut self.part);
        part.extend_from_slice(bytes);
        let mut rest = &part[..];
        while let Some(whole) = frame_bytes(rest).filter(|whole| *whole <= rest.len()) {
            self.response(&rest[PREFIX_BYTES..whole])?;
            rest = &rest[whole..];
        }
        let done = part.len() - rest.len();
        part.drain(..done);
        self.part = part;
        Ok(())
    }

    fn response(&mut self, mut response: &[u8]) -> anyhow::Result<()> {
        match field(&mut response).context("not a response")? {
            (STARTED, _) => self.is_started = true,
            (RECEIVED, Field::Bytes(mut list)) => {
                while !list.is_empty() {
                    let Some((1, Field::Bytes(delivery))) = field(&mut list) else { anyhow::bail!("not a delivery") };
                    self.delivery(delivery)?;
                }
            }
            // An answer that all is done has the same bytes as the request.
            (SETTLED, Field::Bytes(settled)) => {
                let (asked, ids) = self.asked.pop_front().context("an answer to nothing")?;
                ensure!(settled == asked, "not acknowledged: {:?}", String::from_utf8_lossy(settled));
                self.acknowledged += ids as u64;
            }
            (other, _) => anyhow::bail!("response {other} after {} messages", self.last),
        }
        Ok(())
    }

    fn delivery(&mut self, mut delivery: &[u8]) -> anyhow::Result<()> {
        let (mut message, mut ack_id, mut attempt) = (None, None, 0);
        while !delivery.is_empty() {
            match field(&mut delivery).context("not protobuf")? {
                (MESSAGE, Field::Bytes(bytes)) => message = Some(bytes),
                (ACK_ID, Field::Bytes(bytes)) => ack_id = Some(bytes),
                (ATTEMPT, Field::Number(number)) => attempt = number,
                _ => {}
            }
        }
        let (mut message, ack_id) = (message.context("no message")?, ack_id.context("no ack id")?);
        let (mut found, mut sequence) = (None, 0);
        while !message.is_empty() {
            match field(&mut message).context("not protobuf")? {
                (TEXT, Field::Bytes(text)) => found = Some(text),
                (SEQUENCE, Field::Number(number)) => sequence = number,
                _ => {}
            }
        }
        ensure!(attempt == 1 && sequence > self.last, "attempt {attempt} of {sequence} after {}", self.last);
        let counter = text::counter(found.context("a message without text")?)?;
        if self.habits.alone {
            let next = self.last + 1;
            ensure!(sequence == next && counter == next, "message {sequence}, text {counter}, where {next} is next");
        } else {
            self.counters.push(counter);
        }
        self.last = sequence;
        self.acknowledge(ack_id);
        Ok(())
    }

    fn acknowledge(&mut self, ack_id: &[u8]) {
        self.next.push(ACK_ID_TAG);
        varint(&mut self.next, ack_id.len());
        self.next.extend_from_slice(ack_id);
        self.ids += 1;
        if self.ids < self.habits.batch {
            return;
        }
        let (settlement, ids) = (std::mem::take(&mut self.next), std::mem::take(&mut self.ids));
        let mut head = vec![SETTLEMENT_TAG];
        varint(&mut head, settlement.len());
        self.out.push(0);
        self.out.extend_from_slice(&((head.len() + settlement.len()) as u32).to_be_bytes());
        self.out.extend_from_slice(&head);
        self.out.extend_from_slice(&settlement);
        self.asked.push_back((settlement, ids));
    }
}

/// Appends a number as protobuf has it.
fn varint(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[cfg(test)]
mod tests;
