//! The prefix that gRPC puts before each message: whether it is compressed, and its length ("Length-Prefixed-Message"
//! of gRPC over HTTP/2).

use tidings::{limits::DECODE_BYTES, status};
use tonic::Status;

/// How long it is.
pub(super) const BYTES: usize = 5;

/// Appends the prefix of a message of this length, which is below 4 GiB.
pub(super) fn put(buffer: &mut Vec<u8>, length: usize) {
    buffer.push(0);
    buffer.extend_from_slice(&(length as u32).to_be_bytes());
}

/// Writes the length into the prefix of a frame that is whole.
pub(super) fn set_length(frame: &mut [u8]) {
    let length = (frame.len() - BYTES) as u32;
    frame[1..BYTES].copy_from_slice(&length.to_be_bytes());
}

/// The length of a request's message. Fails where it is compressed, where the prefix is none, and where a request may
/// not have so much.
pub(super) fn read(prefix: [u8; BYTES]) -> Result<usize, Status> {
    let [flag, length @ ..] = prefix;
    match flag {
        0 => {}
        1 => return Err(status::compressed()),
        flag => return Err(status::misframed(flag)),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > DECODE_BYTES { Err(status::undecodable(DECODE_BYTES)) } else { Ok(length) }
}

/// Where the first of our own frames ends.
pub(super) fn first_end(frames: &[u8]) -> Option<usize> {
    let [_, length @ ..] = *frames.first_chunk::<BYTES>()?;
    let end = BYTES + u32::from_be_bytes(length) as usize;
    (end <= frames.len()).then_some(end)
}
