//! Reading the log until a stream can go on live.

use std::{collections::HashSet, time::Duration};

use bytes::{Bytes, BytesMut};
use tidings::{
    broker::{Absence, Broker, DataSetNow, Error, From, GapReason, Head, Page, PageLimit, history::Next},
    channel::ChannelName,
    envelope::EnvelopeRef,
    limits::{BACKOFF_MAX, HEADS_PER_READ},
    message::{Lineage, Mark, Position},
    metrics::{self, Mode},
    status::{self, Call},
};
use tokio::time::sleep;
use tonic::Status;

use super::{Fit, Need, Session, living::living, positions::Places};
use crate::{frames, hub::Refusal};

impl Session {
    /// Whether the log must be read before the stream goes on live.
    pub(super) fn is_behind(&self) -> bool {
        self.unlisted || !self.behind.is_empty() || !self.news.is_empty()
    }

    /// Reads one step further; answers the frames to send, which may be none. While the broker is away the stream
    /// stays open: the step waits a little and answers nothing.
    pub(super) async fn catch_up(&mut self) -> Result<Bytes, Status> {
        self.mode.set(Mode::CatchingUp);
        let step = self.step().await;
        if !self.is_behind() {
            self.mode.set(Mode::Live);
        }
        match step {
            Ok(frames) => Ok(frames),
            Err(Stop::Broker(Error::Unavailable(_) | Error::OutcomeUnknown(_))) => {
                sleep(BACKOFF_MAX.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                Ok(Bytes::new())
            }
            Err(Stop::Broker(error)) => Err(status::from_broker(error, Call::Read)),
            Err(Stop::Status(status)) => Err(status),
        }
    }

    async fn step(&mut self) -> Result<Bytes, Stop> {
        if self.unlisted {
            self.list().await?;
        }
        self.look_for_news().await?;
        let mut frames = BytesMut::new();
        if let Some(channel) = self.news.front().or(self.behind.front()).cloned() {
            match self.advance(&channel, &mut frames).await {
                Ok(true) => self.is_level(&channel),
                Ok(false) => {}
                // What was written is sent first, for the stream stands behind it. Then it is tried again.
                Err(_) if !frames.is_empty() => {}
                Err(Stop::Broker(error @ Error::Channel(_))) if self.positions.is_pattern() => {
                    self.set_aside(&channel, error).await;
                }
                Err(stop) => return Err(stop),
            }
        }
        if !self.is_behind() && self.chunk == Need::Log {
            self.chunk = Need::Settled;
        }
        // Of both there is one at most, so that shared frames are never copied.
        Ok(self.ready.take().unwrap_or_else(|| frames.freeze()))
    }

    /// The stream has all there is of the channel that was read.
    fn is_level(&mut self, channel: &ChannelName) {
        let queue = if self.news.is_empty() { &mut self.behind } else { &mut self.news };
        if queue.front() == Some(channel) {
            queue.pop_front();
        }
    }

    /// Adds the channels of the registry that the pattern stream has not heard of: a first message may have been
    /// missed.
    async fn list(&mut self) -> Result<(), Stop> {
        if let Places::Pattern { pattern, .. } = &self.positions.places {
            // Before the channels: what is flushed in between is rather told twice than never.
            let DataSetNow { data_set, .. } = self.broker.data_set().await?;
            let channels = living(&self.broker, pattern).await?;
            let registered: HashSet<&ChannelName> = channels.iter().collect();
            let known = self.positions.with_history();
            self.hub.put_back(known.filter(|channel| !registered.contains(channel)).cloned().collect());
            for channel in channels {
                if !self.positions.knows(&channel) && !self.unstarted.contains_key(&channel) {
                    // As far as the stream knows it was not there in the data set of before.
                    self.positions.track(&channel)?;
                    self.behind.push_back(channel);
                }
            }
            self.positions.data_set = data_set.or(self.positions.data_set);
        }
        self.unlisted = false;
        Ok(())
    }

    /// Of many channels most have nothing new: their heads, read together, tell. Those that have are read one after the
    /// other, before the heads of others are.
    async fn look_for_news(&mut self) -> Result<(), Stop> {
        while self.news.is_empty() && self.behind.len() > 1 {
            let some: Vec<ChannelName> = self.behind.iter().take(HEADS_PER_READ).cloned().collect();
            let heads = self.broker.heads(&some).await?;
            self.behind.drain(..some.len());
            for (channel, head) in some.into_iter().zip(heads) {
                let head = match head {
                    Ok(head) => head,
                    Err(error) => {
                        self.set_aside(&channel, error).await;
                        continue;
                    }
                };
                if !self.unstarted.contains_key(&channel) {
                    let track = self.positions.track(&channel)?;
                    let end = head.as_ref().map_or(Position::START, Head::end);
                    if end == track.reader.position {
                        track.end = end;
                        // It learns where its epoch comes from.
                        if end.epoch.is_some() {
                            let _ = track.reader.next(head.as_ref(), Absence::default());
                        }
                        continue;
                    }
                }
                self.news.push_back(channel);
            }
        }
        Ok(())
    }

    /// Takes the next frames of a channel from the shared pages, or reads a page. True when the stream has all there is
    /// of it.
    async fn advance(&mut self, channel: &ChannelName, frames: &mut BytesMut) -> Result<bool, Stop> {
        self.begin(channel).await?;
        if self.rewritten.remove(channel) {
            self.rewrite(channel, frames).await?;
            if !frames.is_empty() {
                return Ok(false);
            }
        }
        let reader = &self.positions.track(channel)?.reader;
        let (start, awaits_epoch) = (reader.position, reader.awaits_epoch());
        // A page may be left of what was told to be lost.
        if !awaits_epoch {
            if let Some(ahead) = self.ahead.take_if(|ahead| ahead.is_at(channel, start)) {
                self.ahead = ahead.next().await;
            }
            if let Some(chunk) = self.pages.get(channel, start) {
                self.ready = Some(self.deliver(&chunk, &[Fit::Next], None)?);
                return Ok(false);
            }
        }
        let rewrites = self.pages.rewrites();
        let page = self.pages.read(channel, start.sequence, &mut self.counted).await?;
        let head = page.head.as_ref();
        let end = head.map_or(Position::START, Head::end);
        self.positions.track(channel)?.end = end;
        metrics::lag(end.sequence - start.sequence);
        let absence = if head.is_none() { self.absence(channel).await? } else { Absence::default() };
        loop {
            let track = self.positions.track(channel)?;
            let before = track.reader.clone();
            match track.reader.next(head, absence) {
                Next::End => return Ok(true),
                Next::Unlisted => self.settle(channel, head, frames).await?,
                Next::Gap(gap) => {
                    // Without history only the live side knows what is really missing.
                    let is_unkept = head.is_some_and(|head| gap.resume == end && head.first > head.last);
                    if is_unkept && gap.reason == GapReason::NotRetained {
                        self.positions.track(channel)?.reader = before;
                        return self.tail_gap(channel, frames).await;
                    }
                    self.tell(channel, &gap, frames)?;
                }
                Next::Read { to } => {
                    if track.reader.position.sequence < start.sequence {
                        // A new epoch begins below the old position, and this page above it.
                        return Ok(false);
                    }
                    return self.take_page(channel, (&page, rewrites), to, frames);
                }
            }
        }
    }

    /// Frames what a page holds of the reader's epoch for all, and takes the first of it. Answers that there is more.
    fn take_page(
        &mut self,
        channel: &ChannelName,
        (page, rewrites): (&Page, u64),
        to: i64,
        frames: &mut BytesMut,
    ) -> Result<bool, Stop> {
        let at = self.positions.track(channel)?.reader.position;
        let unread = page.messages.partition_point(|stored| stored.sequence <= at.sequence);
        let unread = &page.messages[unread..];
        if unread.first().is_none_or(|first| first.sequence > to.min(at.sequence + 1)) {
            return self.page_ended(channel, page, to, frames);
        }
        if self.pages.get(channel, at).is_none() {
            let hash = self.positions.track(channel)?.hash();
            let chunks = frames::of_log(channel, hash, (at, to), unread, page.head.as_ref());
            self.pages.keep(channel, &chunks, rewrites);
            if let (false, Some(run)) = (page.is_last, chunks.last().and_then(|chunk| chunk.runs.last())) {
                self.ahead = self.pages.read_ahead(channel, hash, run.end());
            }
        }
        // Where a gap goes first, the frames behind it follow in the next step.
        if frames.is_empty()
            && let Some(chunk) = self.pages.get(channel, at)
        {
            self.ready = Some(self.deliver(&chunk, &[Fit::Next], None)?);
        }
        Ok(false)
    }
}

/// Whether the log holds the message just before a position, in the position's epoch; or that epoch's first one, where
/// the position lies before it, as that of a reader does that has read nothing yet.
pub(crate) async fn holds(broker: &dyn Broker, channel: &ChannelName, mark: Mark) -> Result<bool, Error> {
    let Mark { position, lineage } = mark;
    let limit = PageLimit { messages: 1, bytes: 1 };
    let first = match lineage {
        Lineage::Epoch { first, .. } => first,
        Lineage::Unknown | Lineage::DataSet(_) => 1,
    };
    let sequence = position.sequence.max(first);
    let page = broker.read(channel, From::After(sequence - 1), limit).await?;
    Ok(page.messages.first().is_some_and(|stored| {
        let claim = EnvelopeRef::read(&stored.json, 0).claim();
        stored.sequence == sequence && claim.map(|claim| claim.epoch) == position.epoch
    }))
}

/// Why a step could not be finished.
pub(super) enum Stop {
    Broker(Error),
    Status(Status),
}

impl std::convert::From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Broker(error)
    }
}

impl std::convert::From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Broker(error) => Self::Broker(error),
            other => Self::Status(other.into()),
        }
    }
}

impl std::convert::From<Status> for Stop {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// How long a position's log and head outlive its last message.
pub(crate) fn lifetime_ms(max_age: Duration) -> i64 {
    let lifetime = max_age.saturating_add(tidings::limits::HEAD_LINGER);
    i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX)
}
