//! Clients of the publisher that write their requests as bytes, and check sequences in the answers.

use std::{cell::Cell, rc::Rc};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use h2::{RecvStream, SendStream};
use tidings::pb::{PublishBatchRequest, PublishRequest, PublishStreamRequest, publish_request::Payload};
use tokio::{sync::Notify, task::JoinHandle};

use super::{
    Feeder,
    frames::{Field, field, frame_bytes},
    grpc::{Connection, PUBLISH_STREAM, accepted, framed},
    target::Target,
    text::{self, Pattern},
};

/// Messages of one stream that may be unanswered: as many as the publisher takes on one.
const IN_FLIGHT: u64 = 1_024;
/// The sequence's field in a `PublishResponse`.
const SEQUENCE: u64 = 4;

/// The publish that is repeated.
pub(crate) fn request(channel: &str) -> PublishRequest {
    PublishRequest {
        channel: channel.to_owned(),
        payload: Some(Payload::Text(text::first())),
        ..PublishRequest::default()
    }
}

/// A `PublishBatch` of so many.
pub(crate) fn batch(channel: &str, count: usize) -> Bytes {
    framed(&PublishBatchRequest { channel: channel.to_owned(), requests: vec![request(""); count] })
}

/// The sequence in the framed answer to a `Publish`.
pub(crate) fn receipt(answer: &[u8]) -> anyhow::Result<u64> {
    sequence(answer.get(5..).context("no body")?)
}

/// The number of receipts in the framed answer to a `PublishBatch`, and the last one's sequence.
pub(crate) fn receipts(answer: &[u8]) -> anyhow::Result<(usize, u64)> {
    let (mut rest, mut count, mut last) = (answer.get(5..).context("no body")?, 0, 0);
    while !rest.is_empty() {
        let Some((1, Field::Bytes(response))) = field(&mut rest) else { anyhow::bail!("not an answer") };
        let next = sequence(response)?;
        ensure!(count == 0 || next == last + 1, "sequence {next} after {last} in one batch");
        (count, last) = (count + 1, next);
    }
    Ok((count, last))
}

fn sequence(mut response: &[u8]) -> anyhow::Result<u64> {
    while let Some((number, value)) = field(&mut response) {
        if let (SEQUENCE, Field::Number(sequence)) = (number, value) {
            return Ok(sequence);
        }
    }
    anyhow::bail!("no sequence in an answer")
}

/// One `PublishStream` call on a connection of its own.
pub(crate) struct Stream {
    send: SendStream<Bytes>,
    request: Pattern,
    sent: u64,
    answers: Rc<Answers>,
    reader: JoinHandle<anyhow::Result<()>>,
    _connection: Connection,
}

#[derive(Default)]
struct Answers {
    count: Cell<u64>,
    /// The last receipt's sequence.
    last: Cell<u64>,
    more: Notify,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Stream {
    /// Calls. Where it is alone on its channel, its messages are numbered from 1.
    pub(crate) async fn open(publisher: impl Into<Target>, channel: &str, alone: bool) -> anyhow::Result<Self> {
        let connection = Connection::open(publisher).await?;
        let (response, send) = connection.begin(&connection.method(PUBLISH_STREAM)?).await?;
        let answers = Rc::new(Answers::default());
        let own = Rc::clone(&answers);
        let reader = tokio::task::spawn_local(async move {
            let read = read(accepted(response).await?, &own, alone).await;
            // Nothing more will come: end the wait.
            own.more.notify_one();
            read
        });
        let request = PublishStreamRequest { request: Some(request(channel)) };
        let request = Pattern::new(framed(&request).to_vec());
        Ok(Self { send, request, sent: 0, answers, reader, _connection: connection })
    }

    /// The last receipt's sequence.
    pub(crate) fn last(&self) -> u64 {
        self.answers.last.get()
    }

    /// Waits until so many are answered.
    async fn answered(&mut self, goal: u64) -> anyhow::Result<()> {
        while self.answers.count.get() < goal {
            if self.reader.is_finished() {
                (&mut self.reader).await??;
                anyhow::bail!("the call ended early");
            }
            self.answers.more.notified().await;
        }
        Ok(())
    }
}

impl Feeder for Stream {
    async fn send(&mut self, count: usize) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        self.request.write(&mut bytes, count);
        self.send.send_data(bytes.into(), false)?;
        self.sent += count as u64;
        self.answered((self.sent + count as u64).saturating_sub(IN_FLIGHT)).await
    }

    async fn settle(&mut self) -> anyhow::Result<u64> {
        self.answered(self.sent).await?;
        Ok(self.sent)
    }
}

async fn read(mut body: RecvStream, answers: &Answers, alone: bool) -> anyhow::Result<()> {
    let mut part: Vec<u8> = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        part.extend_from_slice(&data);
        let mut rest = &part[..];
        while let Some(whole) = frame_bytes(rest).filter(|whole| *whole <= rest.len()) {
            let mut response = &rest[5..whole];
            let Some((1, Field::Bytes(response))) = field(&mut response) else { anyhow::bail!("not published") };
            let (next, last) = (sequence(response)?, answers.last.get());
            ensure!(if alone { next == last + 1 } else { next > last }, "sequence {next} after {last}");
            answers.last.set(next);
            answers.count.set(answers.count.get() + 1);
            rest = &rest[whole..];
        }
        let done = part.len() - rest.len();
        part.drain(..done);
        answers.more.notify_one();
    }
    let trailers = body.trailers().await?;
    anyhow::bail!("the call ended: {trailers:?}")
}
