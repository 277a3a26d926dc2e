//! A reader: opens a stream at a subscriber, notes what it receives, and resumes with its cursors, as README has it.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use tidings::pb::{
    GapReason, StreamMessagesRequest, StreamMessagesResponse, message::Payload, stream_messages_response::Event,
};
use tidings_subscriber::simulation::Subscriber;
use tokio::sync::watch;
use tonic::{Code, Status};

use crate::{
    truth::{Numbered, Reason, Received, short},
    world,
};

const PAUSE: Duration = Duration::from_millis(200);

/// Where a reader resumes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cursors {
    /// Of a channel: the newest. Of a pattern: the newest of the whole stream, then those of messages since.
    after: Vec<String>,
}

/// What a reader keeps while it has no stream.
#[derive(Clone)]
pub(crate) struct Reading {
    pub(crate) index: usize,
    pub(crate) topic: &'static str,
    pub(crate) earliest: bool,
    pub(crate) cursors: Arc<std::sync::Mutex<Cursors>>,
    pub(crate) stalls: watch::Receiver<bool>,
}

impl Reading {
    /// Reads until it is aborted.
    pub(crate) async fn run(mut self, subscriber: Arc<Subscriber>) {
        loop {
            let status = self.stream(&subscriber).await.err().unwrap_or_else(|| Status::unknown("the stream ended"));
            let index = self.index;
            world::with(|world| {
                world.truth.note(|| format!("R{index}'s stream ends: {:?} {}", status.code(), status.message()))
            });
            if !matches!(status.code(), Code::Unavailable | Code::Unknown | Code::DeadlineExceeded) {
                self.record(Received::Refused(format!("{:?} {}", status.code(), status.message())));
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn request(&self) -> StreamMessagesRequest {
        let after = self.cursors.lock().expect("whole").after.clone();
        let is_pattern = self.topic.ends_with('*');
        let name = self.topic.to_owned();
        let (channel, pattern) = if is_pattern { (String::new(), name) } else { (name, String::new()) };
        StreamMessagesRequest {
            channel,
            pattern,
            earliest: self.earliest && after.is_empty(),
            after,
            ..Default::default()
        }
    }

    async fn stream(&mut self, subscriber: &Subscriber) -> Result<(), Status> {
        let mut stream = subscriber.stream(self.request()).await?;
        loop {
            let _ = self.stalls.wait_for(|stalls| !stalls).await;
            let taken = tokio::select! {
                taken = stream.next() => taken,
                _ = self.stalls.changed() => continue,
            };
            let Some(taken) = taken else { return Ok(()) };
            for response in taken?.messages::<StreamMessagesResponse>() {
                self.take(response.event.expect("an event"));
            }
        }
    }

    fn record(&self, received: Received) {
        let index = self.index;
        world::with(|world| {
            let at = world.truth.tick();
            world.truth.note(|| match &received {
                Received::Started => format!("R{index} starts"),
                Received::Message(numbered) => format!("R{index} gets {numbered}"),
                Received::Gap { channel, epoch, first, last, reason } => {
                    format!("R{index} gets a gap: {channel} {}:{first} to {last} are missing, {reason:?}", short(epoch))
                }
                Received::Refused(text) => format!("R{index} is refused: {text}"),
            });
            world.truth.readers[index].received.push((at, received));
        });
    }

    /// A cursor of the whole stream, or of one event.
    fn keep(&self, cursor: String, whole: bool) {
        let mut cursors = self.cursors.lock().expect("whole");
        if whole || !self.topic.ends_with('*') {
            // Where it would cover too much it is empty.
            if cursor.is_empty() {
                return;
            }
            cursors.after.clear();
        }
        cursors.after.push(cursor);
    }

    fn take(&self, event: Event) {
        let index = self.index;
        match event {
            Event::Started(started) => {
                world::with(|world| {
                    let at = world.truth.tick();
                    world.truth.note(|| format!("R{index}'s stream has started"));
                    world.truth.readers[index].started.get_or_insert(at);
                    world.truth.readers[index].received.push((at, Received::Started));
                });
                self.keep(started.cursor, true);
            }
            Event::CaughtUp(caught_up) => {
                world::with(|world| world.truth.note(|| format!("R{index} has caught up")));
                self.keep(caught_up.cursor, true);
            }
            Event::Heartbeat(heartbeat) => self.keep(heartbeat.cursor, true),
            Event::Message(message) => {
                let text = match message.payload {
                    Some(Payload::Text(text)) => text,
                    other => format!("{other:?}"),
                };
                let (channel, epoch, sequence) = (message.channel, message.epoch, message.sequence);
                self.record(Received::Message(Numbered { channel, epoch, sequence, text }));
                self.keep(message.cursor, false);
            }
            Event::Gap(gap) => {
                let reason = match gap.reason() {
                    GapReason::Trimmed => Reason::Trimmed,
                    GapReason::NotRetained => Reason::NotRetained,
                    GapReason::EpochChanged | GapReason::Unspecified => Reason::EpochChanged,
                };
                let (channel, epoch) = (gap.channel, gap.epoch);
                self.record(Received::Gap { channel, epoch, first: gap.first_missing, last: gap.last_missing, reason });
                self.keep(gap.cursor, false);
            }
        }
    }
}
