//! Where a stream stands, in one channel or in all that its pattern matches.

use std::collections::{HashMap, VecDeque};

use tidings::{
    broker::history::Reader,
    channel::{ChannelName, Pattern},
    cursor::{self, ChannelHash, Owner, StreamCursor, channel_hash, old_hash},
    limits::{CURSOR_CHANNELS, PATTERN_CHANNELS},
    message::{DataSet, Lineage, Mark, Position},
    status,
};
use tidings_transport::Held;
use tonic::Status;

use crate::frames::Run;

/// A stream's place in one channel.
#[derive(Debug, Clone)]
pub(super) struct Track {
    hash: ChannelHash,
    pub(super) reader: Reader,
    /// The end of the channel when its head was last read.
    pub(super) end: Position,
    /// Publish time of the last message, ms; 0 when none was delivered.
    pub(super) time_ms: i64,
    /// After that message.
    pub(super) timed: Position,
    /// Messages before this time are passed over. Log time never steps back, so the first later one ends it.
    pub(super) not_before_ms: Option<i64>,
}

/// A stream's places, and the data set that the broker had when it was last asked.
#[derive(Debug)]
pub(super) struct Positions {
    pub(super) places: Places,
    /// Channels that a pattern stream meets without having looked for them were not there in it.
    pub(super) data_set: Option<DataSet>,
}

#[derive(Debug)]
pub(super) enum Places {
    Channel(ChannelName, Track),
    Pattern {
        pattern: Pattern,
        tracks: HashMap<ChannelName, Track>,
        unheard: Unheard,
        /// For channels that appear later.
        not_before_ms: Option<i64>,
        /// The channels, which count for the stream's caller.
        held: Option<Held>,
    },
}

/// Of cursors: channels that have not been heard of yet, and of which nothing but a hash is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Unheard(HashMap<Owner, Mark>);

impl Track {
    pub(super) fn new(channel: &ChannelName, reader: Reader, not_before_ms: Option<i64>) -> Self {
        let (hash, end) = (channel_hash(channel.as_str()), reader.position);
        Self { hash, reader, end, time_ms: 0, timed: Position::START, not_before_ms }
    }

    /// Whether a message of this time is not before the start that the client asked for.
    pub(super) fn is_due(&mut self, time_ms: i64) -> bool {
        let is_due = self.not_before_ms.is_none_or(|start| time_ms >= start);
        if is_due {
            self.not_before_ms = None;
        }
        is_due
    }

    /// Whether the message at the position is newer than one of this time, 0 where that is not known.
    pub(super) fn is_newer_than(&self, time_ms: i64) -> bool {
        0 < time_ms && time_ms < self.time_ms && self.timed == self.reader.position
    }

    /// Whether the message at the position is older than one of this time, as far as both are known.
    pub(super) fn is_older_than(&self, time_ms: i64) -> bool {
        0 < self.time_ms && self.time_ms < time_ms && self.timed == self.reader.position
    }

    pub(super) fn hash(&self) -> ChannelHash {
        self.hash
    }

    fn cursor(&self) -> String {
        cursor::encode_hashed(self.hash, self.reader.mark())
    }
}

impl Unheard {
    /// Takes cursors, of which a later one counts.
    pub(super) fn new(marks: impl IntoIterator<Item = (Owner, Mark)>) -> Self {
        Self(marks.into_iter().collect())
    }

    pub(super) fn has(&self, owner: &Owner) -> bool {
        self.0.contains_key(owner)
    }

    /// Where a channel stands that is heard of now.
    pub(super) fn take(&mut self, channel: &ChannelName) -> Option<Mark> {
        if self.0.is_empty() {
            return None;
        }
        let old = self.0.remove(&Owner::Old(old_hash(channel.as_str())));
        // Cursors of the older version were given out before those of the present one.
        self.0.remove(&Owner::Hash(channel_hash(channel.as_str()))).or(old)
    }

    fn contains(&self, channel: &ChannelName) -> bool {
        !self.0.is_empty()
            && (self.0.contains_key(&Owner::Hash(channel_hash(channel.as_str())))
                || self.0.contains_key(&Owner::Old(old_hash(channel.as_str()))))
    }
}

impl Positions {
    pub(super) fn is_pattern(&self) -> bool {
        matches!(self.places, Places::Pattern { .. })
    }

    /// All channels, in name order.
    pub(super) fn channels(&self) -> VecDeque<ChannelName> {
        match &self.places {
            Places::Channel(channel, _) => VecDeque::from([channel.clone()]),
            Places::Pattern { tracks, .. } => {
                let mut channels: Vec<_> = tracks.keys().cloned().collect();
                channels.sort_unstable();
                channels.into()
            }
        }
    }

    /// The place in a channel. One that is new to a pattern stream starts where the client's cursor says, otherwise
    /// at its first message.
    pub(super) fn track(&mut self, channel: &ChannelName) -> Result<&mut Track, Status> {
        match &mut self.places {
            Places::Channel(_, track) => Ok(track),
            Places::Pattern { tracks, unheard, not_before_ms, held, .. } => {
                if !tracks.contains_key(channel) {
                    if tracks.len() >= PATTERN_CHANNELS {
                        return Err(status::pattern_too_wide("pattern", PATTERN_CHANNELS));
                    }
                    if let Some(held) = held {
                        held.grow(1)?;
                    }
                    let reader = match unheard.take(channel) {
                        Some(mark) => Reader::resume(mark),
                        None => Reader::default().in_data_set(self.data_set),
                    };
                    tracks.insert(channel.clone(), Track::new(channel, reader, *not_before_ms));
                }
                tracks.get_mut(channel).ok_or_else(status::internal)
            }
        }
    }

    /// The place in a channel that had none yet.
    pub(super) fn begin(&mut self, channel: &ChannelName, track: Track) -> Result<(), Status> {
        *self.track(channel)? = track;
        Ok(())
    }

    /// Whether a run has only messages of plain programs, on a channel without a history: such channels may be many,
    /// and a pattern stream remembers nothing of them.
    pub(super) fn is_fleeting(&self, run: &Run) -> bool {
        let Places::Pattern { tracks, unheard, .. } = &self.places else { return false };
        run.before == Position::START
            && run.last == 0
            && !tracks.contains_key(&run.channel)
            && !unheard.contains(&run.channel)
    }

    /// Before which time messages of a channel are passed over.
    pub(super) fn not_before_ms(&mut self, channel: &ChannelName, is_fleeting: bool) -> Result<Option<i64>, Status> {
        match &self.places {
            Places::Pattern { not_before_ms, .. } if is_fleeting => Ok(*not_before_ms),
            _ => Ok(self.track(channel)?.not_before_ms),
        }
    }

    /// Whether the stream has heard of a channel.
    pub(super) fn knows(&self, channel: &ChannelName) -> bool {
        match &self.places {
            Places::Channel(own, _) => own == channel,
            Places::Pattern { tracks, .. } => tracks.contains_key(channel),
        }
    }

    /// The channels of a pattern stream that have a history as far as it knows.
    pub(super) fn with_history(&self) -> impl Iterator<Item = &ChannelName> {
        let tracks = match &self.places {
            Places::Channel(..) => None,
            Places::Pattern { tracks, .. } => Some(tracks),
        };
        let tracks = tracks.into_iter().flatten();
        tracks.filter(|(_, track)| track.reader.position.epoch.is_some()).map(|(channel, _)| channel)
    }

    /// The cursor of one channel: of the last message that was delivered.
    pub(super) fn cursor_of(&mut self, channel: &ChannelName) -> Result<String, Status> {
        Ok(self.track(channel)?.cursor())
    }

    /// Where a channel's position lies.
    pub(super) fn lineage_of(&mut self, channel: &ChannelName) -> Result<Lineage, Status> {
        Ok(self.track(channel)?.reader.lineage())
    }

    /// The cursor of the whole stream; empty where it would cover too many channels.
    pub(super) fn cursor(&self) -> String {
        match &self.places {
            Places::Channel(_, track) => track.cursor(),
            Places::Pattern { pattern, tracks, unheard, .. } => {
                if tracks.len() + unheard.0.len() > CURSOR_CHANNELS {
                    return String::new();
                }
                let marks = tracks.iter().map(|(channel, track)| (channel.clone(), track.reader.mark()));
                let mut channels: Vec<_> = marks.collect();
                channels.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
                let unheard = unheard.0.iter().map(|(owner, mark)| (*owner, *mark)).collect();
                let cursor = StreamCursor { data_set: self.data_set, channels, unheard };
                cursor::encode_stream(pattern, &cursor).unwrap_or_default()
            }
        }
    }
}
