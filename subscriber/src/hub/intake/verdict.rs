//! What a claim comes to, and what distinguishes messages.

use tidings::message::Position;

/// What distinguishes a message from another at its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    /// Log time, ms; 0 where it is not known.
    pub(super) time_ms: i64,
    /// Some of its bytes, where its id is random; 0 where they are not known.
    pub(super) bits: u64,
}

impl Mark {
    /// The bytes of a message's JSON that distinguish it: the last eight digits of its id, in the layout that we write.
    pub(super) fn bits(json: &[u8]) -> u64 {
        json.get(35..43).and_then(|digits| digits.try_into().ok()).map_or(0, u64::from_ne_bytes)
    }
}

/// The last message that was received in an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) struct Last {
    pub(super) position: Position,
    pub(super) mark: Mark,
}

/// What a claim comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The message has the position that it claims.
    Believed,
    /// A plain program's, whatever it claims.
    Plain,
    /// The same, of an epoch that the channel never had.
    Foreign,
    /// It had the position once, and Redis lost it.
    Lost,
    /// It was given out in an epoch beyond what this history has of it. It is known to be lost below `from`.
    Late { from: i64 },
    /// A second copy.
    Copy,
    /// The log, which would decide, does not have it.
    Unlogged,
    /// The epoch was rewritten from here on.
    Rewritten { from: i64 },
    /// What the head had lost is back, and the claim continues after that.
    Restored,
    /// The head must be asked.
    AskHead,
    /// The log must be asked.
    AskLog,
}
