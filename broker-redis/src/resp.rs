//! An incremental RESP3 decoder for the live connection (see Redis's "serialization protocol specification").
//!
//! Two things that a general decoder does not give: payloads are slices of what one read brought, not copies; and a
//! bulk string that is larger than a message may be is passed over as it arrives, without being kept.

use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};
use tidings::limits::{READ_MESSAGE_BYTES, REPLY_DEPTH, REPLY_ELEMENTS, REPLY_LINE_BYTES};

/// One reply or push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// A simple or bulk string, or another scalar as text.
    Text(Bytes),
    /// An error.
    Error(Bytes),
    /// An integer.
    Int(i64),
    /// Nothing.
    Null,
    /// An array, a set, or a map as keys and values in turn.
    List(Vec<Reply>),
    /// Something that was not asked for.
    Push(Vec<Reply>),
    /// The index of a string that was passed over, with its size; what followed it in its push is missing.
    Oversized(usize),
}

impl Reply {
    /// A string or a number as text; empty for anything else.
    pub(super) fn word(&self) -> String {
        match self {
            Self::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Self::Int(number) => number.to_string(),
            _ => String::new(),
        }
    }
}

/// The bytes are not RESP3, or not what Redis would send us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Redis sent what is not understood")]
pub(super) struct Malformed;

/// Bytes in, replies out.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: BytesMut,
    /// Bytes to pass over before anything else.
    skip: usize,
    /// Elements of a push to pass over after them.
    rest: usize,
    passed_over: Option<Reply>,
}

/// A reply whose strings are ranges of the buffer.
enum Item {
    Text(Range<usize>),
    Error(Range<usize>),
    Int(i64),
    Null,
    List(Vec<Item>),
    Push(Vec<Item>),
}

enum Parsed {
    /// A whole reply.
    Item(Item),
    /// The buffer ends too early.
    Incomplete,
    /// A string that is too large begins at `data`: its size, the items before it, how many elements follow.
    Oversized { bytes: usize, data: usize, before: Vec<Item>, rest: usize },
}

impl Decoder {
    /// Where the next read goes.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next push of a message, where it is next and there as a whole: its channel and its payload. Most replies are
    /// such pushes, and this way they need no list of items.
    pub(super) fn next_message(&mut self) -> Option<(Bytes, Bytes)> {
        const MESSAGE: &[u8] = b">3\r\n$7\r\nmessage\r\n";
        if self.skip > 0 || self.rest > 0 || self.passed_over.is_some() || !self.buffer.starts_with(MESSAGE) {
            return None;
        }
        let channel = short_bulk(&self.buffer, MESSAGE.len())?;
        let payload = short_bulk(&self.buffer, channel.end + 2)?;
        let frame = self.buffer.split_to(payload.end + 2).freeze();
        Some((frame.slice(channel), frame.slice(payload)))
    }

    /// The next reply that is there as a whole.
    pub(super) fn next(&mut self) -> Result<Option<Reply>, Malformed> {
        loop {
            let skipped = self.skip.min(self.buffer.len());
            self.buffer.advance(skipped);
            self.skip -= skipped;
            if self.skip > 0 {
                return Ok(None);
            }
            if self.rest == 0
                && let Some(reply) = self.passed_over.take()
            {
                return Ok(Some(reply));
            }
            let mut at = 0;
            match parse(&self.buffer, &mut at, 0)? {
                Parsed::Incomplete => return Ok(None),
                Parsed::Item(item) => {
                    let frame = self.buffer.split_to(at).freeze();
                    if self.rest == 0 {
                        return Ok(Some(item.into_reply(&frame)));
                    }
                    self.rest -= 1;
                }
                Parsed::Oversized { bytes, data, before, rest } => {
                    let frame = self.buffer.split_to(data).freeze();
                    self.skip = bytes + 2;
                    if self.rest > 0 {
                        self.rest -= 1;
                        continue;
                    }
                    let mut items: Vec<_> = before.into_iter().map(|item| item.into_reply(&frame)).collect();
                    items.push(Reply::Oversized(bytes));
                    self.passed_over = Some(Reply::Push(items));
                    self.rest = rest;
                }
            }
        }
    }
}

impl Item {
    fn into_reply(self, frame: &Bytes) -> Reply {
        let list = |items: Vec<Self>| items.into_iter().map(|item| item.into_reply(frame)).collect();
        match self {
            Self::Text(range) => Reply::Text(frame.slice(range)),
            Self::Error(range) => Reply::Error(frame.slice(range)),
            Self::Int(number) => Reply::Int(number),
            Self::Null => Reply::Null,
            Self::List(items) => Reply::List(list(items)),
            Self::Push(items) => Reply::Push(list(items)),
        }
    }
}

/// The range of a bulk string that begins here and is whole; `None` leaves it to [`parse`].
fn short_bulk(buffer: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = buffer.get(at..)?.strip_prefix(b"$")?;
    let digits = rest.iter().take(8).take_while(|byte| byte.is_ascii_digit()).count();
    let length = rest[..digits].iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
    if digits == 0 || length > READ_MESSAGE_BYTES || !rest[digits..].starts_with(b"\r\n") {
        return None;
    }
    let start = at + 1 + digits + 2;
    buffer.get(start + length..)?.starts_with(b"\r\n").then_some(start..start + length)
}

fn parse(buffer: &[u8], at: &mut usize, depth: usize) -> Result<Parsed, Malformed> {
    let Some(line) = line(buffer, *at)? else { return Ok(Parsed::Incomplete) };
    let kind = buffer[*at];
    let text = *at + 1..line;
    *at = line + 2;
    let item = match kind {
        b'+' | b',' | b'(' | b'#' => Item::Text(text),
        b'-' => Item::Error(text),
        b':' => Item::Int(number(&buffer[text])?),
        b'_' => Item::Null,
        b'$' | b'=' | b'!' => return bulk(buffer, at, kind, number(&buffer[text])?, depth),
        b'*' | b'~' | b'>' => return list(buffer, at, kind, number(&buffer[text])?, depth),
        b'%' => return list(buffer, at, kind, number(&buffer[text])?.saturating_mul(2), depth),
        _ => return Err(Malformed),
    };
    Ok(Parsed::Item(item))
}

fn bulk(buffer: &[u8], at: &mut usize, kind: u8, length: i64, depth: usize) -> Result<Parsed, Malformed> {
    if length == -1 {
        return Ok(Parsed::Item(Item::Null));
    }
    let bytes = usize::try_from(length).map_err(|_| Malformed)?;
    if bytes > READ_MESSAGE_BYTES {
        // Only pushes carry other programs' bytes.
        let begins_push = depth <= 1;
        return match begins_push {
            true => Ok(Parsed::Oversized { bytes, data: *at, before: Vec::new(), rest: 0 }),
            false => Err(Malformed),
        };
    }
    let end = *at + bytes;
    if buffer.len() < end + 2 {
        return Ok(Parsed::Incomplete);
    }
    if &buffer[end..end + 2] != b"\r\n" {
        return Err(Malformed);
    }
    let range = *at..end;
    *at = end + 2;
    Ok(Parsed::Item(if kind == b'!' { Item::Error(range) } else { Item::Text(range) }))
}

fn list(buffer: &[u8], at: &mut usize, kind: u8, length: i64, depth: usize) -> Result<Parsed, Malformed> {
    if length == -1 {
        return Ok(Parsed::Item(Item::Null));
    }
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= REPLY_ELEMENTS && depth < REPLY_DEPTH)
        .ok_or(Malformed)?;
    let mut items = Vec::with_capacity(length.min(16));
    for index in 0..length {
        match parse(buffer, at, depth + 1)? {
            Parsed::Item(item) => items.push(item),
            Parsed::Incomplete => return Ok(Parsed::Incomplete),
            Parsed::Oversized { bytes, data, .. } if kind == b'>' && depth == 0 => {
                return Ok(Parsed::Oversized { bytes, data, before: items, rest: length - index - 1 });
            }
            Parsed::Oversized { .. } => return Err(Malformed),
        }
    }
    Ok(Parsed::Item(if kind == b'>' { Item::Push(items) } else { Item::List(items) }))
}

/// Where the line that begins at `at` ends; `None` when its end is not there yet.
fn line(buffer: &[u8], at: usize) -> Result<Option<usize>, Malformed> {
    let rest = buffer.get(at..).unwrap_or_default();
    match rest.iter().take(REPLY_LINE_BYTES).position(|byte| *byte == b'\r') {
        Some(0) => Err(Malformed),
        Some(end) => match rest.get(end + 1) {
            Some(b'\n') => Ok(Some(at + end)),
            Some(_) => Err(Malformed),
            None => Ok(None),
        },
        None if rest.len() >= REPLY_LINE_BYTES => Err(Malformed),
        None => Ok(None),
    }
}

fn number(text: &[u8]) -> Result<i64, Malformed> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Malformed)
}

#[cfg(test)]
mod tests;
