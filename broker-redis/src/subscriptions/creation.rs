//! The creation of a subscription: its name is reserved, then its books are made, in time. Whoever finds a name that is
//! reserved and has no books may take it over later: so a call that ended between the two does no harm.

use std::time::Duration;

use redis::Cmd;
use tidings::{
    broker::{
        Error,
        subscriptions::{Created, Hold, New, Place, Start},
    },
    limits::{CHANNEL_SUBSCRIPTIONS, SUBSCRIPTIONS},
    message::MAX_SEQUENCE,
};

use super::{
    answer,
    calls::Calls,
    index::{Index, Reserved},
};
use crate::script;

/// How often it begins again: each time somebody else was faster, or Redis stood still for half a minute.
const TRIES: usize = 4;

/// One creation.
pub(super) struct Creation<'a> {
    pub(super) calls: &'a Calls,
    pub(super) index: &'a Index,
    pub(super) place: &'a Place,
    pub(super) new: &'a New,
}

impl Creation<'_> {
    pub(super) async fn run(&self) -> Result<Created, Error> {
        let mut replaced = String::new();
        for _ in 0..TRIES {
            match self.index.reserve(self.place, &replaced).await? {
                Reserved::Full => return Ok(Created::Full(SUBSCRIPTIONS)),
                Reserved::Done { entry, at_ms } => {
                    if let Some(created) = self.create_books(&entry, at_ms).await? {
                        return Ok(created);
                    }
                    replaced.clear();
                }
                Reserved::Other { entry, is_over } => {
                    if self.has_books(&entry).await? {
                        return Ok(Created::Exists);
                    }
                    if !is_over {
                        return Ok(Created::Busy);
                    }
                    replaced = entry;
                }
            }
        }
        Ok(Created::Busy)
    }

    /// `None` where the reservation came too long ago.
    async fn create_books(&self, entry: &str, reserved_ms: i64) -> Result<Option<Created>, Error> {
        let Self { calls, index, place, new } = self;
        let script = &script::SUBSCRIPTION_CREATE;
        let mut call = calls.of(script, place);
        call.arg(place.name.as_str()).arg(reserved_ms).arg(new.generation.to_string()).arg(&new.settings[..]);
        write_start(&mut call, new.start);
        write_hold(&mut call, &new.hold);
        match answer::word(&calls.write(script, &call).await?) {
            b"DONE" => Ok(Some(Created::Done)),
            b"EXISTS" => Ok(Some(Created::Exists)),
            b"LATE" => Ok(None),
            b"FULL" => {
                index.release(&place.name, entry, false).await?;
                Ok(Some(Created::Full(CHANNEL_SUBSCRIPTIONS)))
            }
            _ => Err(answer::not_understood()),
        }
    }

    /// Whether the channel of an entry has books of this name. An entry that is not understood has none.
    async fn has_books(&self, entry: &str) -> Result<bool, Error> {
        let Ok(channel) = self.index.channel(entry) else { return Ok(false) };
        let other = Place { channel, name: self.place.name.clone() };
        let mut call = redis::cmd("EXISTS");
        call.arg(self.calls.keys().books(&other));
        answer::number(self.calls.read(&[], call).await?).map(|found: u8| found == 1)
    }
}

/// `end`, or the sequence after which it begins; and its epoch.
pub(super) fn write_start(call: &mut Cmd, start: Start) {
    match start {
        Start::End => call.arg("end").arg(""),
        Start::After(position) => {
            call.arg(position.sequence).arg(position.epoch.map(|epoch| epoch.to_string()).unwrap_or_default())
        }
    };
}

/// The greatest number that scripts are given: above it Lua's are not exact.
const MOST: u64 = MAX_SEQUENCE.unsigned_abs();

/// The age in ms, and the bytes.
pub(super) fn write_hold(call: &mut Cmd, hold: &Hold) {
    call.arg(ms(hold.age)).arg(hold.bytes.min(MOST));
}

/// A time in ms, for scripts.
pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(MOST).min(MOST)
}

#[cfg(test)]
mod tests {
    use tidings::message::{Epoch, Position};

    use super::*;

    fn words(write: impl FnOnce(&mut Cmd)) -> Vec<String> {
        let mut call = Cmd::new();
        write(&mut call);
        let words = call.args_iter().map(|word| match word {
            redis::Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
            _ => String::new(),
        });
        words.collect()
    }

    #[test]
    fn a_start_is_the_end_or_a_position() {
        assert_eq!(words(|call| write_start(call, Start::End)), ["end", ""]);
        let position = Position::new(Epoch::from_u64(10).expect("not 0"), 7);
        assert_eq!(words(|call| write_start(call, Start::After(position))), ["7", "000000000000000a"]);
        assert_eq!(words(|call| write_start(call, Start::After(Position::START))), ["0", ""]);
    }

    #[test]
    fn a_hold_has_numbers_that_lua_can_count() {
        let all = Hold { age: Duration::MAX, bytes: u64::MAX };
        assert_eq!(words(|call| write_hold(call, &all)), ["9007199254740992", "9007199254740992"]);
    }
}
