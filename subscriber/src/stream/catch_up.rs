//! Reading the log until a stream can continue live: which channels, in which order, and what to do without those that
//! can't be read.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use tidings::{
    backoff::jittered,
    broker::{Absence, DataSetNow, Error, Head},
    channel::ChannelName,
    limits::{BACKOFF_MAX, HEAD_LINGER},
    message::Position,
    status::{self, Call},
};
use tidings_transport::encoding::{Encoded, Encoder};
use tokio::time::sleep;
use tonic::Status;

use super::{
    backlog::Backlog,
    delivery::Delivery,
    living::living,
    log_reader::{LogReader, Reading, Step, Stop},
    source::Source,
    unstarted::Unstarted,
};
use crate::feed::Follower;

/// What a stream has to read, and how far it is.
pub(super) struct CatchUp {
    source: Source,
    backlog: Backlog,
    unstarted: Unstarted,
    log: LogReader,
}

impl CatchUp {
    /// Has to read these channels, and to find the start in others.
    pub(super) fn new(source: Source, channels: VecDeque<ChannelName>, unstarted: Unstarted) -> Self {
        Self { source, backlog: Backlog::of(channels), unstarted, log: LogReader::default() }
    }

    /// Whether there is nothing to read.
    pub(super) fn is_done(&self) -> bool {
        self.backlog.is_empty()
    }

    /// Whether the stream's start in a channel is not known yet.
    pub(super) fn is_unstarted(&self, channel: &ChannelName) -> bool {
        self.unstarted.has(channel)
    }

    /// One channel has to be read.
    pub(super) fn add(&mut self, channel: ChannelName) {
        self.backlog.add(channel);
    }

    /// These channels have to be read, some of which were rewritten, and no others.
    pub(super) fn replace(&mut self, channels: VecDeque<ChannelName>, rewritten: HashSet<ChannelName>) {
        self.backlog.replace(channels, rewritten);
    }

    /// Every channel has to be read: pushes of any may have been lost.
    pub(super) fn restart(&mut self, delivery: &mut Delivery) {
        delivery.positions_mut().doubt();
        let positions = delivery.positions();
        let mut channels = positions.channels();
        channels.extend(self.unstarted.channels().cloned());
        self.backlog.restart(channels, positions.pattern().is_some());
    }

    /// Reads one step further, and returns what is to be sent, which may be nothing. While the broker is away the
    /// stream stays open: the step waits a little and returns nothing.
    pub(super) async fn step(&mut self, delivery: &mut Delivery, follower: &Follower) -> Result<Encoded, Status> {
        match self.try_step(delivery, follower).await {
            Ok(encoded) => Ok(encoded),
            Err(Stop::Broker(Error::Unavailable(_) | Error::OutcomeUnknown(_))) => {
                sleep(jittered(BACKOFF_MAX)).await;
                Ok(Encoded::default())
            }
            Err(Stop::Broker(error)) => Err(status::from_broker(error, Call::Read)),
            Err(Stop::Status(status)) => Err(status),
        }
    }

    async fn try_step(&mut self, delivery: &mut Delivery, follower: &Follower) -> Result<Encoded, Stop> {
        if self.backlog.is_unlisted() {
            self.list(delivery).await?;
        }
        self.check_heads(delivery).await?;
        let Some(channel) = self.backlog.next().cloned() else { return Ok(Encoded::default()) };
        let mut gaps = Encoder::default();
        let is_pattern = delivery.positions().pattern().is_some();
        match self.read(&channel, delivery, follower, &mut gaps).await {
            // Nothing was encoded before it, so that a shared chunk is never copied.
            Ok(Step::Chunk(encoded)) => return Ok(encoded),
            Ok(Step::Level) => self.backlog.done(&channel),
            Ok(Step::More) => {}
            // What was encoded is sent first, for the stream's position is after it. Then it is tried again.
            Err(_) if !gaps.is_empty() => {}
            Err(Stop::Broker(error @ Error::Channel(_))) if is_pattern => self.leave_out(&channel, error).await,
            Err(stop) => return Err(stop),
        }
        Ok(gaps.take())
    }

    /// Reads one channel a step further.
    async fn read(
        &mut self,
        channel: &ChannelName,
        delivery: &mut Delivery,
        follower: &Follower,
        gaps: &mut Encoder,
    ) -> Result<Step, Stop> {
        let Self { source, backlog, unstarted, log } = self;
        if let Some(track) = unstarted.find(&source.broker, channel, delivery.positions().data_set()).await? {
            delivery.positions_mut().begin(channel, track)?;
            unstarted.started(channel);
        }
        let mut reading = Reading { source, channel, delivery, follower, gaps };
        if backlog.take_rewritten(channel) {
            log.rewrite(&mut reading).await?;
            if !reading.gaps.is_empty() {
                return Ok(Step::More);
            }
        }
        log.step(reading).await
    }

    /// Continues without a channel that can't be read.
    async fn leave_out(&mut self, channel: &ChannelName, error: Error) {
        self.backlog.remove(channel);
        self.source.hub.unreadable(channel, error).await;
    }

    /// Adds the channels of the registry that the pattern stream has not seen: a first message may have been missed.
    async fn list(&mut self, delivery: &mut Delivery) -> Result<(), Stop> {
        let Source { broker, hub, .. } = &self.source;
        if let Some(pattern) = delivery.positions().pattern().cloned() {
            // Before the channels: a flush in between is rather reported twice than never.
            let DataSetNow { data_set, .. } = broker.data_set().await?;
            let channels = living(broker, &pattern).await?;
            let registered: HashSet<&ChannelName> = channels.iter().collect();
            let known = delivery.positions().with_history();
            hub.put_back(known.filter(|channel| !registered.contains(channel)).cloned().collect());
            for channel in channels {
                if !delivery.positions().knows(&channel) && !self.unstarted.has(&channel) {
                    // As far as the stream knows it did not exist in the previous data set.
                    delivery.track(&channel)?;
                    self.backlog.add(channel);
                }
            }
            delivery.positions_mut().set_data_set(data_set);
        }
        self.backlog.listed();
        Ok(())
    }

    /// Of many channels most have nothing new, which their heads show, read together. Those that have are read one
    /// after the other, before the heads of others are.
    async fn check_heads(&mut self, delivery: &mut Delivery) -> Result<(), Stop> {
        while let Some(channels) = self.backlog.unchecked() {
            let heads = self.source.broker.heads(&channels).await?;
            self.backlog.checked(channels.len());
            for (channel, head) in channels.into_iter().zip(heads) {
                let head = match head {
                    Ok(head) => head,
                    Err(error) => {
                        self.leave_out(&channel, error).await;
                        continue;
                    }
                };
                if !self.unstarted.has(&channel) {
                    let track = delivery.track(&channel)?;
                    let end = head.as_ref().map_or(Position::START, Head::end);
                    // A newer message at the stream's position has replaced the one that it had: the log is read.
                    if end == track.position() && !head.as_ref().is_some_and(|head| track.is_older_than(head.time_ms)) {
                        track.set_end(end);
                        // It learns where its epoch comes from.
                        if end.epoch.is_some() {
                            let _ = track.next(head.as_ref(), Absence::default());
                        }
                        continue;
                    }
                }
                self.backlog.changed(channel);
            }
        }
        Ok(())
    }
}

/// How long a position's log and head outlive its last message, ms.
pub(crate) fn lifetime_ms(max_age: Duration) -> i64 {
    i64::try_from(max_age.saturating_add(HEAD_LINGER).as_millis()).unwrap_or(i64::MAX)
}
