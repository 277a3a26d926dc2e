//! The short way to publish, for whoever knows how its own last call left a channel: it writes each message's JSON whole,
//! date and number as well, and the script has only to compare, append and push.
//!
//! Every call has a name, which it leaves in the head. A prepared call names the one before it; where the head names another, or
//! anything else is not as expected, it writes nothing, and the long way is taken. So a call may also be prepared behind
//! one that has no answer yet: it is carried out behind that one or not at all.

use std::time::{Duration, Instant};

use redis::{Cmd, RedisWrite as _};

use super::{
    call::{self, Outgoing},
    keys::Keys,
    script,
};
use crate::{
    broker::{Published, Retention},
    channel::ChannelName,
    envelope::Stamp,
    limits::PREPARED_CLOCK_AGE,
    message::{Epoch, Position},
};

/// Redis's clock, as an answer told it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    ms: i64,
    told: Instant,
}

impl Clock {
    /// It is so late now.
    pub(super) fn at(ms: i64) -> Self {
        Self { ms, told: Instant::now() }
    }

    fn now(self) -> Option<i64> {
        let age = self.told.elapsed();
        (age < PREPARED_CLOCK_AGE).then(|| self.ms + millis(age))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// How a call left a channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    /// The call's name.
    pub(super) name: Epoch,
    /// The epoch.
    pub(super) epoch: Epoch,
    /// The channel's last message.
    pub(super) last: i64,
    /// Log time, ms.
    pub(super) time_ms: i64,
    pub(super) clock: Clock,
}

/// What a prepared call is to write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    before: Left,
    /// How it leaves the channel.
    pub(super) after: Left,
}

impl Plan {
    /// So many messages behind what is there. `None` where too little is known of Redis's clock.
    pub(super) fn behind(before: Left, messages: usize) -> Option<Self> {
        let time_ms = before.clock.now()?.max(before.time_ms);
        let last = before.last + messages as i64;
        Some(Self { before, after: Left { name: Epoch::random(), last, time_ms, ..before } })
    }

    /// The call, for messages of some batches that have no ids of their clients'.
    pub(super) fn write<'a>(
        &self,
        keys: &Keys,
        channel: &ChannelName,
        retention: &Retention,
        batches: impl Iterator<Item = &'a [Outgoing]> + Clone,
    ) -> Cmd {
        let Self { before, after } = self;
        let mut call = script::PREPARED.call();
        let bytes = batches.clone().flatten().map(|message| message.encoded.len());
        call.reserve_space_for_args(bytes);
        call.arg(2).arg(keys.head(channel)).arg(keys.log(channel));
        let seen = Position::new(before.epoch, before.last);
        call::write_common(&mut call, channel, retention, seen, after.name);
        call.arg(before.name.to_string()).arg(after.time_ms);
        let stamp = Stamp::new(after.time_ms, after.epoch);
        for (message, sequence) in batches.flatten().zip(before.last + 1..) {
            // Writing into memory can't fail.
            let _ = stamp.write(&message.encoded, sequence, &mut call.writer_for_next_arg());
        }
        call
    }

    /// What each batch gets when the call was carried out.
    pub(super) fn receipts<'a>(&self, batches: impl Iterator<Item = &'a [Outgoing]>) -> Vec<Published> {
        let Left { epoch, time_ms, .. } = self.after;
        call::consecutive(batches, self.before.last + 1, epoch, time_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(clock: Clock, time_ms: i64) -> Left {
        let epoch = Epoch::from_u64(7).expect("not zero");
        Left { name: Epoch::random(), epoch, last: 41, time_ms, clock }
    }

    #[test]
    fn a_plan_goes_on_behind_what_is_there_and_never_steps_back_in_time() {
        let now = 1_795_521_600_000;
        let plan = Plan::behind(left(Clock::at(now), now), 3).expect("the clock is known");
        assert_eq!((plan.after.last, plan.after.epoch), (44, plan.before.epoch));
        assert!((now..now + 100).contains(&plan.after.time_ms));
        assert_ne!(plan.after.name, plan.before.name);
        let ahead = Plan::behind(left(Clock::at(now), now + 5_000), 1).expect("the clock is known");
        assert_eq!(ahead.after.time_ms, now + 5_000, "a clock that was set back does not set log time back");
    }

    #[test]
    fn a_clock_that_was_told_long_ago_is_not_gone_by() {
        let told = Instant::now().checked_sub(PREPARED_CLOCK_AGE).expect("the machine runs longer");
        assert!(Plan::behind(left(Clock { ms: 1, told }, 1), 1).is_none());
    }
}
