//! One stream of a measurement: receives until it has all that has a receipt, and resumes where a lost connection cut
//! it off.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use tidings::{
    limits::TAIL_FLUSH_EVENTS,
    pb::{StreamMessagesResponse, message::Payload, stream_messages_response::Event},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{
    Clock, Times, load,
    tally::{Published, Tally},
};
use crate::{
    client::SubscriberClient,
    error::Error,
    tail::{Resume, reopen},
};

/// What all publishers published, once that is known.
pub(super) type Expected = Option<Arc<Vec<Published>>>;

/// What readers share.
pub(super) struct Shared {
    pub(super) clock: Clock,
    /// From when a message was due to its arrival.
    pub(super) arrivals: Times,
    /// Messages that came, over all streams.
    pub(super) received: AtomicU64,
    /// Streams that have all.
    pub(super) complete: AtomicUsize,
}

/// One stream.
pub(super) struct Reader {
    pub(super) client: SubscriberClient,
    pub(super) resume: Resume,
    pub(super) stream: Streaming<StreamMessagesResponse>,
    pub(super) publishers: usize,
    pub(super) expected: watch::Receiver<Expected>,
    pub(super) shared: Arc<Shared>,
    pub(super) timeout: Duration,
}

/// What a stream came to.
pub(super) struct Read {
    pub(super) tally: Tally,
    pub(super) gaps: u64,
    pub(super) reconnections: u64,
}

impl Reader {
    /// Receives until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<Read, Error> {
        let Self { mut client, mut resume, mut stream, publishers, mut expected, shared, timeout } = self;
        let mut read = Read { tally: Tally::new(publishers), gaps: 0, reconnections: 0 };
        let mut is_complete = false;
        loop {
            let mut events = stream.ready_chunks(TAIL_FLUSH_EVENTS);
            let lost = 'connected: loop {
                tokio::select! {
                    batch = events.next() => {
                        let batch = batch.unwrap_or_else(|| vec![Err(Status::unavailable("the server ended the stream"))]);
                        let before = read.tally.received;
                        for event in batch {
                            match event {
                                Ok(event) => take(event, &mut read, &mut resume, &shared),
                                Err(status) => break 'connected status,
                            }
                        }
                        shared.received.fetch_add(read.tally.received - before, Ordering::Relaxed);
                    }
                    // The sender lives as long as the measurement.
                    _ = expected.changed() => {}
                    () = stop.cancelled() => return Ok(read),
                }
                let has_all = || expected.borrow().as_ref().is_some_and(|published| read.tally.lost(published) == 0);
                if !is_complete && has_all() {
                    is_complete = true;
                    shared.complete.fetch_add(1, Ordering::Relaxed);
                }
            };
            read.reconnections += 1;
            let reopened = stop.run_until_cancelled(reopen(&mut client, &resume, lost, timeout, |_| {})).await;
            match reopened {
                Some(reopened) => stream = reopened?,
                None => return Ok(read),
            }
        }
    }
}

fn take(event: StreamMessagesResponse, read: &mut Read, resume: &mut Resume, shared: &Shared) {
    let Some(event) = event.event else { return };
    match &event {
        Event::Message(message) => {
            if let Some(Payload::Text(text)) = &message.payload
                && let Some((publisher, number, due)) = load::read(text)
                && read.tally.note(publisher, number)
            {
                shared.arrivals.record(shared.clock.since(due));
            }
        }
        Event::Gap(_) => read.gaps += 1,
        Event::Started(_) | Event::CaughtUp(_) | Event::Heartbeat(_) => {}
    }
    resume.passed(event);
}
