//! A client that reads: it comes, goes, stops reading for a while, and continues after its last cursor at any
//! subscriber.

mod said;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use prost_types::Duration as Seconds;
use tidings::pb::{OnGap, StreamMessagesRequest, subscriber_service_client::SubscriberServiceClient};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::{
    board::{Board, NOBODY, Phase},
    history::{At, End, Event, Positions, Start, Stream},
};

/// How long headers may take: far longer than a subscriber waits for Redis.
const TEST_TIMEOUT: Duration = Duration::from_secs(15);

/// What a reader is like.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    pub(crate) number: usize,
    pub(crate) topic: String,
    pub(crate) is_pattern: bool,
    pub(crate) fails_on_gap: bool,
    /// Bytes that its connection takes before it reads them; 0 for the usual.
    pub(crate) window: u32,
    /// Out of ten streams, so many stop being read for a while.
    pub(crate) stalls: u8,
    /// How long a stream is kept, at most.
    pub(crate) stays: Duration,
}

/// A reader and where it resumes.
pub(crate) struct Reader {
    board: Arc<Board>,
    rng: fastrand::Rng,
    habits: Habits,
    stubs: Vec<SubscriberServiceClient<Channel>>,
    resume: Resume,
}

/// The cursors that a client keeps, and what they say.
#[derive(Debug, Clone, Default)]
struct Resume {
    whole: Option<String>,
    since: BTreeMap<String, String>,
    positions: Positions,
}

impl Reader {
    pub(crate) fn new(board: &Arc<Board>, habits: Habits, rng: fastrand::Rng) -> Self {
        let stubs = board.subscribers.iter().map(|slot| {
            let mut endpoint = Endpoint::from_shared(format!("http://{}", slot.address)).expect("an address");
            if habits.window > 0 {
                endpoint =
                    endpoint.initial_stream_window_size(habits.window).initial_connection_window_size(habits.window);
            }
            SubscriberServiceClient::new(endpoint.connect_lazy())
        });
        Self { board: Arc::clone(board), rng, stubs: stubs.collect(), habits, resume: Resume::default() }
    }

    /// Reads stream after stream until all is over.
    pub(crate) async fn run(mut self) {
        while !self.board.is(Phase::Over) {
            let stream = self.stream().await;
            let refused = stream.opened.is_none();
            self.board.history().streams.push(stream);
            if refused || self.rng.bool() {
                sleep(Duration::from_millis(self.rng.u64(10..200))).await;
            }
        }
    }

    async fn stream(&mut self) -> Stream {
        let (request, start) = self.request();
        let slot = self.rng.usize(..self.stubs.len());
        let board = Arc::clone(&self.board);
        let mut stream = Stream {
            reader: self.habits.number,
            instance: board.subscribers[slot].instance(),
            topic: self.habits.topic.clone(),
            is_pattern: self.habits.is_pattern,
            start,
            fails_on_gap: self.habits.fails_on_gap,
            asked: board.now(),
            opened: None,
            events: Vec::new(),
            end: End::Closed,
        };
        match timeout(TEST_TIMEOUT, self.stubs[slot].stream_messages(request)).await {
            Err(_) => {
                board.trouble(format!("no headers within {TEST_TIMEOUT:?}, on a stream of {}", self.habits.topic))
            }
            Ok(Err(status)) => stream.end = self.ended(&status),
            Ok(Ok(response)) => {
                stream.opened = Some(board.now());
                if stream.instance == NOBODY {
                    stream.instance = board.subscribers[slot].instance();
                }
                self.read(response.into_inner(), &mut stream).await;
            }
        }
        stream
    }

    /// Where to resume or begin again, and how to ask for it.
    fn request(&mut self) -> (StreamMessagesRequest, Start) {
        let Habits { topic, is_pattern, fails_on_gap, .. } = self.habits.clone();
        let mut request = StreamMessagesRequest {
            on_gap: if fails_on_gap { OnGap::Fail } else { OnGap::Report }.into(),
            heartbeat_interval: self.rng.bool().then_some(Seconds { seconds: 0, nanos: 300_000_000 }),
            ..StreamMessagesRequest::default()
        };
        *(if is_pattern { &mut request.pattern } else { &mut request.channel }) = topic;
        let resumes = self.rng.u8(..10) < 8 || !self.board.is(Phase::Wild);
        if resumes && let Some(cursors) = self.resume.cursors(is_pattern) {
            request.after = cursors;
            return (request, Start::After(self.resume.positions.clone()));
        }
        self.resume = Resume::default();
        let start = match self.rng.u8(..4) {
            0 => Start::Earliest,
            1 => Start::Last(self.rng.i64(1..60)),
            _ => Start::Now,
        };
        match start {
            Start::Earliest => request.earliest = true,
            Start::Last(count) => request.last = count as i32,
            _ => {}
        }
        (request, start)
    }

    /// Reads until the reader has enough, or the stream ends.
    async fn read(&mut self, mut streaming: Streaming<tidings::pb::StreamMessagesResponse>, stream: &mut Stream) {
        let board = Arc::clone(&self.board);
        let enough = Instant::now() + self.habits.stays.mul_f64(0.1 + 0.9 * self.rng.f64());
        let mut stall = (self.rng.u8(..10) < self.habits.stalls).then(|| self.rng.usize(..60));
        loop {
            if stall.is_some_and(|after| stream.events.len() >= after) && board.is(Phase::Wild) {
                stall = None;
                sleep(Duration::from_millis(self.rng.u64(200..2_000))).await;
            }
            tokio::select! {
                biased;
                () = board.reaches(Phase::Over) => {
                    stream.end = End::Open;
                    return;
                }
                // Once all is calm, streams stay.
                () = sleep_until(enough), if board.is(Phase::Wild) && !stream.events.is_empty() => return,
                next = streaming.message() => match next {
                    Ok(Some(response)) => {
                        let event = said::read(&board, &stream.topic, response);
                        self.keep(&event.0, event.1, stream.opened.unwrap_or_default());
                        stream.events.push((board.now(), event.0));
                    }
                    Ok(None) => {
                        stream.end = self.ended(&Status::ok("the stream ended"));
                        return;
                    }
                    Err(status) => {
                        stream.end = self.ended(&status);
                        return;
                    }
                },
            }
        }
    }

    /// Keeps what an event says for the next stream.
    fn keep(&mut self, event: &Event, cursor: String, opened: At) {
        let resume = &mut self.resume;
        match event {
            Event::Started(positions) | Event::CaughtUp(positions) | Event::Heartbeat(positions) => {
                (resume.whole, resume.positions) = (Some(cursor), positions.clone());
                resume.since.clear();
            }
            // The cursor of an unnumbered message may be before what the stream has delivered.
            Event::Message { position, .. } if position.sequence == 0 => {}
            Event::Message { channel, cursor: position, .. } | Event::Gap { channel, cursor: position, .. } => {
                if let Event::Message { body, .. } = event {
                    self.board.delivered(body);
                }
                resume.positions.insert(channel.clone(), *position);
                resume.since.insert(channel.clone(), cursor);
            }
            Event::Odd(_) => {}
        }
        self.board.moved(self.habits.number, opened, &resume.positions);
    }

    /// What a status says, and where it says to resume.
    fn ended(&mut self, status: &Status) -> End {
        let at = self.board.now();
        let info = status.get_details_error_info().filter(|info| info.domain == "tidings");
        let reason = info.as_ref().map_or_else(|| status.message().to_owned(), |info| info.reason.clone());
        let mut cursor = None;
        if status.code() == Code::OutOfRange
            && let Some(info) = &info
            && let (Some(channel), Some(text)) = (info.metadata.get("channel"), info.metadata.get("cursor"))
            && let Some(position) = said::cursor(channel, text)
        {
            self.resume.positions.insert(channel.clone(), position);
            self.resume.since.insert(channel.clone(), text.clone());
            cursor = Some((channel.clone(), position));
        }
        End::Status { at, code: status.code(), reason, cursor }
    }
}

impl Resume {
    /// The cursors after which to resume, if any were received.
    fn cursors(&self, is_pattern: bool) -> Option<Vec<String>> {
        let mut since = self.since.values().cloned();
        match is_pattern {
            true => Some(self.whole.iter().cloned().chain(since).collect()).filter(|_| self.whole.is_some()),
            false => since.next_back().or_else(|| self.whole.clone()).map(|cursor| vec![cursor]),
        }
    }
}
