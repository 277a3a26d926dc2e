//! Chunks of what was read of a log. All its messages are one channel's and follow one another, which spares what has
//! to be checked of each message on the live side.

use std::sync::Arc;

use tidings::{
    broker::{Head, Stored},
    channel::ChannelName,
    cursor::ChannelHash,
    envelope::{Decoder, EnvelopeRef},
    limits::LOG_CHUNK_BYTES,
    message::{Epoch, Lineage, Position},
};
use tidings_transport::encoding::{BlockBuilder, Encoder};

use super::{Chunk, Entry, Run, series::Series};

/// Encodes consecutive messages of one epoch, from just after a position up to a sequence. The head says where the
/// epoch comes from.
pub(crate) fn of_log(
    channel: &ChannelName,
    hash: ChannelHash,
    (at, to): (Position, i64),
    messages: &[Stored],
    head: Option<&Head>,
) -> Vec<Arc<Chunk>> {
    let lineage = |epoch: Option<_>| head.zip(epoch).map_or(Lineage::Unknown, |(head, epoch)| head.lineage(epoch));
    let mut decoder = Decoder::default();
    let mut series = Series::new(hash, at.epoch, lineage(at.epoch));
    let mut chunks = Chunks::new(channel, at, lineage(at.epoch));
    for stored in messages {
        let sequence = stored.sequence;
        if sequence > to || sequence != chunks.at.sequence + 1 {
            break;
        }
        let envelope = decoder.read(&stored.json, 0);
        let epoch = envelope.claim().map_or(at.epoch, |claim| Some(claim.epoch));
        // A run is of one epoch. Where the head's list goes back as far, it ends with the epoch already.
        if epoch != at.epoch && head.is_some_and(|head| head.has_forgotten(sequence)) {
            break;
        }
        if !series.is_of(hash, epoch) {
            series = Series::new(hash, epoch, lineage(epoch));
        }
        let time_ms = stored.adopted.map_or(envelope.time_ms(), |adopted| adopted.time_ms);
        chunks.push(sequence, time_ms, |encoder| {
            series.encode(encoder, channel, &envelope.parts(), sequence, sequence);
        });
    }
    chunks.seal();
    chunks.done
}

/// Whether one of these messages follows a position within its epoch: then the log is of the position's history.
pub(crate) fn leads_on(at: Position, messages: &[Stored]) -> bool {
    let next = messages.iter().find(|stored| stored.sequence > at.sequence);
    let next = next.filter(|stored| stored.sequence == at.sequence + 1);
    next.is_some_and(|next| at.epoch.is_some() && epoch_of(next) == at.epoch)
}

/// The epoch that a message of the log says it is of.
pub(crate) fn epoch_of(stored: &Stored) -> Option<Epoch> {
    EnvelopeRef::read(&stored.json, 0).claim().map(|claim| claim.epoch)
}

/// Messages that follow one another, cut into chunks that HTTP/2 can send in one frame.
struct Chunks<'a> {
    channel: &'a ChannelName,
    /// The positions before the chunk and after what it has so far.
    before: Position,
    at: Position,
    time_ms: i64,
    lineage: Lineage,
    /// Becomes the chunk's block as it is, so it has room for no more than a chunk may have.
    block: BlockBuilder,
    entries: Vec<Entry>,
    done: Vec<Arc<Chunk>>,
}

impl<'a> Chunks<'a> {
    fn new(channel: &'a ChannelName, at: Position, lineage: Lineage) -> Self {
        let (block, entries) = (BlockBuilder::default(), Vec::new());
        Self { channel, before: at, at, time_ms: 0, lineage, block, entries, done: Vec::new() }
    }

    /// Adds the next message.
    fn push(&mut self, sequence: i64, time_ms: i64, encode: impl FnOnce(&mut Encoder)) {
        if self.block.messages() == 0 {
            self.block.make_room(LOG_CHUNK_BYTES);
        }
        let before = self.block.bytes();
        self.block.push(encode);
        let mut bytes = self.block.bytes() - before;
        if before > 0 && self.block.bytes() > LOG_CHUNK_BYTES {
            let next = self.block.split_last(LOG_CHUNK_BYTES);
            self.seal();
            self.block = next;
            bytes = self.block.bytes();
        }
        self.at.sequence = sequence;
        self.time_ms = time_ms;
        self.entries.push(Entry { run: 0, sequence, time_ms });
        // The next is mostly as long.
        if self.block.bytes() + bytes > LOG_CHUNK_BYTES {
            self.seal();
        }
    }

    fn seal(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        // The next mostly has as many.
        let entries = Vec::with_capacity(self.entries.len());
        let run = Run {
            channel: self.channel.clone(),
            before: self.before,
            last: self.at.sequence,
            time_ms: self.time_ms,
            lineage: self.lineage,
            after_loss: false,
        };
        self.before = self.at;
        self.done.push(Arc::new(Chunk {
            block: self.block.take(),
            runs: vec![run],
            entries: std::mem::replace(&mut self.entries, entries),
        }));
    }
}

#[cfg(test)]
mod tests {
    use tidings::{broker::history::EpochStart, channel::Names, cursor::channel_hash};

    use super::*;
    use crate::chunk::{Builder, Numbered};

    fn epoch(number: u64) -> Position {
        Position { epoch: Epoch::from_u64(number), sequence: 0 }
    }

    /// Messages of a log with texts of these sizes.
    fn log(sizes: impl IntoIterator<Item = usize>) -> Vec<Stored> {
        let one = |(sequence, size)| {
            let (id, text, epoch) =
                (uuid::Uuid::from_u128(sequence as u128), "x".repeat(size), 1 + sequence as u64 / 500);
            let date = format!("2026-11-24T12:00:00.{:03}Z", sequence / 100);
            let json = format!(
                r#"{{"id":"{id}","message":"{text}","date":"{date}","sequence":{sequence},"epoch":"{epoch:016x}"}}"#
            );
            Stored { sequence, json: json.into(), adopted: None }
        };
        (1..).zip(sizes).map(one).collect()
    }

    /// The same bytes as the live side makes, whatever their sizes, in chunks of which each continues the one before.
    fn assert_cut(messages: &[Stored]) {
        let channel = Names::new("tidings", "").expect("names").parse("c").expect("a name");
        let hash = channel_hash("c");
        let chunks = of_log(&channel, hash, (epoch(1), i64::MAX), messages, None);
        let (mut builder, mut at) = (Builder::default(), epoch(1));
        for stored in messages {
            let envelope = tidings::envelope::EnvelopeRef::read(&stored.json, 0);
            let position = Position { epoch: envelope.claim().map(|claim| claim.epoch), sequence: stored.sequence };
            let numbered = Numbered { before: at, sequence: stored.sequence, position, time_ms: envelope.time_ms() };
            builder.push(&channel, hash, numbered, &envelope.parts(), Default::default);
            at.sequence = stored.sequence;
        }
        let whole = |chunks: &[Arc<Chunk>]| {
            let mut encoder = Encoder::default();
            chunks.iter().for_each(|chunk| encoder.append(&chunk.block.all()));
            encoder.take()
        };
        assert_eq!(whole(&chunks), whole(&builder.finish()));
        let mut at = epoch(1);
        for chunk in &chunks {
            let [run] = &chunk.runs[..] else { panic!("one channel, one run") };
            assert_eq!(run.before, at);
            at = run.end();
            let last = chunk.entries.last().expect("no chunk is empty");
            assert_eq!((last.sequence, last.time_ms), (run.last, run.time_ms));
            assert_eq!(chunk.block.messages(), chunk.entries.len());
            assert!(chunk.block.bytes() <= LOG_CHUNK_BYTES || chunk.entries.len() == 1, "a frame of HTTP/2");
            assert_eq!(run.last - run.before.sequence, chunk.entries.len() as i64);
        }
        assert_eq!(at.sequence, messages.len() as i64);
        for two in chunks.windows(2) {
            let next = two[1].block.part(0..1).len();
            assert!(two[0].block.bytes() + next.max(300) > LOG_CHUNK_BYTES, "it would have had room");
        }
    }

    #[test]
    fn chunks_are_full_and_fit_a_frame_of_http_2() {
        assert_cut(&[]);
        assert_cut(&log([100; 1_000]));
        assert_cut(&log((0..1_000).map(|i| i % 7)));
        assert_cut(&log([10, 20_000, 10, 16_000, 100, 40_000, 40_000, 16_100, 16_150, 16_200, 16_250, 16_384, 5]));
        for size in 8_000..8_400 {
            assert_cut(&log([size; 3]));
        }
    }

    #[test]
    fn it_ends_where_a_message_is_missing_or_the_epoch_does() {
        let channel = Names::new("tidings", "").expect("names").parse("c").expect("a name");
        let mut messages = log([1; 9]);
        let last = |messages: &[Stored], to| {
            of_log(&channel, channel_hash("c"), (epoch(1), to), messages, None).last().map(|chunk| chunk.runs[0].last)
        };
        assert_eq!(last(&messages, 9), Some(9));
        assert_eq!(last(&messages, 4), Some(4));
        messages.remove(5);
        assert_eq!(last(&messages, 9), Some(5));
        assert_eq!(last(&messages[1..], 9), None, "it does not follow");
    }

    /// Only the messages themselves say which epochs they are of.
    #[test]
    fn what_is_older_than_the_list_of_epochs_is_cut_where_an_epoch_ends() {
        let channel = Names::new("tidings", "").expect("names").parse("c").expect("a name");
        let head = |first| Head {
            epochs: vec![EpochStart { epoch: Epoch::from_u64(7).expect("not 0"), first, previous_end: 0 }],
            last: 1_200,
            first: 1,
            time_ms: 0,
            keeps_history: true,
            losses: Vec::new(),
            data_set: None,
            adopted: Position::START,
        };
        let messages = log([1; 1_200]);
        let ends = |at: Position, head: &Head| {
            let unread = &messages[at.sequence as usize..];
            let chunks = of_log(&channel, channel_hash("c"), (at, 1_200), unread, Some(head));
            chunks.last().map(|chunk| chunk.runs[0].end())
        };
        let position = |number, sequence| Position { sequence, ..epoch(number) };
        assert_eq!(ends(epoch(1), &head(1_100)), Some(position(1, 499)));
        assert_eq!(ends(position(2, 499), &head(1_100)), Some(position(2, 999)));
        assert_eq!(ends(position(1, 499), &head(1_100)), None, "another epoch follows");
        assert_eq!(ends(position(1, 499), &head(1)), Some(position(1, 1_200)), "the list says otherwise");
        let leads_on = |at: Position| super::leads_on(at, &messages[at.sequence as usize..]);
        assert!(leads_on(position(1, 9)) && leads_on(position(2, 499)) && !leads_on(position(1, 499)));
        assert!(!leads_on(position(9, 9)) && !leads_on(Position::START));
        assert!(super::leads_on(position(1, 9), &messages) && !super::leads_on(position(1, 9), &messages[10..]));
    }
}
