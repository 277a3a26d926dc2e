//! A stream's positions, in one channel or in all that its pattern matches. They are the only truth about what was
//! delivered.

use std::collections::{HashMap, VecDeque};

use tidings::{
    broker::{
        Gap, GapReason, Head, Stored,
        history::{Absence, Next, Reader},
    },
    channel::{ChannelName, Pattern},
    cursor::{self, ChannelHash, Owner, StreamCursor, channel_hash, old_hash},
    limits::{CURSOR_CHANNELS, STREAM_CHANNELS},
    message::{DataSet, Epoch, Lineage, Mark, Position},
    metrics::{self, Limit},
    status,
};
use tidings_transport::Held;
use tonic::Status;

use crate::chunk::Run;

/// A stream's position in one channel.
#[derive(Debug, Clone)]
pub(super) struct Track {
    hash: ChannelHash,
    reader: Reader,
    /// The end of the channel when its head was last read.
    end: Position,
    /// Log time of the last message that was delivered, or of the channel's last when the stream was opened, ms; 0
    /// where neither is known.
    time_ms: i64,
    /// The stream's position then.
    timed: Position,
    /// Pushes may have been missed: the message at the position may have been replaced, which the log shows.
    doubted: bool,
    /// Messages before this time are skipped. Log time never goes back, so the first later one ends it.
    not_before_ms: Option<i64>,
}

/// A stream's positions, and the data set that the broker had when it was last asked.
#[derive(Debug)]
pub(super) struct Positions {
    tracks: Tracks,
    /// Channels that a pattern stream meets without having looked for them did not exist in it.
    data_set: Option<DataSet>,
}

#[derive(Debug)]
enum Tracks {
    Channel(ChannelName, Box<Track>),
    Pattern {
        pattern: Pattern,
        tracks: HashMap<ChannelName, Track>,
        unseen: Unseen,
        /// For channels that appear later.
        not_before_ms: Option<i64>,
        /// The channels, which count for the stream's caller.
        held: Option<Held>,
    },
}

/// Cursors of channels that have not been seen yet, and of which nothing but a hash is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Unseen(HashMap<Owner, Mark>);

impl Track {
    pub(super) fn new(channel: &ChannelName, reader: Reader, not_before_ms: Option<i64>) -> Self {
        let (hash, end) = (channel_hash(channel.as_str()), reader.position());
        Self { hash, reader, end, time_ms: 0, timed: Position::START, doubted: false, not_before_ms }
    }

    /// Of a stream that was opened when the channel's last message had this log time, ms. The message at its own
    /// position is no newer.
    pub(super) fn opened_at(self, time_ms: i64) -> Self {
        Self { time_ms, timed: self.reader.position(), ..self }
    }

    pub(super) fn hash(&self) -> ChannelHash {
        self.hash
    }

    pub(super) fn position(&self) -> Position {
        self.reader.position()
    }

    pub(super) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// See [`Reader::next`].
    pub(super) fn next(&mut self, head: Option<&Head>, absence: Absence) -> Next {
        self.reader.next(head, absence)
    }

    /// See [`Reader::settle`].
    pub(super) fn settle(&mut self, head: &Head, whole: bool) -> Option<Gap> {
        self.reader.settle(head, whole)
    }

    /// See [`Reader::rewrite`].
    pub(super) fn rewrite(&mut self, epoch: Epoch, from: i64) -> Option<Gap> {
        self.reader.rewrite(epoch, from)
    }

    /// See [`Reader::skip_to`].
    pub(super) fn skip_to(&mut self, resume: Position, reason: GapReason) -> Gap {
        self.reader.skip_to(resume, reason)
    }

    /// See [`Reader::resume_at`].
    pub(super) fn resume_at(&mut self, position: Position) {
        self.reader.resume_at(position);
    }

    /// The epoch that its sequence lies in, which the head does not list any more.
    pub(super) fn enter(&mut self, epoch: Epoch) {
        self.reader.follow(Position::new(epoch, self.reader.position().sequence), Lineage::Unknown);
    }

    /// Makes it what it was before it looked at a head.
    pub(super) fn restore(&mut self, before: Reader) {
        self.reader = before;
    }

    /// The end of the channel when its head was last read.
    pub(super) fn end(&self) -> Position {
        self.end
    }

    pub(super) fn set_end(&mut self, end: Position) {
        self.end = end;
    }

    /// Log time of the last message that was delivered, or of the channel's last when the stream was opened, ms; 0
    /// where neither is known.
    pub(super) fn time_ms(&self) -> i64 {
        self.time_ms
    }

    /// Whether the start that the client asked for is later than now: nothing that is lost until then matters.
    pub(super) fn starts_later(&self) -> bool {
        self.not_before_ms.is_some_and(|start_ms| chrono::Utc::now().timestamp_millis() < start_ms)
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
        0 < time_ms && time_ms < self.time_ms && self.timed == self.reader.position()
    }

    /// Whether the message at the position is older than one of this time, as far as both are known.
    pub(super) fn is_older_than(&self, time_ms: i64) -> bool {
        0 < self.time_ms && self.time_ms < time_ms && self.timed == self.reader.position()
    }

    /// Whether a message after this sequence, with this time, was written over what the stream once had there: Redis
    /// has gone back, and others wrote on within the epoch.
    pub(super) fn is_written_over(&self, after: i64, time_ms: i64) -> bool {
        after < self.reader.had() && 0 < self.time_ms && self.time_ms < time_ms
    }

    /// Whether this message, which the log has at the position, is newer than all that was delivered. Of one that was
    /// adopted the stream may have the time of its notice.
    pub(super) fn is_replaced_by(&self, stored: &Stored) -> bool {
        stored.adopted.is_none() && 0 < self.time_ms && self.time_ms < stored.time_ms()
    }

    /// Pushes may have been missed.
    pub(super) fn doubt(&mut self) {
        self.doubted = true;
    }

    /// Whether the reader went back to where it had been, which may be others' by now.
    pub(super) fn is_back(&self) -> bool {
        let (at, from) = (self.reader.position(), self.reader.fell_from());
        self.doubted && at.epoch == from.epoch && at.sequence <= from.sequence
    }

    /// Whether the log must show that the message at the position is still there: asked once after each doubt, and only
    /// where all that was delivered up to there has a time to compare.
    pub(super) fn take_doubt(&mut self) -> bool {
        let at = self.reader.position();
        let is_known = self.time_ms > 0 && at.sequence > 0 && (self.timed == at || self.is_back());
        std::mem::take(&mut self.doubted) && is_known
    }

    /// Moves to the end of a run that was delivered, unless that is where it is.
    pub(super) fn follow(&mut self, run: &Run) {
        if run.last > self.reader.position().sequence {
            self.reader.follow(run.end(), run.lineage);
            (self.timed, self.time_ms) = (run.end(), run.time_ms);
        }
    }

    fn cursor(&self) -> String {
        cursor::encode_hashed(self.hash, self.reader.mark())
    }
}

impl Unseen {
    /// Takes cursors, of which a later one counts.
    pub(super) fn new(marks: impl IntoIterator<Item = (Owner, Mark)>) -> Self {
        Self(marks.into_iter().collect())
    }

    pub(super) fn has(&self, owner: &Owner) -> bool {
        self.0.contains_key(owner)
    }

    /// The mark of a channel that is seen now.
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
    pub(super) fn of_channel(channel: &ChannelName, track: Track, data_set: Option<DataSet>) -> Self {
        Self { tracks: Tracks::Channel(channel.clone(), Box::new(track)), data_set }
    }

    /// Those of a pattern stream. Messages before `not_before_ms` are skipped in channels that appear later.
    pub(super) fn of_pattern(
        pattern: &Pattern,
        (tracks, unseen, held): (HashMap<ChannelName, Track>, Unseen, Option<Held>),
        not_before_ms: Option<i64>,
        data_set: Option<DataSet>,
    ) -> Self {
        Self { tracks: Tracks::Pattern { pattern: pattern.clone(), tracks, unseen, not_before_ms, held }, data_set }
    }

    /// The pattern, of a stream that has one.
    pub(super) fn pattern(&self) -> Option<&Pattern> {
        match &self.tracks {
            Tracks::Channel(..) => None,
            Tracks::Pattern { pattern, .. } => Some(pattern),
        }
    }

    pub(super) fn data_set(&self) -> Option<DataSet> {
        self.data_set
    }

    /// Remembers which data set the broker has, where it says so.
    pub(super) fn set_data_set(&mut self, data_set: Option<DataSet>) {
        self.data_set = data_set.or(self.data_set);
    }

    /// All channels, in name order.
    pub(super) fn channels(&self) -> VecDeque<ChannelName> {
        match &self.tracks {
            Tracks::Channel(channel, _) => VecDeque::from([channel.clone()]),
            Tracks::Pattern { tracks, .. } => {
                let mut channels: Vec<_> = tracks.keys().cloned().collect();
                channels.sort_unstable();
                channels.into()
            }
        }
    }

    /// Pushes of all channels may have been missed.
    pub(super) fn doubt(&mut self) {
        match &mut self.tracks {
            Tracks::Channel(_, track) => track.doubt(),
            Tracks::Pattern { tracks, .. } => tracks.values_mut().for_each(Track::doubt),
        }
    }

    /// The position in a channel. One that is new to a pattern stream starts at the client's cursor, or without one at
    /// its first message.
    pub(super) fn track(&mut self, channel: &ChannelName) -> Result<&mut Track, Status> {
        match &mut self.tracks {
            Tracks::Channel(_, track) => Ok(track),
            Tracks::Pattern { tracks, unseen, not_before_ms, held, .. } => {
                if !tracks.contains_key(channel) {
                    if tracks.len() >= STREAM_CHANNELS {
                        return Err(too_wide());
                    }
                    if let Some(held) = held {
                        held.grow(1)?;
                    }
                    let reader = match unseen.take(channel) {
                        Some(mark) => Reader::resume(mark),
                        None => Reader::default().in_data_set(self.data_set),
                    };
                    tracks.insert(channel.clone(), Track::new(channel, reader, *not_before_ms));
                }
                tracks.get_mut(channel).ok_or_else(status::internal)
            }
        }
    }

    /// Sets the position in a channel that had none yet.
    pub(super) fn begin(&mut self, channel: &ChannelName, track: Track) -> Result<(), Status> {
        *self.track(channel)? = track;
        Ok(())
    }

    /// Whether a run has only messages of plain programs, on a channel without a history: such channels may be many,
    /// and a pattern stream remembers nothing of them.
    pub(super) fn is_fleeting(&self, run: &Run) -> bool {
        let Tracks::Pattern { tracks, unseen, .. } = &self.tracks else { return false };
        run.before == Position::START
            && run.last == 0
            && !tracks.contains_key(&run.channel)
            && !unseen.contains(&run.channel)
    }

    /// Before which time messages of a channel are skipped.
    pub(super) fn not_before_ms(&mut self, channel: &ChannelName, is_fleeting: bool) -> Result<Option<i64>, Status> {
        match &self.tracks {
            Tracks::Pattern { not_before_ms, .. } if is_fleeting => Ok(*not_before_ms),
            _ => Ok(self.track(channel)?.not_before_ms),
        }
    }

    /// Whether the stream has a position in a channel.
    pub(super) fn knows(&self, channel: &ChannelName) -> bool {
        match &self.tracks {
            Tracks::Channel(own, _) => own == channel,
            Tracks::Pattern { tracks, .. } => tracks.contains_key(channel),
        }
    }

    /// The channels of a pattern stream that have a history as far as it knows.
    pub(super) fn with_history(&self) -> impl Iterator<Item = &ChannelName> {
        let tracks = match &self.tracks {
            Tracks::Channel(..) => None,
            Tracks::Pattern { tracks, .. } => Some(tracks),
        };
        let tracks = tracks.into_iter().flatten();
        tracks.filter(|(_, track)| track.reader.position().epoch.is_some()).map(|(channel, _)| channel)
    }

    /// The cursor of one channel: of the last message that was delivered.
    pub(super) fn cursor_of(&mut self, channel: &ChannelName) -> Result<String, Status> {
        Ok(self.track(channel)?.cursor())
    }

    /// The cursor of the whole stream; empty where it would cover too many channels.
    pub(super) fn cursor(&self) -> String {
        match &self.tracks {
            Tracks::Channel(_, track) => track.cursor(),
            Tracks::Pattern { pattern, tracks, unseen, .. } => {
                if tracks.len() + unseen.0.len() > CURSOR_CHANNELS {
                    return String::new();
                }
                let marks = tracks.iter().map(|(channel, track)| (channel.clone(), track.reader.mark()));
                let mut channels: Vec<_> = marks.collect();
                channels.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
                let unnamed = unseen.0.iter().map(|(owner, mark)| (*owner, *mark)).collect();
                let cursor = StreamCursor { data_set: self.data_set, channels, unnamed };
                cursor::encode_stream(pattern, &cursor).unwrap_or_default()
            }
        }
    }
}

/// What a stream ends with whose pattern covers more channels than one may.
pub(super) fn too_wide() -> Status {
    metrics::limited(Limit::WidePatterns);
    status::pattern_too_wide("pattern", STREAM_CHANNELS)
}
