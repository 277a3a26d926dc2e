//! Frames of a stream, in memory.

use bytes::{Buf as _, Bytes, BytesMut};
use prost::Message;

/// The next message that is there as a whole.
pub(crate) fn next<M: Message + Default>(buffer: &mut BytesMut) -> Option<M> {
    let length = u32::from_be_bytes(buffer.get(1..5)?.try_into().ok()?) as usize;
    if buffer.len() < 5 + length {
        return None;
    }
    buffer.advance(5);
    let frame: Bytes = buffer.split_to(length).freeze();
    Some(M::decode(frame).expect("a message of ours"))
}
