//! Channels of a pattern that could not be read when the stream was opened. The others are delivered meanwhile; the hub
//! watches these, and tells the stream when they can be read. Then it finds its start in them.

use std::{collections::HashMap, slice};

use tidings::{
    broker::{Error, Shared},
    channel::ChannelName,
    message::DataSet,
};

use super::{positions::Track, start::start};
use crate::request::Start;

/// Such channels, and where the stream starts in them.
#[derive(Debug, Default)]
pub(super) struct Unstarted(HashMap<ChannelName, Start>);

impl Unstarted {
    /// Adds a channel in which the stream was to start there. "From now on" means from the time of opening: what was
    /// published since is not skipped.
    pub(super) fn add(&mut self, channel: ChannelName, start: &Start) {
        let start = match start {
            Start::Earliest => Start::Earliest,
            Start::Since(time_ms) => Start::Since(*time_ms),
            Start::Last(count) => Start::Last(*count),
            Start::Now | Start::After(_) | Start::AfterStream(..) => {
                Start::Since(chrono::Utc::now().timestamp_millis())
            }
        };
        self.0.insert(channel, start);
    }

    pub(super) fn has(&self, channel: &ChannelName) -> bool {
        !self.0.is_empty() && self.0.contains_key(channel)
    }

    pub(super) fn channels(&self) -> impl Iterator<Item = &ChannelName> {
        self.0.keys()
    }

    /// Finds the start in a channel; `None` where the stream has one. [`started`](Self::started) follows.
    pub(super) async fn find(
        &self,
        broker: &Shared,
        channel: &ChannelName,
        data_set: Option<DataSet>,
    ) -> Result<Option<Track>, Error> {
        let Some(at) = self.0.get(channel) else { return Ok(None) };
        let head = broker.heads(slice::from_ref(channel)).await?.pop().unwrap_or(Ok(None))?;
        start(broker, channel, head.as_ref(), data_set, at).await.map(Some)
    }

    pub(super) fn started(&mut self, channel: &ChannelName) {
        self.0.remove(channel);
    }
}
