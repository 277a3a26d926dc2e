//! Messages in the form in which a protocol sends them.
//!
//! An operation that answers with many messages writes them into an [`Encoder`], as protobuf, and passes on the
//! [`Encoded`] that comes out. Messages that many streams send lie in a [`Block`], which is encoded once and knows
//! where each message begins, so that a stream can send a part of it. What the bytes look like is known here and
//! nowhere else: gRPC's frames, which Connect's binary streams have as well. JSON is made of a block when the first of
//! its streams asks, once for all of them.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use prost::Message;
use tonic::Status;

use super::prefix;

/// Encoded messages, one after the other. Cloning copies no bytes.
#[derive(Debug, Clone, Default)]
pub struct Encoded {
    frames: Bytes,
    /// Which of a block's messages they are; `None` where they are nobody else's.
    part: Option<Part>,
}

#[derive(Debug, Clone)]
struct Part {
    forms: Arc<Forms>,
    /// The frames of all of its messages.
    block: Bytes,
    messages: Range<usize>,
}

/// The messages of a block in other forms.
#[derive(Debug, Default)]
struct Forms {
    json: OnceLock<Result<Form, Status>>,
}

#[derive(Debug)]
struct Form {
    bytes: Bytes,
    ends: Vec<u32>,
}

/// Encodes messages one after the other.
#[derive(Debug, Default)]
pub struct Encoder(Vec<u8>);

/// Encoded messages that many streams share.
#[derive(Debug, Default)]
pub struct Block {
    bytes: Bytes,
    /// Where each message ends.
    ends: Vec<u32>,
    forms: Arc<Forms>,
}

/// Encodes the messages of a block. A block is far below 4 GiB.
#[derive(Debug, Default)]
pub struct BlockBuilder {
    encoder: Encoder,
    ends: Vec<u32>,
}

/// Whether they are the same messages, wherever they lie.
impl PartialEq for Encoded {
    fn eq(&self, other: &Self) -> bool {
        self.frames == other.frames
    }
}

impl Eq for Encoded {}

impl Encoded {
    /// Messages that no stream shares.
    fn alone(frames: Bytes) -> Self {
        Self { frames, part: None }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether both are the same bytes in memory.
    pub fn is_shared_with(&self, other: &Self) -> bool {
        self.frames.as_ptr() == other.frames.as_ptr() && self.frames.len() == other.frames.len()
    }

    /// The messages again, up to the first that is not an `M`: for the generated services, whose streams have messages,
    /// and for tests.
    pub fn messages<M: Message + Default>(&self) -> impl Iterator<Item = M> {
        let mut rest = self.clone();
        std::iter::from_fn(move || rest.take_first())
    }

    /// Takes the first message; `None` where there is none left, or it is no `M`.
    pub fn take_first<M: Message + Default>(&mut self) -> Option<M> {
        self.part = None;
        M::decode(take_protobuf(&mut self.frames)?).ok()
    }

    /// The protobuf of the only message; `None` where there is none.
    pub(crate) fn into_protobuf(mut self) -> Option<Bytes> {
        take_protobuf(&mut self.frames)
    }

    /// As frames of gRPC, which are those of Connect's binary streams as well.
    pub(crate) fn into_frames(self) -> Bytes {
        self.frames
    }

    /// As JSON in the same frames: `write` appends that of a message, which comes as protobuf. A block is written as a
    /// whole, and once.
    ///
    /// # Errors
    ///
    /// Those of `write`.
    pub(crate) fn json_frames(
        &self,
        write: impl Fn(Bytes, &mut Vec<u8>) -> Result<(), Status>,
    ) -> Result<Bytes, Status> {
        let Some(Part { forms, messages, block }) = &self.part else {
            return Ok(Form::of(self.frames.clone(), write)?.bytes);
        };
        let form = forms.json.get_or_init(|| Form::of(block.clone(), write)).as_ref().map_err(Status::clone)?;
        Ok(form.bytes.slice(between(&form.ends, messages)))
    }
}

impl Form {
    fn of(mut frames: Bytes, write: impl Fn(Bytes, &mut Vec<u8>) -> Result<(), Status>) -> Result<Self, Status> {
        let (mut bytes, mut ends) = (Vec::with_capacity(frames.len()), Vec::new());
        while let Some(protobuf) = take_protobuf(&mut frames) {
            let start = bytes.len();
            prefix::put(&mut bytes, 0);
            write(protobuf, &mut bytes)?;
            prefix::set_length(&mut bytes[start..]);
            ends.push(bytes.len() as u32);
        }
        bytes.shrink_to_fit();
        Ok(Self { bytes: bytes.into(), ends })
    }
}

/// Takes the message of the first frame.
fn take_protobuf(frames: &mut Bytes) -> Option<Bytes> {
    let frame = frames.split_to(prefix::first_end(frames)?);
    Some(frame.slice(prefix::BYTES..))
}

/// Where some of the messages lie that end there.
fn between(ends: &[u32], messages: &Range<usize>) -> Range<usize> {
    let starts = |index: usize| index.checked_sub(1).map_or(0, |before| ends[before] as usize);
    starts(messages.start)..starts(messages.end)
}

impl Encoder {
    /// How many bytes were encoded.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was encoded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Encodes a message.
    pub fn message(&mut self, message: &impl Message) {
        self.written(message.encoded_len(), |buffer| message.encode_raw(buffer));
    }

    /// Encodes a message of which `write` appends the protobuf, `length` bytes of it.
    pub fn written<T>(&mut self, length: usize, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        self.0.reserve(prefix::BYTES + length);
        prefix::put(&mut self.0, length);
        write(&mut self.0)
    }

    /// The same where the length is known afterwards only, and is `about` so much.
    pub fn written_about<T>(&mut self, about: usize, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        self.0.reserve(prefix::BYTES + about);
        let start = self.0.len();
        prefix::put(&mut self.0, 0);
        let written = write(&mut self.0);
        prefix::set_length(&mut self.0[start..]);
        written
    }

    /// Appends messages that are encoded already.
    pub fn append(&mut self, encoded: &Encoded) {
        self.0.extend_from_slice(&encoded.frames);
    }

    /// Hands out what was encoded, and begins again with nothing.
    pub fn take(&mut self) -> Encoded {
        Encoded::alone(std::mem::take(&mut self.0).into())
    }
}

impl Block {
    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many messages it has.
    pub fn messages(&self) -> usize {
        self.ends.len()
    }

    /// Shares the bytes of messages that are encoded alike, instead of its own. Says whether they are.
    pub fn share(&mut self, same: &Encoded) -> bool {
        let is_same = self.bytes == same.frames;
        if is_same {
            self.bytes = same.frames.clone();
            if let Some(part) = same.part.as_ref().filter(|part| part.block.len() == same.frames.len()) {
                self.forms = Arc::clone(&part.forms);
            }
        }
        is_same
    }

    /// All messages.
    pub fn all(&self) -> Encoded {
        self.part(0..self.ends.len())
    }

    /// Some of the messages: from one, by its index, to before another.
    ///
    /// # Panics
    ///
    /// When the range is not within the block.
    pub fn part(&self, messages: Range<usize>) -> Encoded {
        let frames = self.bytes.slice(between(&self.ends, &messages));
        Encoded { frames, part: Some(Part { forms: Arc::clone(&self.forms), block: self.bytes.clone(), messages }) }
    }
}

impl BlockBuilder {
    /// Makes room for so many bytes, and no more, where there is nothing yet.
    pub fn make_room(&mut self, bytes: usize) {
        self.encoder.0.reserve_exact(bytes);
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> usize {
        self.encoder.len()
    }

    /// How many messages there are.
    pub fn messages(&self) -> usize {
        self.ends.len()
    }

    /// Adds the message that `encode` encodes.
    pub fn push(&mut self, encode: impl FnOnce(&mut Encoder)) {
        encode(&mut self.encoder);
        self.ends.push(self.encoder.len() as u32);
    }

    /// Takes the last message out again, where there is one, as the first of another builder with room for so many
    /// bytes.
    pub fn split_last(&mut self, bytes: usize) -> Self {
        self.ends.pop();
        let start = self.ends.last().map_or(0, |end| *end as usize);
        let last = &self.encoder.0[start..];
        let mut other = Self::default();
        other.make_room(bytes.max(last.len()));
        if !last.is_empty() {
            other.encoder.0.extend_from_slice(last);
            other.ends.push(last.len() as u32);
        }
        self.encoder.0.truncate(start);
        other
    }

    /// The block, in a copy of its size, and begins the next in the same buffer, or in `room` of it if it is larger: a
    /// part of a large buffer would keep all of it alive.
    pub fn copy(&mut self, room: usize) -> Block {
        let bytes = Bytes::copy_from_slice(&self.encoder.0);
        self.encoder.0.clear();
        self.encoder.0.shrink_to(room);
        Block { bytes, ends: self.take_ends(), forms: Arc::default() }
    }

    /// The block, without a copy unless much of the buffer is empty, and begins the next in a buffer of its own.
    pub fn take(&mut self) -> Block {
        let mut buffer = std::mem::take(&mut self.encoder.0);
        if buffer.capacity() - buffer.len() > buffer.len() / 8 {
            buffer.shrink_to_fit();
        }
        Block { bytes: buffer.into(), ends: self.take_ends(), forms: Arc::default() }
    }

    fn take_ends(&mut self) -> Vec<u32> {
        // The next block mostly has as many.
        let room = Vec::with_capacity(self.ends.len());
        std::mem::replace(&mut self.ends, room)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn builder(sizes: &[usize]) -> BlockBuilder {
        let mut builder = BlockBuilder::default();
        for size in sizes {
            builder.push(|encoder| encoder.message(&"x".repeat(*size)));
        }
        builder
    }

    fn sizes(encoded: &Encoded) -> Vec<usize> {
        encoded.messages::<String>().map(|text| text.len()).collect()
    }

    #[test]
    fn a_block_is_cut_between_its_messages() {
        let block = builder(&[3, 0, 5, 7]).copy(1 << 10);
        assert_eq!(block.messages(), 4);
        assert_eq!(sizes(&block.all()), [3, 0, 5, 7]);
        assert_eq!(block.part(0..4), block.all());
        assert_eq!(sizes(&block.part(1..3)), [0, 5]);
        assert!(block.part(2..2).is_empty());
        let mut both = Encoder::default();
        both.append(&block.part(3..4));
        both.message(&"yy".to_owned());
        assert_eq!(sizes(&both.take()), [7, 2]);
        assert!(both.is_empty());
    }

    #[test]
    fn json_is_written_once_for_all_streams_of_a_block() {
        let count = AtomicUsize::new(0);
        let write = |protobuf: Bytes, buffer: &mut Vec<u8>| {
            count.fetch_add(1, Ordering::Relaxed);
            buffer.extend_from_slice(format!("{}", protobuf.len()).as_bytes());
            Ok(())
        };
        let block = builder(&[3, 0, 100]).take();
        let all = block.all().json_frames(write).expect("JSON");
        assert_eq!(&all[..], b"\0\0\0\0\x015\0\0\0\0\x010\0\0\0\0\x03102");
        let part = block.part(1..3).json_frames(write).expect("JSON");
        assert_eq!((part.as_ptr(), part.len()), (all[6..].as_ptr(), all.len() - 6), "it is a part of the same bytes");
        let mut alike = builder(&[3, 0, 100]).take();
        assert!(alike.share(&block.all()));
        assert_eq!(alike.all().json_frames(write).expect("JSON").as_ptr(), all.as_ptr());
        assert_eq!(count.load(Ordering::Relaxed), 3);
        // What is nobody else's is written each time.
        let mut encoder = Encoder::default();
        encoder.append(&block.part(0..1));
        let alone = encoder.take();
        assert_eq!(alone.json_frames(write).expect("JSON"), all[..6]);
        assert_eq!(count.load(Ordering::Relaxed), 4);
        let failing = builder(&[1]).take();
        let fail = |_: Bytes, _: &mut Vec<u8>| Err(Status::internal("x"));
        assert!(failing.all().json_frames(fail).is_err());
    }

    #[test]
    fn a_last_message_that_is_too_much_goes_to_the_next_block() {
        let mut builder = builder(&[3, 4, 100]);
        let mut next = builder.split_last(10);
        assert_eq!((sizes(&builder.take().all()), builder.messages()), (vec![3, 4], 0));
        assert_eq!(sizes(&next.take().all()), [100]);
        assert_eq!(BlockBuilder::default().split_last(10).messages(), 0);
    }

    #[test]
    fn a_message_is_the_same_however_it_is_written() {
        let text = "x".repeat(300);
        let mut encoders = [Encoder::default(), Encoder::default(), Encoder::default()];
        encoders[0].message(&text);
        encoders[1].written(text.encoded_len(), |buffer| text.encode_raw(buffer));
        encoders[2].written_about(1, |buffer| text.encode_raw(buffer));
        let [one, two, three] = encoders.map(|mut encoder| encoder.take().into_frames());
        assert!(one == two && two == three);
        assert_eq!(one[..prefix::BYTES], [0, 0, 0, 1, 47]);
    }
}
