//! Where a stream stands, in one channel or in all that its pattern matches.

use std::collections::{HashMap, VecDeque};

use tidings::{
    broker::history::Reader,
    channel::{ChannelName, Pattern},
    cursor::{self, StreamCursor, channel_hash},
    limits::PATTERN_CHANNELS,
    message::Position,
    status,
};
use tonic::Status;

use crate::frames::Run;

/// A stream's place in one channel.
#[derive(Debug, Clone)]
pub(super) struct Track {
    hash: u64,
    pub(super) reader: Reader,
    /// The end of the channel when its head was last read.
    pub(super) end: Position,
    /// Publish time of the last message, ms; 0 when none was delivered.
    pub(super) time_ms: i64,
    /// Messages before this time are passed over. Log time never steps back, so the first later one ends it.
    pub(super) not_before_ms: Option<i64>,
}

/// A stream's places.
#[derive(Debug)]
pub(super) enum Positions {
    Channel(ChannelName, Track),
    Pattern {
        pattern: Pattern,
        tracks: HashMap<ChannelName, Track>,
        /// Of a cursor: channels, by hash, that have not been heard of yet.
        unheard: HashMap<u64, Position>,
        /// For channels that appear later.
        not_before_ms: Option<i64>,
    },
}

impl Track {
    pub(super) fn new(channel: &ChannelName, position: Position, not_before_ms: Option<i64>) -> Self {
        let hash = channel_hash(channel.as_str());
        Self { hash, reader: Reader::new(position), end: position, time_ms: 0, not_before_ms }
    }

    /// Whether a message of this time is not before the start that the client asked for.
    pub(super) fn is_due(&mut self, time_ms: i64) -> bool {
        let is_due = self.not_before_ms.is_none_or(|start| time_ms >= start);
        if is_due {
            self.not_before_ms = None;
        }
        is_due
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }
}

impl Positions {
    pub(super) fn is_pattern(&self) -> bool {
        matches!(self, Self::Pattern { .. })
    }

    /// All channels, in name order.
    pub(super) fn channels(&self) -> VecDeque<ChannelName> {
        match self {
            Self::Channel(channel, _) => VecDeque::from([channel.clone()]),
            Self::Pattern { tracks, .. } => {
                let mut channels: Vec<_> = tracks.keys().cloned().collect();
                channels.sort_unstable();
                channels.into()
            }
        }
    }

    /// The place in a channel. One that is new to a pattern stream starts where the client's cursor says, otherwise
    /// at its first message.
    pub(super) fn track(&mut self, channel: &ChannelName) -> Result<&mut Track, Status> {
        match self {
            Self::Channel(_, track) => Ok(track),
            Self::Pattern { tracks, unheard, not_before_ms, .. } => {
                if !tracks.contains_key(channel) {
                    if tracks.len() >= PATTERN_CHANNELS {
                        return Err(status::pattern_too_wide("pattern", PATTERN_CHANNELS));
                    }
                    let hash = channel_hash(channel.as_str());
                    let position = unheard.remove(&hash).unwrap_or(Position::START);
                    tracks.insert(channel.clone(), Track::new(channel, position, *not_before_ms));
                }
                tracks.get_mut(channel).ok_or_else(status::internal)
            }
        }
    }

    /// Whether a run has only messages of plain programs, on a channel without a history: such channels may be many, and
    /// a pattern stream remembers nothing of them.
    pub(super) fn is_fleeting(&self, run: &Run) -> bool {
        let Self::Pattern { tracks, unheard, .. } = self else { return false };
        run.before == Position::START
            && run.last == 0
            && !tracks.contains_key(&run.channel)
            && (unheard.is_empty() || !unheard.contains_key(&channel_hash(run.channel.as_str())))
    }

    /// Before which time messages of a channel are passed over.
    pub(super) fn not_before_ms(&mut self, channel: &ChannelName, is_fleeting: bool) -> Result<Option<i64>, Status> {
        match self {
            Self::Pattern { not_before_ms, .. } if is_fleeting => Ok(*not_before_ms),
            _ => Ok(self.track(channel)?.not_before_ms),
        }
    }

    /// Whether the stream has heard of a channel.
    pub(super) fn knows(&self, channel: &ChannelName) -> bool {
        match self {
            Self::Channel(own, _) => own == channel,
            Self::Pattern { tracks, .. } => tracks.contains_key(channel),
        }
    }

    /// The cursor of one channel: of the last message that was delivered.
    pub(super) fn cursor_of(&mut self, channel: &ChannelName) -> Result<String, Status> {
        let track = self.track(channel)?;
        Ok(cursor::encode_hashed(track.hash, track.reader.position))
    }

    /// The cursor of the whole stream; empty where it would cover too many channels.
    pub(super) fn cursor(&self) -> String {
        match self {
            Self::Channel(_, track) => cursor::encode_hashed(track.hash, track.reader.position),
            Self::Pattern { pattern, tracks, unheard, .. } => {
                let tracks = tracks.values().map(|track| (track.hash, track.reader.position));
                let unheard = unheard.iter().map(|(hash, position)| (*hash, *position));
                let positions = tracks.chain(unheard).collect();
                cursor::encode_stream(pattern, &StreamCursor { positions }).unwrap_or_default()
            }
        }
    }
}
