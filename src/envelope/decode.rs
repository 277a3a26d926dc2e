//! Reading an envelope, ours or a stranger's.

use bytes::Bytes;
use uuid::Uuid;

use crate::message::{Epoch, Payload};

/// A message as it stood on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Its `id`, or a new one where that was missing or no UUID.
    pub id: Uuid,
    /// What it carries.
    pub payload: Payload,
    /// Those that our rules allow, and the originals of an odd `id` or `date`.
    pub attributes: Vec<(String, String)>,
    /// Empty for none.
    pub ordering_key: String,
    /// Its `date`, or the time of arrival where that was missing or unreadable; ms since 1970.
    pub time_ms: i64,
    /// The place it says it has. Whether to believe it is the reader's to decide.
    pub claim: Option<Claim>,
}

/// A place that an envelope says it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// `epoch`
    pub epoch: Epoch,
    /// `sequence`, at least 1
    pub sequence: i64,
}

/// Reads whatever stood on a channel at `arrival_ms`.
pub fn decode(bytes: &[u8], arrival_ms: i64) -> Envelope {
    let _ = bytes;
    Envelope {
        id: Uuid::now_v7(),
        payload: Payload::Data(Bytes::new()),
        attributes: Vec::new(),
        ordering_key: String::new(),
        time_ms: arrival_ms,
        claim: None,
    }
}
