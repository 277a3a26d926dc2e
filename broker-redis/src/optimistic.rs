//! The optimistic append, for a publisher that knows how its own last call left a channel: it writes each message's
//! JSON whole, date and number as well, and the script has only to compare, append and push.
//!
//! Every call has a name, which it leaves in the head. An optimistic call names the one before it; where the head names
//! another, or anything else is not as expected, it writes nothing, and the full script is taken. So a call may also
//! follow one that has no answer yet: it is carried out after that one or not at all.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use tidings::{
    broker::{Published, Retention},
    channel::ChannelName,
    envelope::Stamp,
    limits::{OPTIMISTIC_CLOCK_AGE, RUN_BYTES, RUN_MESSAGES},
    message::Epoch,
};

use super::{
    call,
    group::{Batch, Group},
    keys::Keys,
    resp_connection, script,
};

/// The words of a call beside its messages.
const OTHER_ARGUMENTS: usize = 19;
/// About what those come to, with the longest names.
const CALL_BYTES: usize = 2 << 10;
/// What surrounds a message in a call.
const MESSAGE_FRAME_BYTES: usize = 16;

/// Redis's clock, as an answer gave it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    ms: i64,
    received: Instant,
}

impl Clock {
    /// It is so late now.
    pub(super) fn at(ms: i64) -> Self {
        Self { ms, received: Instant::now() }
    }

    fn at_instant(self, now: Instant) -> Option<i64> {
        let age = now.saturating_duration_since(self.received);
        (age < OPTIMISTIC_CLOCK_AGE).then(|| self.ms + millis(age))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// How a call left a channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChannelSnapshot {
    /// The call's name.
    pub(super) name: Epoch,
    /// The epoch.
    pub(super) epoch: Epoch,
    /// The channel's last message.
    pub(super) last: i64,
    /// Log time, ms.
    pub(super) time_ms: i64,
    pub(super) clock: Clock,
    /// When a full call was last made, and over which connection.
    pub(super) full: (Instant, u64),
}

/// What an optimistic call is to write.
#[derive(Debug, Clone, Copy)]
pub(super) struct OptimisticAppend {
    before: ChannelSnapshot,
    /// How it leaves the channel.
    pub(super) after: ChannelSnapshot,
    /// Whether it compares the replication id, and puts off the time at which log and head expire.
    is_full: bool,
}

impl OptimisticAppend {
    /// An append of so many messages after `before`, over the session of this generation. `None` where too little is
    /// known of Redis's clock.
    pub(super) fn after(
        before: ChannelSnapshot,
        messages: usize,
        retention: &Retention,
        generation: u64,
    ) -> Option<Self> {
        let now = Instant::now();
        let time_ms = before.clock.at_instant(now)?.max(before.time_ms);
        let last = before.last + messages as i64;
        let (at, over) = before.full;
        let is_full = over != generation || now.saturating_duration_since(at) >= call::full_interval(retention);
        let full = if is_full { (now, generation) } else { before.full };
        let after = ChannelSnapshot { name: before.name.sibling(), last, time_ms, full, ..before };
        Some(Self { before, after, is_full })
    }

    /// Writes the call, for a group that has no ids of clients', as it goes to Redis.
    pub(super) fn write(
        &self,
        out: &mut BytesMut,
        keys: &Keys,
        channel: &ChannelName,
        retention: &Retention,
        group: &Group,
    ) {
        let Self { before, after, is_full } = self;
        let stamp = Stamp::new(after.time_ms, after.epoch);
        let drafts = group.batches().flat_map(Batch::sized);
        let numbered = drafts.zip(before.last + 1..).map(|((draft, widest), sequence)| {
            // The widest stamp is measured, and this one is written.
            (draft, sequence, stamp.narrow(*widest, sequence))
        });
        let (messages, bytes) =
            numbered.clone().fold((0, 0), |(messages, sum), (.., bytes)| (messages + 1, sum + bytes));
        out.reserve(CALL_BYTES + bytes + messages * MESSAGE_FRAME_BYTES);
        resp_connection::put_array(out, OTHER_ARGUMENTS + messages);
        for text in
            ["EVALSHA", script::OPTIMISTIC.hash(), "2", &keys.head(channel), &keys.log(channel), channel.as_str()]
        {
            resp_connection::put_text(out, text);
        }
        resp_connection::put_text(out, &before.name.to_string());
        resp_connection::put_text(out, &after.name.to_string());
        for number in [before.last, after.last, after.time_ms, bytes as i64] {
            resp_connection::put_number(out, number);
        }
        for limit in [retention.max_messages, retention.max_bytes, retention.max_age_ms] {
            resp_connection::put_number(out, limit);
        }
        for lives_ms in call::lives_ms(retention) {
            match is_full {
                true => resp_connection::put_number(out, lives_ms),
                false => resp_connection::put_text(out, ""),
            }
        }
        resp_connection::put_number(out, RUN_MESSAGES);
        resp_connection::put_number(out, RUN_BYTES);
        for (draft, sequence, bytes) in numbered {
            resp_connection::put_length(out, bytes);
            // Writing into memory can't fail.
            let _ = stamp.write(draft, sequence, out);
            resp_connection::put_end(out);
        }
    }

    /// The sequence of its first message.
    pub(super) fn first(&self) -> i64 {
        self.before.last + 1
    }

    /// What each batch gets when the call was carried out.
    pub(super) fn receipts(&self, group: &Group) -> Vec<Published> {
        let ChannelSnapshot { epoch, time_ms, .. } = self.after;
        call::consecutive(group, self.before.last + 1, epoch, time_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENERATION: u64 = 3;
    const KEEP: Retention =
        Retention { max_messages: 10, max_bytes: 1_000, max_age_ms: 6_400, dedup_window_ms: 1, dedup_max_ids: 1 };

    fn snapshot(clock: Clock, time_ms: i64) -> ChannelSnapshot {
        let epoch = Epoch::from_u64(7).expect("not zero");
        ChannelSnapshot { name: Epoch::random(), epoch, last: 41, time_ms, clock, full: (Instant::now(), GENERATION) }
    }

    #[test]
    fn a_plan_continues_after_what_is_there_and_never_steps_back_in_time() {
        let now = 1_795_521_600_000;
        let append =
            OptimisticAppend::after(snapshot(Clock::at(now), now), 3, &KEEP, GENERATION).expect("the clock is known");
        assert_eq!((append.after.last, append.after.epoch), (44, append.before.epoch));
        assert!((now..now + 100).contains(&append.after.time_ms));
        assert_ne!(append.after.name, append.before.name);
        assert_eq!(
            append.after.name.digits()[..8],
            append.before.name.digits()[..8],
            "the head's list of writers continues"
        );
        let ahead = OptimisticAppend::after(snapshot(Clock::at(now), now + 5_000), 1, &KEEP, GENERATION)
            .expect("the clock is known");
        assert_eq!(ahead.after.time_ms, now + 5_000, "a clock that was set back does not set log time back");
    }

    #[test]
    fn a_call_is_full_when_none_was_lately_or_over_another_connection() {
        let now = Instant::now();
        let snapshot = ChannelSnapshot { full: (now, GENERATION), ..snapshot(Clock::at(1), 1) };
        let append_to = |snapshot: ChannelSnapshot, session| {
            OptimisticAppend::after(snapshot, 1, &KEEP, session).expect("the clock is known")
        };
        let append = append_to(snapshot, GENERATION);
        assert!(!append.is_full && append.after.full == (now, GENERATION));
        let append = append_to(snapshot, GENERATION + 1);
        assert!(append.is_full && append.after.full.0 >= now && append.after.full.1 == GENERATION + 1);
        let long_ago = now.checked_sub(Duration::from_millis(100)).expect("the machine runs longer");
        let append = append_to(ChannelSnapshot { full: (long_ago, GENERATION), ..snapshot }, GENERATION);
        assert!(append.is_full && append.after.full.0 >= now, "a 64th of the age has passed");
    }

    #[test]
    fn an_old_clock_reading_is_not_used() {
        let received = Instant::now().checked_sub(OPTIMISTIC_CLOCK_AGE).expect("the machine runs longer");
        assert!(OptimisticAppend::after(snapshot(Clock { ms: 1, received }, 1), 1, &KEEP, GENERATION).is_none());
    }
}
