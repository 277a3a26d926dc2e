//! Channels of a pattern that can't be read: they are set aside, so that the others go on. The hub looks after them,
//! and says when they can be read; then the stream goes on where it was, or finds its start where it had none yet.

use std::slice;

use tidings::{
    broker::{Error, Shared},
    channel::ChannelName,
    message::DataSet,
};

use super::{Session, catch_up::Stop, positions::Track, start};
use crate::request::Start;

/// Where a stream starts in a channel whose head could not be read when it was opened. From now on, that is from the
/// time of opening: what was published since is not passed over.
pub(super) fn later(start: &Start) -> Start {
    match start {
        Start::Earliest => Start::Earliest,
        Start::Since(time_ms) => Start::Since(*time_ms),
        Start::Last(count) => Start::Last(*count),
        Start::Now | Start::After(_) | Start::AfterStream(..) => Start::Since(chrono::Utc::now().timestamp_millis()),
    }
}

impl Session {
    /// Goes on without a channel.
    pub(super) async fn set_aside(&mut self, channel: &ChannelName, error: Error) {
        self.behind.retain(|behind| behind != channel);
        self.news.retain(|behind| behind != channel);
        self.hub.unreadable(channel, error).await;
    }

    /// Finds the start in a channel that had none yet.
    pub(super) async fn begin(&mut self, channel: &ChannelName) -> Result<(), Stop> {
        let Some(start) = self.unstarted.get(channel) else { return Ok(()) };
        let track = find(&self.broker, channel, self.positions.data_set, start).await?;
        self.positions.begin(channel, track)?;
        self.unstarted.remove(channel);
        Ok(())
    }
}

async fn find(
    broker: &Shared,
    channel: &ChannelName,
    data_set: Option<DataSet>,
    start: &Start,
) -> Result<Track, Error> {
    let head = broker.heads(slice::from_ref(channel)).await?.pop().unwrap_or(Ok(None))?;
    start::start(broker, channel, head.as_ref(), data_set, start).await
}
