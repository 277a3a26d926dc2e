//! What a stream sends: events as it has them, and heartbeats, until it ends with a status.
//!
//! A stream has no task and no queue: the transport polls it when the peer has room, and not before, so that a reader
//! that has stopped costs what is held here.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, future::BoxFuture};
use tidings::{
    limits::HEARTBEAT_CURSOR_BYTES,
    pb::{CaughtUp, Heartbeat, Started, stream_messages_response::Event},
    status::Call,
};
use tidings_transport::{
    DrainSignal, HeldPattern,
    encoding::{Encoded, Encoder},
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;

use super::{Live, Session};
use crate::event;

/// The events of a stream, encoded.
pub(crate) struct Events {
    state: State,
    /// Sent before anything else.
    first: Option<Encoded>,
    caught_up: bool,
    heartbeat: Option<Pin<Box<Interval>>>,
    whole_cursors: WholeCursors,
    /// Why its caller may follow it no longer, once that is so.
    revoked: Option<BoxFuture<'static, Status>>,
    /// Its pattern, which counts for its caller.
    _followed: Option<HeldPattern>,
    drain: DrainSignal,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// When the cursor of a whole pattern stream may be sent again: it is as long as its channels are many, and heartbeats
/// may come ten times a second.
struct WholeCursors {
    due: Instant,
}

impl WholeCursors {
    /// A heartbeat, whose cursor is empty where the last one was sent lately.
    fn heartbeat(&mut self, session: &Session) -> Encoded {
        let now = Instant::now();
        if session.is_pattern() && now < self.due {
            return event::encoded(Event::Heartbeat(Heartbeat::default()));
        }
        let encoded = session.event(|cursor| Event::Heartbeat(Heartbeat { cursor }));
        self.due = now + Duration::from_secs(encoded.len() as u64) / HEARTBEAT_CURSOR_BYTES;
        encoded
    }
}

enum State {
    Ready(Box<Session>),
    /// The log is being read.
    Reading(BoxFuture<'static, (Box<Session>, Result<Encoded, Status>)>),
    Ended,
}

impl Events {
    /// Begins with `started`. `revoked` ends it with a status.
    pub(crate) fn new(
        session: Session,
        heartbeat: Option<Duration>,
        drain: DrainSignal,
        revoked: Option<BoxFuture<'static, Status>>,
        followed: Option<HeldPattern>,
    ) -> Self {
        let heartbeat = heartbeat.map(|period| {
            let mut interval = interval_at(Instant::now() + period, period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            Box::pin(interval)
        });
        let mut first = Encoder::default();
        first.append(&session.event(|cursor| Event::Started(Started { cursor })));
        let caught_up = !session.must_catch_up();
        if caught_up {
            first.append(&session.event(|cursor| Event::CaughtUp(CaughtUp { cursor })));
        }
        Self {
            state: State::Ready(Box::new(session)),
            first: Some(first.take()),
            caught_up,
            heartbeat,
            whole_cursors: WholeCursors { due: Instant::now() },
            revoked,
            _followed: followed,
            ended: Box::pin(drain.begun()),
            drain,
        }
    }

    /// Ends the stream: frees all it held and says why.
    fn end(&mut self, status: Status) -> Poll<Option<Result<Encoded, Status>>> {
        self.state = State::Ended;
        Poll::Ready(Some(Err(status)))
    }
}

impl Stream for Events {
    type Item = Result<Encoded, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Encoded, Status>>> {
        let this = self.get_mut();
        if matches!(this.state, State::Ended) {
            return Poll::Ready(None);
        }
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if this.ended.as_mut().poll(cx).is_ready() {
            let status = this.drain.status(Call::Read);
            return this.end(status);
        }
        if let Some(Poll::Ready(status)) = this.revoked.as_mut().map(|revoked| revoked.as_mut().poll(cx)) {
            return this.end(status);
        }
        loop {
            match &mut this.state {
                State::Ended => return Poll::Ready(None),
                State::Reading(reading) => {
                    let Poll::Ready((session, encoded)) = reading.as_mut().poll(cx) else { return Poll::Pending };
                    this.state = State::Ready(session);
                    match encoded {
                        Ok(encoded) if encoded.is_empty() => {}
                        Ok(encoded) => return Poll::Ready(Some(Ok(encoded))),
                        Err(status) => return this.end(status),
                    }
                }
                State::Ready(session) => {
                    if let Some(heartbeat) = &mut this.heartbeat
                        && heartbeat.as_mut().poll_tick(cx).is_ready()
                    {
                        let heartbeat = this.whole_cursors.heartbeat(session);
                        return Poll::Ready(Some(Ok(heartbeat)));
                    }
                    if session.must_catch_up() {
                        this.read();
                        continue;
                    }
                    if !this.caught_up {
                        this.caught_up = true;
                        let caught_up = session.event(|cursor| Event::CaughtUp(CaughtUp { cursor }));
                        return Poll::Ready(Some(Ok(caught_up)));
                    }
                    match session.poll_live(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(Live::CatchUp)) => this.read(),
                        Poll::Ready(Ok(Live::Events(encoded))) => return Poll::Ready(Some(Ok(encoded))),
                        Poll::Ready(Err(status)) => return this.end(status),
                    }
                }
            }
        }
    }
}

impl Events {
    /// Starts to read the log; the session comes back with what is to be sent.
    fn read(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ready(mut session) => State::Reading(Box::pin(async move {
                let encoded = session.catch_up().await;
                (session, encoded)
            })),
            other => other,
        };
    }
}
