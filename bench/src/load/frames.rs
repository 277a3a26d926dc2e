//! A stream's body as the load generator reads it: gRPC's length prefixes are followed, and text and sequence are
//! picked out of the protobuf and compared, without a copy or an allocation a message. A decoder that made objects of
//! them would cost more than what is measured.

use anyhow::{Context as _, ensure};

use super::text::{self, Pattern};

/// Flag and length.
const PREFIX_BYTES: usize = 5;
const EVENT_MESSAGE: u64 = 2;
const EVENT_GAP: u64 = 3;
const EVENT_CAUGHT_UP: u64 = 4;
const TEXT: u64 = 3;
const SEQUENCE: u64 = 9;

/// What was read so far, and a frame that has arrived in part.
#[derive(Debug)]
pub(crate) struct Frames {
    part: Vec<u8>,
    text: Pattern,
    order: Order,
    layout: Layout,
    /// Messages so far.
    pub(crate) seen: u64,
    /// The counters of texts in no order, since they were last taken.
    pub(crate) counters: Vec<u64>,
    /// The stream has said that it is at the live end.
    pub(crate) caught_up: bool,
}

/// What is known of the messages of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// They are numbered from 1, as their texts are.
    Numbered,
    /// They come from a plain program and are not numbered, but for their texts.
    Plain,
    /// They are numbered from 1, but their texts may have overtaken each other before they were numbered.
    Shuffled,
}

/// Where the fields were in the message before: most often the next one is as long, and they are there again.
#[derive(Debug, Default)]
struct Layout {
    frame_bytes: usize,
    text: usize,
    /// After its tag.
    sequence: usize,
}

impl Frames {
    /// Nothing has come yet.
    pub(crate) fn new(order: Order) -> Self {
        let (text, layout) = (Pattern::new(text::first()), Layout::default());
        Self { part: Vec::new(), text, order, layout, seen: 0, counters: Vec::new(), caught_up: false }
    }

    /// What was said of its messages.
    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// Takes in what arrived.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> anyhow::Result<()> {
        while !self.part.is_empty() {
            let wanted = frame_bytes(&self.part).unwrap_or(PREFIX_BYTES);
            let (some, rest) = bytes.split_at(bytes.len().min(wanted - self.part.len()));
            self.part.extend_from_slice(some);
            bytes = rest;
            if frame_bytes(&self.part) == Some(self.part.len()) {
                let mut part = std::mem::take(&mut self.part);
                self.frame(&part)?;
                part.clear();
                self.part = part;
            } else if bytes.is_empty() {
                return Ok(());
            }
        }
        while let Some(whole) = frame_bytes(bytes).filter(|whole| *whole <= bytes.len()) {
            self.frame(&bytes[..whole])?;
            bytes = &bytes[whole..];
        }
        self.part.extend_from_slice(bytes);
        Ok(())
    }

    fn frame(&mut self, frame: &[u8]) -> anyhow::Result<()> {
        if !self.is_next(frame) {
            return self.parse(frame);
        }
        self.seen += 1;
        self.text.step();
        Ok(())
    }

    /// The fast path: everything where it was before.
    fn is_next(&self, frame: &[u8]) -> bool {
        let Layout { frame_bytes, text, sequence } = self.layout;
        if frame.len() != frame_bytes || frame[text..].get(..text::TEXT_BYTES) != Some(self.text.bytes()) {
            return false;
        }
        let tag = (SEQUENCE << 3) as u8;
        self.order == Order::Plain
            || frame[sequence - 1] == tag && varint(&mut &frame[sequence..]).is_some_and(|n| n == self.seen + 1)
    }

    /// The general decoder, which finds where things are.
    fn parse(&mut self, frame: &[u8]) -> anyhow::Result<()> {
        let offset = |rest: &[u8]| frame.len() - rest.len();
        let mut response = frame.get(PREFIX_BYTES..).context("no body")?;
        let (event, value) = field(&mut response).context("not an event")?;
        ensure!(event != EVENT_GAP, "a gap after {} messages", self.seen);
        self.caught_up |= event == EVENT_CAUGHT_UP;
        let (EVENT_MESSAGE, Field::Bytes(mut rest)) = (event, value) else { return Ok(()) };
        let (mut found, mut number) = (None, 0);
        let mut layout = Layout { frame_bytes: frame.len(), ..Layout::default() };
        while !rest.is_empty() {
            let before = offset(rest);
            match field(&mut rest).context("not protobuf")? {
                (TEXT, Field::Bytes(text)) => (found, layout.text) = (Some(text), offset(rest) - text.len()),
                (SEQUENCE, Field::Number(sequence)) => (number, layout.sequence) = (sequence, before + 1),
                _ => {}
            }
        }
        let found = found.context("a message without text")?;
        self.seen += 1;
        let wanted = if self.order == Order::Plain { 0 } else { self.seen };
        ensure!(number == wanted, "sequence {number} where {wanted} is next");
        if self.order == Order::Shuffled {
            // The layout stays unknown, so that each comes this way.
            self.counters.push(text::counter(found)?);
            return Ok(());
        }
        text::same(&self.text, found)?;
        self.text.step();
        self.layout = layout;
        Ok(())
    }
}

/// The bytes of the frame that begins here, prefix included, where that much is known.
pub(crate) fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    let prefix = bytes.first_chunk::<PREFIX_BYTES>()?;
    Some(PREFIX_BYTES + u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize)
}

/// A field's value.
#[derive(Debug)]
pub(crate) enum Field<'a> {
    /// Of a number.
    Number(u64),
    /// Of anything with a length.
    Bytes(&'a [u8]),
}

/// The next field: its number and value. The contract has no fixed-width fields.
pub(crate) fn field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let tag = varint(bytes)?;
    let value = varint(bytes)?;
    match tag & 7 {
        0 => Some((tag >> 3, Field::Number(value))),
        2 => {
            let (some, rest) = bytes.split_at_checked(usize::try_from(value).ok()?)?;
            *bytes = rest;
            Some((tag >> 3, Field::Bytes(some)))
        }
        _ => None,
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests;
