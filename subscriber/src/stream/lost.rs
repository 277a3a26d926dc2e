//! What a stream says of messages that the log can't give any more, and how it goes on behind them.

use bytes::BytesMut;
use tidings::{
    broker::{Absence, DataSetNow, Error, Gap, GapReason, Head, Page, history::Next},
    channel::ChannelName,
    message::Position,
};

use super::{
    Session,
    catch_up::{Stop, holds},
};
use crate::feed::Rewrite;

impl Session {
    /// The page holds nothing of what the head says can be read: it ended, or the log has a hole that nobody told of.
    pub(super) fn page_ended(
        &mut self,
        channel: &ChannelName,
        page: &Page,
        to: i64,
        frames: &mut BytesMut,
    ) -> Result<bool, Stop> {
        let track = self.positions.track(channel)?;
        let at = track.reader.position;
        let beyond = page.messages.last().is_some_and(|stored| stored.sequence > at.sequence);
        if !(page.is_last || beyond) {
            return Ok(false);
        }
        let next = page.messages.iter().map(|stored| stored.sequence).find(|sequence| *sequence > at.sequence);
        let resume = Position { epoch: at.epoch, sequence: next.map_or(to, |next| to.min(next - 1)) };
        tracing::warn!(
            channel = channel.as_str(),
            after = at.sequence,
            "the log lacks messages that its head promises"
        );
        let gap = track.reader.skip_to(resume, GapReason::NotRetained);
        self.tell(channel, &gap, frames)?;
        Ok(false)
    }

    /// The log keeps nothing up to its end. What is still on its way as a push is not missing: the live side is asked
    /// for a point behind it, and the gap ends where the ring begins.
    pub(super) async fn tail_gap(&mut self, channel: &ChannelName, frames: &mut BytesMut) -> Result<bool, Stop> {
        let head = self.hub.check(channel).await?;
        let track = self.positions.track(channel)?;
        let before = track.reader.clone();
        let at = before.position;
        // The live connection may still lead to another server than the commands: asked again at once, both would say
        // the same.
        let elsewhere = || Stop::Broker(Error::Unavailable("the live connection leads elsewhere".to_owned()));
        if head.as_ref().is_none_or(|head| head.first <= head.last) {
            return Err(elsewhere());
        }
        let Next::Gap(mut gap) = track.reader.next(head.as_ref(), Absence::default()) else {
            self.positions.track(channel)?.reader = before;
            return Err(elsewhere());
        };
        let from = Position { epoch: gap.resume.epoch, sequence: at.sequence };
        if gap.reason != GapReason::EpochChanged
            && let Some(beyond) = self.follower.first_beyond(channel, from)
            && beyond < gap.last_missing
        {
            gap.last_missing = beyond;
            gap.resume.sequence = beyond.max(at.sequence);
            self.positions.track(channel)?.reader = before;
            self.positions.track(channel)?.reader.position = gap.resume;
        }
        if gap.last_missing >= gap.first_missing {
            self.tell(channel, &gap, frames)?;
        }
        Ok(true)
    }

    /// A channel's history was written anew below the stream's position: log time tells from where on, for it never
    /// steps back.
    pub(super) async fn rewrite(&mut self, channel: &ChannelName, frames: &mut BytesMut) -> Result<(), Stop> {
        let track = self.positions.track(channel)?;
        let (at, time_ms) = (track.reader.position, track.time_ms);
        let Some(epoch) = at.epoch else { return Ok(()) };
        let from = self.broker.sequence_before(channel, time_ms + 1).await? + 1;
        self.pages.forget(&Rewrite { channel: channel.clone(), epoch, from, to: at.sequence, time_ms });
        self.ahead = None;
        let heads = self.broker.heads(std::slice::from_ref(channel)).await?;
        let head = heads.into_iter().next().transpose()?.flatten();
        // Where what is newer is of another epoch, or there is none, the head tells what was lost, less what was
        // reported of it.
        if !head.is_some_and(|head| head.has_in(epoch, from)) {
            return Ok(());
        }
        if let Some(gap) = self.positions.track(channel)?.reader.rewrite(epoch, from) {
            self.tell(channel, &gap, frames)?;
        }
        Ok(())
    }

    /// The reader's epoch is older than the head's list: the message at its position tells whether the history is
    /// whole.
    pub(super) async fn settle(
        &mut self,
        channel: &ChannelName,
        head: Option<&Head>,
        frames: &mut BytesMut,
    ) -> Result<(), Stop> {
        let Some(head) = head else { return Ok(()) };
        let at = self.positions.track(channel)?.reader.mark();
        let whole = holds(&*self.broker, channel, at).await?;
        if let Some(gap) = self.positions.track(channel)?.reader.settle(head, whole) {
            self.tell(channel, &gap, frames)?;
        }
        Ok(())
    }

    pub(super) fn tell(&mut self, channel: &ChannelName, gap: &Gap, frames: &mut BytesMut) -> Result<(), Stop> {
        // What was lost before the time that the client asked for is none of its business. Where the log had nothing as
        // new when the stream was opened, what is lost behind it was published since.
        let now_ms = chrono::Utc::now().timestamp_millis();
        if self.positions.track(channel)?.not_before_ms.is_some_and(|start_ms| now_ms < start_ms) {
            return Ok(());
        }
        Ok(self.report(frames, channel, gap)?)
    }

    /// What is to be made of a channel without a head: by the broker's own clock, for nobody else's has dated its
    /// messages.
    pub(super) async fn absence(&mut self, channel: &ChannelName) -> Result<Absence, Stop> {
        let DataSetNow { data_set, time_ms: now_ms } = self.broker.data_set().await?;
        self.positions.data_set = data_set.or(self.positions.data_set);
        let time_ms = self.positions.track(channel)?.time_ms;
        Ok(Absence { expired: time_ms > 0 && now_ms - time_ms > self.lifetime_ms, data_set })
    }
}
