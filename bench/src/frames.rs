//! A stream's body as a load generator reads it: gRPC's length prefixes are followed and the few fields that are checked are
//! picked out of the protobuf, without a copy or an allocation a message. A decoder that made objects of them would cost
//! more than what is measured.

/// Flag and length.
const PREFIX_BYTES: usize = 5;

/// What was read so far, and a message that has arrived in part.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    part: Vec<u8>,
}

/// A message of the stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen<'a> {
    /// Its sequence.
    pub(crate) sequence: u64,
    /// Its text.
    pub(crate) text: &'a [u8],
}

impl Frames {
    /// Takes in what arrived, and tells each message that is whole now. Other events are passed over.
    pub(crate) fn take(&mut self, mut bytes: &[u8], mut see: impl FnMut(Seen<'_>)) {
        while !self.part.is_empty() {
            let wanted = frame_bytes(&self.part).unwrap_or(PREFIX_BYTES);
            let (some, rest) = bytes.split_at(bytes.len().min(wanted - self.part.len()));
            self.part.extend_from_slice(some);
            bytes = rest;
            match frame_bytes(&self.part) {
                Some(whole) if whole <= self.part.len() => {
                    message(&self.part[PREFIX_BYTES..]).into_iter().for_each(&mut see);
                    self.part.clear();
                }
                _ if bytes.is_empty() => return,
                _ => {}
            }
        }
        while let Some(whole) = frame_bytes(bytes).filter(|whole| *whole <= bytes.len()) {
            message(&bytes[PREFIX_BYTES..whole]).into_iter().for_each(&mut see);
            bytes = &bytes[whole..];
        }
        self.part.extend_from_slice(bytes);
    }
}

/// The bytes of the frame that begins here, prefix included, where that much is known.
fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    let prefix = bytes.first_chunk::<PREFIX_BYTES>()?;
    Some(PREFIX_BYTES + u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize)
}

/// The message in a `StreamMessagesResponse`, if that is its event.
fn message(response: &[u8]) -> Option<Seen<'_>> {
    const EVENT_MESSAGE: u64 = 2;
    const TEXT: u64 = 3;
    const SEQUENCE: u64 = 9;
    let (number, Field::Bytes(mut rest)) = field(&mut &*response)? else { return None };
    if number != EVENT_MESSAGE {
        return None;
    }
    let mut seen = Seen::default();
    while let Some((number, value)) = field(&mut rest) {
        match (number, value) {
            (TEXT, Field::Bytes(text)) => seen.text = text,
            (SEQUENCE, Field::Number(sequence)) => seen.sequence = sequence,
            _ => {}
        }
    }
    Some(seen)
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The next field: its number and value. The contract has no fixed-width fields.
fn field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
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
mod tests {
    use prost::Message as _;
    use tidings::pb::{Message, Started, StreamMessagesResponse, message::Payload, stream_messages_response::Event};

    use super::*;

    fn framed(event: Event) -> Vec<u8> {
        let body = StreamMessagesResponse { event: Some(event) }.encode_to_vec();
        [&[0][..], &u32::try_from(body.len()).expect("short").to_be_bytes(), &body].concat()
    }

    #[test]
    fn messages_are_found_wherever_the_body_is_cut() {
        let mut body = framed(Event::Started(Started { cursor: "c".to_owned() }));
        for sequence in 1..=3 {
            let payload = Some(Payload::Text(format!("text {sequence}").repeat(40)));
            let message = Message { payload, sequence, message_id: "id".to_owned(), ..Message::default() };
            body.extend(framed(Event::Message(message)));
        }
        for size in 1..body.len() {
            let (mut frames, mut seen) = (Frames::default(), Vec::new());
            for piece in body.chunks(size) {
                frames.take(piece, |message| seen.push((message.sequence, message.text.len())));
            }
            assert_eq!(seen, [(1, 240), (2, 240), (3, 240)], "in pieces of {size}");
        }
    }
}
