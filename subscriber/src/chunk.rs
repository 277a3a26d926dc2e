//! Chunks of messages: what one read of the live connection brought, or a page of a log, encoded once for all streams.

use std::sync::Arc;

use tidings::{
    channel::ChannelName,
    cursor::ChannelHash,
    envelope::Parts,
    limits::CHUNK_BYTES,
    message::{Lineage, Position},
};
use tidings_transport::encoding::{Block, BlockBuilder};

mod log;
mod series;

pub(crate) use log::{epoch_of, leads_on, of_log};
use series::Series;

/// Messages in the order of their arrival, ready to be sent as they are.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// The messages, encoded as events of a stream.
    pub(crate) block: Block,
    /// What the chunk has of each channel; one run for a channel.
    pub(crate) runs: Vec<Run>,
    /// One for each message of the block.
    pub(crate) entries: Vec<Entry>,
}

/// The messages of one channel in a chunk: consecutive, in one epoch.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) channel: ChannelName,
    /// The position of a reader that takes all of it.
    pub(crate) before: Position,
    /// The last sequence in it; that of `before` when no message is numbered.
    pub(crate) last: i64,
    /// Log time of the last numbered message, ms; 0 when there is none.
    pub(crate) time_ms: i64,
    /// Where its epoch comes from.
    pub(crate) lineage: Lineage,
    /// Its epoch is the channel's first, and messages are known to be lost before it.
    pub(crate) after_loss: bool,
}

impl Run {
    /// The position of a reader that has taken it.
    pub(crate) fn end(&self) -> Position {
        Position { epoch: self.before.epoch, sequence: self.last }
    }
}

/// One message of a chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// Which of the runs it belongs to.
    pub(crate) run: u32,
    /// 0 for a message without a number.
    pub(crate) sequence: i64,
    /// Log time, ms.
    pub(crate) time_ms: i64,
}

/// Where a message belongs in its channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbered {
    /// What it follows.
    pub(crate) before: Position,
    /// 0 where it has no number.
    pub(crate) sequence: i64,
    /// The position in its cursor.
    pub(crate) position: Position,
    /// Log time, ms: its publish time, unless a plain program wrote that.
    pub(crate) time_ms: i64,
}

/// Where an epoch comes from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Origin {
    pub(crate) lineage: Lineage,
    /// It is its channel's first, and messages are known to be lost before it.
    pub(crate) after_loss: bool,
}

/// Makes chunks out of messages as they come.
#[derive(Debug)]
pub(crate) struct Builder {
    block: BlockBuilder,
    series: Series,
    runs: Vec<Run>,
    entries: Vec<Entry>,
    done: Vec<Arc<Chunk>>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            block: BlockBuilder::default(),
            series: Series::new(ChannelHash::from_bytes([0; ChannelHash::BYTES]), None, Lineage::Unknown),
            runs: Vec::new(),
            entries: Vec::new(),
            done: Vec::new(),
        }
    }
}

impl Builder {
    /// Adds a message of a channel. Where its epoch comes from is asked only where that is news.
    pub(crate) fn push(
        &mut self,
        channel: &ChannelName,
        hash: ChannelHash,
        numbered: Numbered,
        parts: &Parts<'_>,
        origin: impl Fn() -> Origin,
    ) {
        let Numbered { before, sequence, position, time_ms } = numbered;
        let run = match self.run_for(channel, before) {
            Some(run) => run,
            None => {
                let Origin { lineage, after_loss } = origin();
                let (channel, last) = (channel.clone(), before.sequence);
                self.runs.push(Run { channel, before, last, time_ms: 0, lineage, after_loss });
                self.runs.len() - 1
            }
        };
        if sequence > 0 {
            self.runs[run].last = sequence;
            self.runs[run].time_ms = time_ms;
        }
        if !self.series.is_of(hash, position.epoch) {
            self.series = Series::new(hash, position.epoch, origin().lineage);
        }
        self.block.push(|encoder| self.series.encode(encoder, channel, parts, sequence, position.sequence));
        self.entries.push(Entry { run: run as u32, sequence, time_ms });
        if self.block.bytes() >= CHUNK_BYTES {
            self.seal(true);
        }
    }

    /// Bytes of all chunks that are not finished yet.
    pub(crate) fn bytes(&self) -> usize {
        self.done.iter().map(|chunk| chunk.block.bytes()).sum::<usize>() + self.block.bytes()
    }

    /// The run that the message continues. Where the channel has one that it does not continue, the chunk ends: within
    /// a chunk the messages of a channel are consecutive.
    fn run_for(&mut self, channel: &ChannelName, before: Position) -> Option<usize> {
        let run = self.runs.iter().position(|run| run.channel == *channel)?;
        let Run { before: start, last, .. } = &self.runs[run];
        if start.epoch == before.epoch && *last == before.sequence {
            return Some(run);
        }
        self.seal(false);
        None
    }

    fn seal(&mut self, full: bool) {
        if self.entries.is_empty() {
            return;
        }
        // Where one is full, the next mostly has as many.
        let room = if full { self.entries.len() } else { 0 };
        self.done.push(Arc::new(Chunk {
            block: self.block.copy(2 * CHUNK_BYTES),
            runs: std::mem::take(&mut self.runs),
            entries: std::mem::replace(&mut self.entries, Vec::with_capacity(room)),
        }));
    }

    /// Ends the last chunk and returns all of them.
    pub(crate) fn finish(&mut self) -> Vec<Arc<Chunk>> {
        self.seal(false);
        std::mem::take(&mut self.done)
    }
}
