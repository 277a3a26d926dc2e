//! What a stream sends, and where that leads: chunks, whole or in part, move its positions, and so do gaps.

use tidings::{
    broker::{Gap, GapReason},
    channel::ChannelName,
    cursor,
    message::{Lineage, Mark},
    metrics,
    pb::stream_messages_response::Event,
    status::{self, reason},
};
use tidings_transport::encoding::{Encoded, Encoder};
use tonic::Status;

use self::cut::Cut;
use super::{
    fit::Fit,
    positions::{Positions, Track},
};
use crate::{chunk::Chunk, event};

mod cut;

/// A stream's positions, and what becomes of gaps.
pub(super) struct Delivery {
    positions: Positions,
    fail_on_gap: bool,
    /// The gaps at which the stream ends, where it must not continue after them.
    refused: Vec<Gap>,
}

impl Delivery {
    /// From these positions on. Where it fails on gaps, the first one ends the stream.
    pub(super) fn new(positions: Positions, fail_on_gap: bool) -> Self {
        Self { positions, fail_on_gap, refused: Vec::new() }
    }

    pub(super) fn positions(&self) -> &Positions {
        &self.positions
    }

    pub(super) fn positions_mut(&mut self) -> &mut Positions {
        &mut self.positions
    }

    /// The position in one channel.
    pub(super) fn track(&mut self, channel: &ChannelName) -> Result<&mut Track, Status> {
        self.positions.track(channel)
    }

    /// How the runs of a chunk fit. `is_unstarted` says of which channels the start is not known yet.
    pub(super) fn fits(
        &mut self,
        chunk: &Chunk,
        is_unstarted: impl Fn(&ChannelName) -> bool,
    ) -> Result<Vec<Fit>, Status> {
        let present = self.positions.data_set();
        let fits = chunk.runs.iter().map(|run| {
            Ok(if self.positions.is_fleeting(run) {
                Fit::Fleeting
            } else if is_unstarted(&run.channel) {
                Fit::Unstarted
            } else {
                Fit::of(run, self.positions.track(&run.channel)?, present)
            })
        });
        fits.collect()
    }

    /// Delivers a chunk of one run that comes next.
    pub(super) fn deliver_next(&mut self, chunk: &Chunk) -> Result<Encoded, Status> {
        self.deliver(chunk, &[Fit::Next], Encoder::default())
    }

    /// Delivers of a chunk what fits, after what is encoded already, and moves the positions. A chunk that is delivered
    /// whole is shared, not copied.
    pub(super) fn deliver(&mut self, chunk: &Chunk, fits: &[Fit], before: Encoder) -> Result<Encoded, Status> {
        let mut whole = before.is_empty() && fits.iter().all(|fit| matches!(fit, Fit::Next | Fit::Fleeting));
        for (run, fit) in chunk.runs.iter().zip(fits) {
            whole &=
                *fit != Fit::Unstarted && self.positions.not_before_ms(&run.channel, *fit == Fit::Fleeting)?.is_none();
        }
        let encoded = if whole {
            metrics::delivered(chunk.entries.len());
            chunk.block.all()
        } else {
            self.cut(chunk, fits, before)?
        };
        for (run, fit) in chunk.runs.iter().zip(fits) {
            if !matches!(fit, Fit::Fleeting | Fit::Foreign | Fit::Unstarted) {
                self.positions.track(&run.channel)?.follow(run);
            }
        }
        Ok(encoded)
    }

    /// Delivers a chunk with runs that the log could not connect: reports the gap where the head confirms the run, and
    /// skips what it does not confirm.
    pub(super) fn deliver_apart(&mut self, chunk: &Chunk, mut fits: Vec<Fit>) -> Result<Encoded, Status> {
        let mut before = Encoder::default();
        for (run, fit) in chunk.runs.iter().zip(&mut fits) {
            if *fit == Fit::Newer {
                *fit = Fit::Foreign;
            }
            if *fit != Fit::Apart {
                continue;
            }
            let track = self.positions.track(&run.channel)?;
            let (at, end) = (track.position(), track.end());
            let confirmed = run.before.epoch == end.epoch && run.before.sequence < end.sequence;
            *fit = Fit::Foreign;
            if confirmed && at.epoch == run.before.epoch && at.sequence < run.before.sequence {
                let gap = track.skip_to(run.before, GapReason::NotRetained);
                *fit = Fit::Next;
                self.report(&mut before, &run.channel, &gap)?;
            }
        }
        self.deliver(chunk, &fits, before)
    }

    /// Encodes what fits of a chunk.
    fn cut(&mut self, chunk: &Chunk, fits: &[Fit], before: Encoder) -> Result<Encoded, Status> {
        let now_ms = chrono::Utc::now().timestamp_millis();
        let mut cut = Cut::new(&chunk.block, before);
        // The sequence of each run up to which its messages lead.
        let mut at: Vec<i64> = chunk.runs.iter().map(|run| run.before.sequence).collect();
        for (index, entry) in chunk.entries.iter().enumerate() {
            let run = entry.run as usize;
            let (fit, channel) = (fits[run], &chunk.runs[run].channel);
            if fit == Fit::Unstarted {
                continue;
            }
            let is_new = match fit {
                Fit::Next | Fit::Fleeting => true,
                Fit::After(delivered) => entry.sequence == 0 || entry.sequence > delivered,
                Fit::Apart | Fit::Newer | Fit::Foreign | Fit::Unstarted => entry.sequence == 0,
            };
            let is_due = match entry.sequence {
                // A plain program's own date says nothing: what counts is when its message arrived.
                0 => {
                    let start_ms = self.positions.not_before_ms(channel, fit == Fit::Fleeting)?;
                    start_ms.is_none_or(|start_ms| now_ms >= start_ms)
                }
                _ => self.positions.track(channel)?.is_due(entry.time_ms),
            };
            at[run] = entry.sequence.max(at[run]);
            if !(is_new && is_due) {
                continue;
            }
            let is_elsewhere = match fit {
                Fit::After(delivered) => at[run] < delivered,
                Fit::Foreign => true,
                _ => false,
            };
            match entry.sequence == 0 && is_elsewhere {
                true => cut.take_with_cursor(index, self.positions.cursor_of(channel)?),
                false => cut.take(index),
            }
        }
        metrics::delivered(cut.messages());
        Ok(cut.finish())
    }

    /// Reports a gap, or ends the stream where the client asked for that.
    pub(super) fn report(&mut self, encoder: &mut Encoder, channel: &ChannelName, gap: &Gap) -> Result<(), Status> {
        tracing::debug!(channel = channel.as_str(), ?gap, "gap");
        metrics::gap(gap.reason);
        // The reader's position is the gap's end.
        let lineage = self.positions.track(channel)?.reader().lineage();
        if self.fail_on_gap {
            self.refused.push(*gap);
            // One that is followed by another ends the stream together with it, and the cursor is after both.
            return if gap.more { Ok(()) } else { Err(refusal(channel, &self.refused, lineage)) };
        }
        event::encode(encoder, event::gap(channel, gap, lineage));
        Ok(())
    }

    /// Reports a gap that the log shows, unless it is none of the client's business: what was lost before the start
    /// that it asked for. Where the log had nothing as new when the stream was opened, what is lost later was published
    /// since.
    pub(super) fn report_lost(
        &mut self,
        encoder: &mut Encoder,
        channel: &ChannelName,
        gap: &Gap,
    ) -> Result<(), Status> {
        if self.positions.track(channel)?.starts_later() {
            return Ok(());
        }
        self.report(encoder, channel, gap)
    }

    /// An event with the stream's cursor.
    pub(super) fn event(&self, make: impl FnOnce(String) -> Event) -> Encoded {
        event::encoded(make(self.positions.cursor()))
    }
}

/// How a stream ends that must not continue after gaps, which follow one another.
fn refusal(channel: &ChannelName, gaps: &[Gap], lineage: Lineage) -> Status {
    let Some(gap) = gaps.last() else { return status::internal() };
    let reason = match gap.reason {
        GapReason::Trimmed => reason::TRIMMED,
        GapReason::EpochChanged => reason::EPOCH_CHANGED,
        GapReason::NotRetained => reason::NOT_RETAINED,
    };
    let missing = gaps.iter().map(|gap| match gap.last_missing {
        0 => format!("from {} on", gap.first_missing),
        last => format!("{} to {last}", gap.first_missing),
    });
    let missing = missing.collect::<Vec<_>>().join(" and ");
    let text =
        format!("messages {missing} of {channel} can't be had any more; `cursor` in the details continues after them");
    let cursor = cursor::encode(channel, Mark { position: gap.resume, lineage });
    let metadata = [("channel", channel.to_string()), ("cursor", cursor)];
    status::out_of_range(reason, text, metadata)
}
