//! One stream: catch up from the log, follow live, and return to the log when pushes are missing or the ring has moved
//! past it.
//!
//! ```text
//! feed (ring of chunks) → Session ─┬→ Delivery: positions, gaps → encoded events
//! log (shared pages)    → CatchUp ─┘
//! ```
//!
//! The stream's [positions] are the only truth about what was delivered. A chunk is passed on whole, as it
//! is, when every run in it continues the stream's positions; otherwise it is cut, or the log is read first.

mod backlog;
mod catch_up;
mod delivery;
mod events;
mod fit;
mod living;
mod log_reader;
mod open;
mod positions;
mod source;
mod start;
mod unstarted;

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tidings::{
    broker::Error,
    metrics::{self, Mode},
    pb::stream_messages_response::Event,
    status::{self, Call},
};
use tidings_transport::encoding::{Encoded, Encoder};
use tonic::Status;

use self::{catch_up::CatchUp, delivery::Delivery, fit::Fit};
pub(crate) use self::{catch_up::lifetime_ms, events::Events, log_reader::holds, open::open, source::Source};
use crate::{
    chunk::Chunk,
    feed::{Follower, Found, Item, Rewrite},
};

/// The state of one stream, without its timers.
pub(crate) struct Session {
    follower: Follower,
    delivery: Delivery,
    catch_up: CatchUp,
    /// What the chunk at the follower's index needed of the log.
    chunk: Need,
    mode: metrics::Stream,
}

/// How far the log was read for a chunk that does not fit the stream's positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// It was not asked for.
    Nothing,
    /// It is being read.
    Log,
    /// It was read after the chunk had come: what still does not fit won't.
    Settled,
}

/// What the live side has for a stream.
enum Live {
    /// Events to send.
    Events(Encoded),
    /// The log must be read first.
    CatchUp,
}

impl Session {
    /// A stream that follows a feed from now on.
    fn new(follower: Follower, delivery: Delivery, catch_up: CatchUp) -> Self {
        let mode = if catch_up.is_done() { Mode::Live } else { Mode::CatchingUp };
        Self { follower, delivery, catch_up, chunk: Need::Nothing, mode: metrics::Stream::open(mode) }
    }

    /// Whether the log must be read before the stream continues live.
    fn must_catch_up(&self) -> bool {
        !self.catch_up.is_done()
    }

    /// Reads the log one step further, and returns what is to be sent, which may be nothing.
    async fn catch_up(&mut self) -> Result<Encoded, Status> {
        self.mode.set(Mode::CatchingUp);
        let step = self.catch_up.step(&mut self.delivery, &self.follower).await;
        if self.catch_up.is_done() {
            self.mode.set(Mode::Live);
            if step.is_ok() && self.chunk == Need::Log {
                self.chunk = Need::Settled;
            }
        }
        step
    }

    fn is_pattern(&self) -> bool {
        self.delivery.positions().pattern().is_some()
    }

    /// An event with the stream's cursor.
    fn event(&self, make: impl FnOnce(String) -> Event) -> Encoded {
        self.delivery.event(make)
    }

    fn poll_live(&mut self, cx: &mut Context<'_>) -> Poll<Result<Live, Status>> {
        loop {
            match self.follower.peek(cx) {
                Found::Nothing => return Poll::Pending,
                Found::Passed => {
                    let rewrites = self.follower.rewind();
                    self.restart();
                    return Poll::Ready(self.go_back(&rewrites));
                }
                Found::Item(Item::Refused(reason)) => {
                    return Poll::Ready(Err(status::from_broker(Error::Unavailable(reason.to_string()), Call::Read)));
                }
                Found::Item(Item::Break) => {
                    metrics::repair();
                    self.advance();
                    self.restart();
                    return Poll::Ready(Ok(Live::CatchUp));
                }
                Found::Item(Item::Check(channel, end)) => {
                    self.advance();
                    if self.catch_up.is_unstarted(&channel) || self.delivery.track(&channel)?.position() != end {
                        metrics::repair();
                        if !self.catch_up.is_unstarted(&channel) {
                            self.delivery.track(&channel)?.doubt();
                        }
                        self.catch_up.add(channel);
                        return Poll::Ready(Ok(Live::CatchUp));
                    }
                }
                Found::Item(Item::Rewritten(rewrite)) => {
                    self.advance();
                    if self.has_of(&rewrite)? {
                        self.catch_up.add(rewrite.channel.clone());
                        return Poll::Ready(self.go_back(&[rewrite]));
                    }
                }
                Found::Item(Item::Chunk(chunk)) => match self.take(&chunk)? {
                    Some(encoded) if encoded.is_empty() => self.advance(),
                    Some(encoded) => {
                        self.advance();
                        return Poll::Ready(Ok(Live::Events(encoded)));
                    }
                    None => return Poll::Ready(Ok(Live::CatchUp)),
                },
            }
        }
    }

    /// Whether the stream's position is in what was replaced, and not in what replaced it.
    fn has_of(&mut self, rewrite: &Rewrite) -> Result<bool, Status> {
        if !self.delivery.positions().knows(&rewrite.channel) {
            return Ok(false);
        }
        let track = self.delivery.track(&rewrite.channel)?;
        let is_newer = rewrite.time_ms > 0 && track.time_ms() > rewrite.time_ms;
        let is_beyond = track.position().sequence > rewrite.to;
        Ok(track.position().epoch == Some(rewrite.epoch) && !is_newer && !is_beyond)
    }

    /// Goes back to where histories were rewritten, and reports what it had of them; the log has what follows.
    fn go_back(&mut self, rewrites: &[Arc<Rewrite>]) -> Result<Live, Status> {
        let mut gaps = Encoder::default();
        for rewrite in rewrites {
            let Rewrite { channel, epoch, from, .. } = &**rewrite;
            if self.has_of(rewrite)?
                && let Some(gap) = self.delivery.track(channel)?.rewrite(*epoch, *from)
            {
                self.delivery.report(&mut gaps, channel, &gap)?;
            }
        }
        Ok(if gaps.is_empty() { Live::CatchUp } else { Live::Events(gaps.take()) })
    }

    fn advance(&mut self) {
        self.follower.advance();
        self.chunk = Need::Nothing;
    }

    /// Every channel may have lost pushes.
    fn restart(&mut self) {
        self.catch_up.restart(&mut self.delivery);
        self.chunk = Need::Nothing;
    }

    /// What of a chunk is to be sent; `None` when the log must be read first.
    fn take(&mut self, chunk: &Chunk) -> Result<Option<Encoded>, Status> {
        let fits = self.delivery.fits(chunk, |channel| self.catch_up.is_unstarted(channel))?;
        if !fits.iter().any(|fit| fit.needs_log()) {
            return self.delivery.deliver(chunk, &fits, Encoder::default()).map(Some);
        }
        if self.chunk == Need::Settled {
            return self.delivery.deliver_apart(chunk, fits).map(Some);
        }
        metrics::repair();
        self.chunk = Need::Log;
        let unfit = chunk.runs.iter().zip(&fits).filter(|(_, fit)| fit.needs_log());
        let newer = unfit.clone().filter(|(_, fit)| **fit == Fit::Newer);
        let rewritten = newer.map(|(run, _)| run.channel.clone()).collect();
        self.catch_up.replace(unfit.map(|(run, _)| run.channel.clone()).collect(), rewritten);
        Ok(None)
    }
}
