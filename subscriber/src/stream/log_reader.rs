//! Reading one channel's log for a stream: the next chunk from the shared pages or a new page, and the gaps where the
//! log can't give what follows the stream's position.

use std::slice;

use tidings::{
    broker::{Absence, Broker, DataSetNow, Error, From, GapReason, Head, Page, PageLimit, Stored, history::Next},
    channel::ChannelName,
    envelope::EnvelopeRef,
    message::{Lineage, Mark, Position},
    metrics,
};
use tidings_transport::encoding::{Encoded, Encoder};
use tonic::Status;

use super::{delivery::Delivery, source::Source};
use crate::{
    chunk,
    feed::{Follower, Rewrite},
    hub::Refusal,
    pages::{Ahead, Counted},
};

/// What a stream remembers of the pages that it has read.
#[derive(Default)]
pub(super) struct LogReader {
    counted: Counted,
    /// The page that is being read ahead.
    ahead: Option<std::sync::Arc<Ahead>>,
}

/// What a step gave. Gaps were encoded apart.
pub(super) enum Step {
    /// The stream has all there is of the channel.
    Level,
    /// There is more.
    More,
    /// A chunk, before which nothing was encoded; there may be more.
    Chunk(Encoded),
}

/// Why a step could not be finished.
pub(super) enum Stop {
    Broker(Error),
    Status(Status),
}

/// A channel of a stream that is being read.
pub(super) struct Reading<'a> {
    pub(super) source: &'a Source,
    pub(super) channel: &'a ChannelName,
    pub(super) delivery: &'a mut Delivery,
    pub(super) follower: &'a Follower,
    /// Where gaps are encoded.
    pub(super) gaps: &'a mut Encoder,
}

impl LogReader {
    /// Reads one step further.
    pub(super) async fn step(&mut self, mut reading: Reading<'_>) -> Result<Step, Stop> {
        let Source { pages, .. } = reading.source;
        let channel = reading.channel;
        let track = reading.delivery.track(channel)?;
        let (start, fell_from) = (track.position(), track.reader().fell_from());
        let (awaits_epoch, is_back) = (track.reader().awaits_epoch(), track.is_back());
        // A page may be left of what was reported as lost.
        if !awaits_epoch && !is_back {
            if let Some(ahead) = self.ahead.take_if(|ahead| ahead.is_at(channel, start)) {
                self.ahead = ahead.next().await;
            }
            if let Some(chunk) = pages.get(channel, start) {
                return Ok(Step::Chunk(reading.delivery.deliver_next(&chunk)?));
            }
        }
        let rewrites = pages.rewrites();
        let track = reading.delivery.track(channel)?;
        // Where pushes may have been missed, the message at the position is read once more.
        let doubted = track.take_doubt().then_some(start.sequence);
        let after = doubted.map_or(start.sequence, |sequence| sequence - 1);
        let page = pages.read(channel, after, &mut self.counted).await.inspect_err(|_| track.doubt())?;
        let there = page.messages.first().filter(|stored| Some(stored.sequence) == doubted);
        if there.is_some_and(|stored| track.is_replaced_by(stored)) {
            self.rewrite(&mut reading).await?;
            return Ok(Step::More);
        }
        let mut unread = page.messages.iter().filter(|stored| stored.sequence > start.sequence);
        if awaits_epoch && unread.any(|stored| track.is_written_over(stored.sequence - 1, stored.time_ms())) {
            self.rewrite(&mut reading).await?;
            if !reading.delivery.track(channel)?.reader().awaits_epoch() {
                return Ok(Step::More);
            }
        }
        let head = page.head.as_ref();
        let end = head.map_or(Position::START, Head::end);
        reading.delivery.track(channel)?.set_end(end);
        metrics::lag(end.sequence - start.sequence);
        let absence = if head.is_none() { reading.absence().await? } else { Absence::default() };
        loop {
            let track = reading.delivery.track(channel)?;
            let before = track.reader().clone();
            let next = track.next(head, absence);
            if track.reader().fell_from() != fell_from {
                track.doubt();
            }
            match next {
                Next::End | Next::Read { .. } if track.is_back() => return Ok(Step::More),
                Next::End => return Ok(Step::Level),
                Next::Unlisted => reading.check_history(&page).await?,
                Next::Gap(gap) => {
                    // Without history only the live side knows what is really missing.
                    let is_unkept = head.is_some_and(|head| gap.resume == end && head.first > head.last);
                    if is_unkept && gap.reason == GapReason::NotRetained {
                        reading.delivery.track(channel)?.restore(before);
                        reading.report_unkept().await?;
                        return Ok(Step::Level);
                    }
                    reading.delivery.report_lost(reading.gaps, channel, &gap)?;
                }
                Next::Read { to } => {
                    if track.position().sequence < start.sequence {
                        // A new epoch begins below the old position, and this page above it.
                        return Ok(Step::More);
                    }
                    return self.take_page(reading, (&page, rewrites), to);
                }
            }
        }
    }

    /// Encodes what a page has of the reader's epoch, for all streams, and delivers the first chunk of it.
    fn take_page(&mut self, mut reading: Reading<'_>, (page, rewrites): (&Page, u64), to: i64) -> Result<Step, Stop> {
        let (Source { pages, .. }, channel) = (reading.source, reading.channel);
        let track = reading.delivery.track(channel)?;
        let (at, hash) = (track.position(), track.hash());
        let unread = page.messages.partition_point(|stored| stored.sequence <= at.sequence);
        let unread = &page.messages[unread..];
        if unread.first().is_none_or(|first| first.sequence > to.min(at.sequence + 1)) {
            reading.report_hole(page, to)?;
            return Ok(Step::More);
        }
        let at = reading.enter_forgotten(page.head.as_ref(), &unread[0])?;
        if pages.get(channel, at).is_none() {
            let chunks = chunk::of_log(channel, hash, (at, to), unread, page.head.as_ref());
            pages.keep(channel, &chunks, rewrites);
            if let (false, Some(run)) = (page.is_last, chunks.last().and_then(|chunk| chunk.runs.last())) {
                self.ahead = pages.read_ahead(channel, hash, run.end());
            }
        }
        // Where a gap comes first, the chunk after it follows in the next step.
        match pages.get(channel, at) {
            Some(chunk) if reading.gaps.is_empty() => Ok(Step::Chunk(reading.delivery.deliver_next(&chunk)?)),
            _ => Ok(Step::More),
        }
    }

    /// The channel's messages after the stream's position, or before it, were replaced by others: log time shows from
    /// where on, for it never goes back.
    pub(super) async fn rewrite(&mut self, reading: &mut Reading<'_>) -> Result<(), Stop> {
        let (Source { broker, pages, .. }, channel) = (reading.source, reading.channel);
        let track = reading.delivery.track(channel)?;
        let (at, had, time_ms) = (track.position(), track.reader().had(), track.time_ms());
        let Some(epoch) = at.epoch else { return Ok(()) };
        let from = broker.sequence_before(channel, time_ms + 1).await? + 1;
        // What was reported, and never delivered, may have come back.
        if from > had {
            return Ok(());
        }
        pages.forget(&Rewrite { channel: channel.clone(), epoch, from, to: at.sequence, time_ms });
        self.ahead = None;
        let heads = broker.heads(slice::from_ref(channel)).await?;
        let head = heads.into_iter().next().transpose()?.flatten();
        // Where what is newer is of another epoch, or there is none, the head shows what was lost, less what was
        // reported of it.
        if !head.is_some_and(|head| head.has_in(epoch, from)) {
            return Ok(());
        }
        if let Some(gap) = reading.delivery.track(channel)?.rewrite(epoch, from) {
            reading.delivery.report_lost(reading.gaps, channel, &gap)?;
        }
        Ok(())
    }
}

impl Reading<'_> {
    /// The page has nothing of what the head says can be read: it ended, or the log has a hole that nobody reported.
    fn report_hole(&mut self, page: &Page, to: i64) -> Result<(), Stop> {
        let track = self.delivery.track(self.channel)?;
        let at = track.position();
        let beyond = page.messages.last().is_some_and(|stored| stored.sequence > at.sequence);
        if !(page.is_last || beyond) {
            return Ok(());
        }
        let next = page.messages.iter().map(|stored| stored.sequence).find(|sequence| *sequence > at.sequence);
        let resume = Position { epoch: at.epoch, sequence: next.map_or(to, |next| to.min(next - 1)) };
        tracing::warn!(
            channel = self.channel.as_str(),
            after = at.sequence,
            "the log lacks messages that its head promises"
        );
        let gap = track.skip_to(resume, GapReason::NotRetained);
        Ok(self.delivery.report_lost(self.gaps, self.channel, &gap)?)
    }

    /// What is older than the head's list of epochs is read in the epochs that its messages name: the reader's
    /// position, and with it every cursor, is that of a message. Returns where it is.
    fn enter_forgotten(&mut self, head: Option<&Head>, next: &Stored) -> Result<Position, Stop> {
        let track = self.delivery.track(self.channel)?;
        let own = track.position().epoch;
        if head.is_some_and(|head| head.has_forgotten(next.sequence))
            && let Some(epoch) = chunk::epoch_of(next).filter(|epoch| own != Some(*epoch))
        {
            track.enter(epoch);
        }
        Ok(track.position())
    }

    /// The log keeps nothing up to its end. What is still on its way as a push is not missing: the live side is asked
    /// for a point after it, and the gap ends where the ring begins.
    async fn report_unkept(&mut self) -> Result<(), Stop> {
        let (hub, channel) = (&self.source.hub, self.channel);
        let head = hub.check(channel).await?;
        let track = self.delivery.track(channel)?;
        let before = track.reader().clone();
        let at = before.position();
        // The live connection may still lead to another server than the commands: asked again at once, both would say
        // the same.
        let elsewhere = || Stop::Broker(Error::Unavailable("the live connection leads elsewhere".to_owned()));
        if head.as_ref().is_none_or(|head| head.first <= head.last) {
            return Err(elsewhere());
        }
        let Next::Gap(mut gap) = track.next(head.as_ref(), Absence::default()) else {
            track.restore(before);
            return Err(elsewhere());
        };
        let from = Position { epoch: gap.resume.epoch, sequence: at.sequence };
        if gap.reason != GapReason::EpochChanged
            && let Some(beyond) = self.follower.first_beyond(channel, from)
            && beyond < gap.last_missing
        {
            gap.last_missing = beyond;
            gap.resume.sequence = beyond.max(at.sequence);
            // It keeps what it has learned of where that epoch comes from.
            track.resume_at(gap.resume);
        }
        if gap.last_missing >= gap.first_missing {
            self.delivery.report_lost(self.gaps, channel, &gap)?;
        }
        Ok(())
    }

    /// The reader's epoch is older than the head's list: the message that follows its position, or the one there, shows
    /// whether the history is whole.
    async fn check_history(&mut self, page: &Page) -> Result<(), Stop> {
        let Some(head) = &page.head else { return Ok(()) };
        let at = self.delivery.track(self.channel)?.reader().mark();
        let whole =
            chunk::leads_on(at.position, &page.messages) || holds(&*self.source.broker, self.channel, at).await?;
        if let Some(gap) = self.delivery.track(self.channel)?.settle(head, whole) {
            self.delivery.report_lost(self.gaps, self.channel, &gap)?;
        }
        Ok(())
    }

    /// Why a channel has no head: by the broker's own clock, which alone has dated its messages.
    async fn absence(&mut self) -> Result<Absence, Stop> {
        let DataSetNow { data_set, time_ms: now_ms } = self.source.broker.data_set().await?;
        self.delivery.positions_mut().set_data_set(data_set);
        let time_ms = self.delivery.track(self.channel)?.time_ms();
        Ok(Absence { expired: time_ms > 0 && now_ms - time_ms > self.source.lifetime_ms, data_set })
    }
}

/// Whether the log has the message just before a position, in the position's epoch; or that epoch's first one, where
/// the position is before it, as that of a reader is that has read nothing yet.
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
