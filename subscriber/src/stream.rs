//! One stream: catch up from the log, follow live, and go back to the log when pushes are missing or the ring went on.
//!
//! The stream's positions are the only truth about what was delivered. A chunk is handed out whole, as it is, when
//! every run in it continues the stream's positions; otherwise it is cut, or the log is read first.

mod aside;

mod catch_up;
mod events;
mod living;
mod lost;
mod open;
mod positions;
mod start;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use tidings::{
    broker::{Error, Gap, GapReason, Shared},
    channel::ChannelName,
    cursor,
    message::{DataSet, Lineage, Mark, Position},
    metrics,
    pb::stream_messages_response::Event,
    status::{self, Call, reason},
};
use tonic::Status;

use self::positions::{Positions, Track};
pub(crate) use self::{
    catch_up::{holds, lifetime_ms},
    events::Events,
    open::Source,
};
use crate::{
    feed::{Follower, Found, Item, Rewrite},
    frames::{self, Chunk, Run},
    hub::Hub,
    pages::{Ahead, Counted, Pages},
    request::Start,
};

/// The state of one stream, without its timers.
pub(crate) struct Session {
    broker: Shared,
    hub: Arc<Hub>,
    follower: Follower,
    positions: Positions,
    pages: Arc<Pages>,
    mode: metrics::Stream,
    counted: Counted,
    /// Frames that were taken and not handed out yet.
    ready: Option<Bytes>,
    ahead: Option<Arc<Ahead>>,
    /// Channels that must be read from the log before the stream goes on live.
    behind: VecDeque<ChannelName>,
    /// Those of them whose heads were read and are elsewhere than the stream.
    news: VecDeque<ChannelName>,
    /// Channels that were heard to have another history in the place of the stream's: the log tells from where on.
    rewritten: HashSet<ChannelName>,
    /// Channels of a pattern that could not be read when the stream was opened: where it starts in them.
    unstarted: HashMap<ChannelName, Start>,
    /// What the chunk at the follower's index needed of the log.
    chunk: Need,
    /// The registry may know channels that the stream has not heard of.
    unlisted: bool,
    fail_on_gap: bool,
    /// The gaps at which it ends, where it must not go on behind them.
    refused: Vec<Gap>,
    /// How long head and log outlive the last message, ms.
    lifetime_ms: i64,
}

/// How far the log was read for a chunk that does not fit the stream's positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// It was not asked for.
    Nothing,
    /// It is being read.
    Log,
    /// It was read after the chunk had come: what still does not fit won't.
    Settled,
}

/// What the live side has for a stream.
enum Live {
    /// Frames to send.
    Frames(Bytes),
    /// The log must be read first.
    CatchUp,
}

/// How a run fits a stream's position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// It is what comes next.
    Next,
    /// Its messages up to this sequence were delivered already.
    After(i64),
    /// Messages before it are missing, or it belongs to another epoch.
    Apart,
    /// It is newer than what the stream has beyond it: other messages have taken that place.
    Newer,
    /// A channel without a history, of which nothing has to be remembered.
    Fleeting,
    /// Its numbered messages are not the channel's: an old epoch's, or beyond the head.
    Foreign,
    /// The stream's start in the channel is not known yet: it is read from there when it is.
    Unstarted,
}

impl Session {
    fn poll_live(&mut self, cx: &mut Context<'_>) -> Poll<Result<Live, Status>> {
        loop {
            match self.follower.peek(cx) {
                Found::Nothing => return Poll::Pending,
                Found::Behind => {
                    let rewrites = self.follower.rewind();
                    self.look_into_the_log();
                    return Poll::Ready(self.go_back(&rewrites));
                }
                Found::Item(Item::Refused(reason)) => {
                    return Poll::Ready(Err(status::from_broker(Error::Unavailable(reason.to_string()), Call::Read)));
                }
                Found::Item(Item::Break) => {
                    metrics::repair();
                    self.pass();
                    self.look_into_the_log();
                    return Poll::Ready(Ok(Live::CatchUp));
                }
                Found::Item(Item::Look(channel, end)) => {
                    self.pass();
                    if self.unstarted.contains_key(&channel) || self.positions.track(&channel)?.reader.position != end {
                        metrics::repair();
                        self.behind.push_back(channel);
                        return Poll::Ready(Ok(Live::CatchUp));
                    }
                }
                Found::Item(Item::Rewritten(rewrite)) => {
                    self.pass();
                    if self.stands_in(&rewrite)? {
                        self.behind.push_back(rewrite.channel.clone());
                        return Poll::Ready(self.go_back(&[rewrite]));
                    }
                }
                Found::Item(Item::Chunk(chunk)) => match self.take(&chunk)? {
                    Some(frames) if frames.is_empty() => self.pass(),
                    Some(frames) => {
                        self.pass();
                        return Poll::Ready(Ok(Live::Frames(frames)));
                    }
                    None => return Poll::Ready(Ok(Live::CatchUp)),
                },
            }
        }
    }

    /// Whether the stream stands in what is not there any more, and not in what has taken its place.
    fn stands_in(&mut self, rewrite: &Rewrite) -> Result<bool, Status> {
        if !self.positions.knows(&rewrite.channel) {
            return Ok(false);
        }
        let track = self.positions.track(&rewrite.channel)?;
        let is_newer = rewrite.time_ms > 0 && track.time_ms > rewrite.time_ms;
        let is_beyond = track.reader.position.sequence > rewrite.to;
        Ok(track.reader.position.epoch == Some(rewrite.epoch) && !is_newer && !is_beyond)
    }

    /// Goes back to where histories were written anew, and says what it had of them; the log has what follows.
    fn go_back(&mut self, rewrites: &[Arc<Rewrite>]) -> Result<Live, Status> {
        let mut gaps = BytesMut::new();
        for rewrite in rewrites {
            let Rewrite { channel, epoch, from, .. } = &**rewrite;
            if self.stands_in(rewrite)?
                && let Some(gap) = self.positions.track(channel)?.reader.rewrite(*epoch, *from)
            {
                self.report(&mut gaps, channel, &gap)?;
            }
        }
        Ok(if gaps.is_empty() { Live::CatchUp } else { Live::Frames(gaps.freeze()) })
    }

    fn pass(&mut self) {
        self.follower.advance();
        self.chunk = Need::Nothing;
    }

    /// Every channel may have lost pushes.
    fn look_into_the_log(&mut self) {
        self.behind = self.positions.channels();
        self.behind.extend(self.unstarted.keys().cloned());
        self.news.clear();
        self.unlisted = self.positions.is_pattern();
        self.chunk = Need::Nothing;
    }

    /// What of a chunk is to be sent; `None` when the log must be read first.
    fn take(&mut self, chunk: &Chunk) -> Result<Option<Bytes>, Status> {
        let mut fits = Vec::with_capacity(chunk.runs.len());
        for run in &chunk.runs {
            fits.push(if self.positions.is_fleeting(run) {
                Fit::Fleeting
            } else if !self.unstarted.is_empty() && self.unstarted.contains_key(&run.channel) {
                Fit::Unstarted
            } else {
                let present = self.positions.data_set;
                fit(self.positions.track(&run.channel)?, run, present)
            });
        }
        if fits.iter().any(|fit| matches!(fit, Fit::Apart | Fit::Newer)) {
            if self.chunk != Need::Settled {
                metrics::repair();
                self.chunk = Need::Log;
                let apart = chunk.runs.iter().zip(&fits).filter(|(_, fit)| matches!(fit, Fit::Apart | Fit::Newer));
                self.rewritten =
                    apart.clone().filter(|(_, fit)| **fit == Fit::Newer).map(|(run, _)| run.channel.clone()).collect();
                self.behind = apart.map(|(run, _)| run.channel.clone()).collect();
                self.news.clear();
                return Ok(None);
            }
            return self.take_apart(chunk, fits).map(Some);
        }
        self.deliver(chunk, &fits, None).map(Some)
    }

    /// Takes a chunk with runs that the log could not connect: names the gap where the head confirms the run, and
    /// passes over what it does not.
    fn take_apart(&mut self, chunk: &Chunk, mut fits: Vec<Fit>) -> Result<Bytes, Status> {
        let mut gaps = BytesMut::new();
        for (run, fit) in chunk.runs.iter().zip(&mut fits) {
            if *fit == Fit::Newer {
                *fit = Fit::Foreign;
            }
            if *fit != Fit::Apart {
                continue;
            }
            let track = self.positions.track(&run.channel)?;
            let at = track.reader.position;
            let confirmed = run.before.epoch == track.end.epoch && run.before.sequence < track.end.sequence;
            *fit = Fit::Foreign;
            if confirmed && at.epoch == run.before.epoch && at.sequence < run.before.sequence {
                let gap = track.reader.skip_to(run.before, GapReason::NotRetained);
                *fit = Fit::Next;
                self.report(&mut gaps, &run.channel, &gap)?;
            }
        }
        self.deliver(chunk, &fits, Some(gaps))
    }

    /// Cuts what fits out of a chunk and moves the positions; the whole chunk is shared, not copied.
    fn deliver(&mut self, chunk: &Chunk, fits: &[Fit], before: Option<BytesMut>) -> Result<Bytes, Status> {
        let mut whole = before.is_none() && fits.iter().all(|fit| matches!(fit, Fit::Next | Fit::Fleeting));
        for (run, fit) in chunk.runs.iter().zip(fits) {
            whole &=
                *fit != Fit::Unstarted && self.positions.not_before_ms(&run.channel, *fit == Fit::Fleeting)?.is_none();
        }
        let frames = if whole {
            metrics::delivered(chunk.entries.len());
            chunk.bytes.clone()
        } else {
            self.cut(chunk, fits, before.unwrap_or_default())?
        };
        for (run, fit) in chunk.runs.iter().zip(fits) {
            if matches!(fit, Fit::Fleeting | Fit::Foreign | Fit::Unstarted) {
                continue;
            }
            let track = self.positions.track(&run.channel)?;
            if run.last > track.reader.position.sequence {
                track.reader.follow(run.end(), run.lineage);
                (track.timed, track.time_ms) = (run.end(), run.time_ms);
            }
        }
        Ok(frames)
    }

    fn cut(&mut self, chunk: &Chunk, fits: &[Fit], mut frames: BytesMut) -> Result<Bytes, Status> {
        let now_ms = chrono::Utc::now().timestamp_millis();
        let (mut start, mut delivered) = (0, 0);
        // Where the messages of each run lead.
        let mut at: Vec<i64> = chunk.runs.iter().map(|run| run.before.sequence).collect();
        for entry in &chunk.entries {
            let (end, run) = (entry.end as usize, entry.run as usize);
            let (fit, channel) = (fits[run], &chunk.runs[run].channel);
            if fit == Fit::Unstarted {
                start = end;
                continue;
            }
            let is_new = match fit {
                Fit::Next | Fit::Fleeting => true,
                Fit::After(delivered) => entry.sequence == 0 || entry.sequence > delivered,
                Fit::Apart | Fit::Newer | Fit::Foreign | Fit::Unstarted => entry.sequence == 0,
            };
            let is_due = match entry.sequence {
                // A plain program's own date says nothing: what counts is when it was heard.
                0 => {
                    let start_ms = self.positions.not_before_ms(channel, fit == Fit::Fleeting)?;
                    start_ms.is_none_or(|start_ms| now_ms >= start_ms)
                }
                _ => self.positions.track(channel)?.is_due(entry.time_ms),
            };
            at[run] = entry.sequence.max(at[run]);
            if is_new && is_due {
                let frame = &chunk.bytes[start..end];
                let stands_elsewhere = match fit {
                    Fit::After(delivered) => at[run] < delivered,
                    Fit::Foreign => true,
                    _ => false,
                };
                match entry.sequence == 0 && stands_elsewhere {
                    true => frames::put_with_cursor(&mut frames, frame, self.positions.cursor_of(channel)?),
                    false => frames.extend_from_slice(frame),
                }
                delivered += 1;
            }
            start = end;
        }
        metrics::delivered(delivered);
        Ok(frames.freeze())
    }

    /// Writes a gap, or ends the stream where the client asked for that.
    fn report(&mut self, frames: &mut BytesMut, channel: &ChannelName, gap: &Gap) -> Result<(), Status> {
        tracing::debug!(channel = channel.as_str(), ?gap, "gap");
        metrics::gap(gap.reason);
        // The reader stands where the gap ends.
        let lineage = self.positions.lineage_of(channel)?;
        if self.fail_on_gap {
            self.refused.push(*gap);
            // One that is followed by another ends the stream together with it: behind the last of them it goes on.
            return if gap.more { Ok(()) } else { Err(refusal(channel, &self.refused, lineage)) };
        }
        frames::put(frames, frames::gap(channel, gap, lineage));
        Ok(())
    }

    fn is_pattern(&self) -> bool {
        self.positions.is_pattern()
    }

    /// An event with the stream's cursor.
    fn event(&self, make: impl FnOnce(String) -> Event) -> Bytes {
        frames::frame(make(self.positions.cursor()))
    }
}

/// How a stream ends that must not go on behind gaps, which lie at one place.
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
        format!("messages {missing} of {channel} can't be had any more; `cursor` in the details goes on behind them");
    let cursor = cursor::encode(channel, Mark { position: gap.resume, lineage });
    let metadata = [("channel", channel.to_string()), ("cursor", cursor)];
    status::out_of_range(reason, text, metadata)
}

fn fit(track: &Track, run: &Run, present: Option<DataSet>) -> Fit {
    let at = track.reader.position;
    // From the beginning, sequence 1 of any epoch follows.
    let same = at.epoch == run.before.epoch || (at == Position::START && run.before.sequence == 0);
    match at.sequence.cmp(&run.before.sequence) {
        _ if !same || (at == Position::START && (run.after_loss || track.reader.doubts_first(present))) => Fit::Apart,
        // The ring may still hold what was told to be lost.
        _ if track.reader.awaits_epoch() => Fit::Foreign,
        // Or what has others in its place since: log time never steps back.
        _ if run.last > at.sequence && track.is_newer_than(run.time_ms) => Fit::Apart,
        _ if run.last > 0 && run.last <= at.sequence && track.is_older_than(run.time_ms) => Fit::Newer,
        std::cmp::Ordering::Equal => Fit::Next,
        std::cmp::Ordering::Greater => Fit::After(at.sequence),
        std::cmp::Ordering::Less => Fit::Apart,
    }
}
