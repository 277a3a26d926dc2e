//! The JSON that is on the Redis channel and in the log: written for our own messages, read from anyone's.
//!
//! Writing comes in two parts, because number, time and epoch are known only to the broker at the moment of publishing:
//! an [`Encoded`] message has a head and a tail, and the [`stamp`](Encoded::stamp) goes in between. Reading never
//! fails: a text that is no envelope of ours is a payload as a whole.

mod decode;
mod encode;
mod envelope_ref;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

pub use decode::{Claim, Envelope, ORIGINAL_DATE, ORIGINAL_ID, Plain, RESERVED_ATTRIBUTES, SUBJECT, decode};
pub use encode::{Encoded, InvalidJson, STAMP_BYTES, Stamp, Unnumbered, check_json, encode, format_time, len};
pub use envelope_ref::{Content, Decoder, EnvelopeRef, Parts};

/// Whether a JSON string is its own raw text: it has no escape, no end and nothing that JSON forbids.
fn is_plain(text: &[u8]) -> bool {
    // Without an early end, so that the compiler makes wide steps of it.
    !text.iter().fold(false, |odd, byte| odd | (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\'))
}
