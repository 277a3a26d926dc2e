//! A stream begins where it was asked to: exactly after a cursor, at what is retained, or with what comes now.

use tidings::message::Position;

use super::{must, show, walk::Walk};
use crate::history::{Outcome, Positions, Start};

/// Judges where a stream says that it begins.
pub(super) fn check(walk: &Walk, positions: &Positions) -> Result<(), String> {
    match &walk.stream.start {
        Start::After(asked) => after(asked, positions)?,
        Start::Earliest => positions.iter().try_for_each(|(channel, at)| retained(walk, channel, *at, None))?,
        Start::Last(count) => {
            positions.iter().try_for_each(|(channel, at)| retained(walk, channel, *at, Some(*count)))?
        }
        Start::Now => not_before(walk, positions)?,
    }
    delivers_what_comes(walk, positions)
}

/// A resumed stream resumes exactly after its cursor.
fn after(asked: &Positions, positions: &Positions) -> Result<(), String> {
    for (channel, asked) in asked {
        let at = positions.get(channel).copied().unwrap_or_default();
        must!(at == *asked, "asked to resume after {} of {channel}, it is at {}", show(*asked), show(at));
    }
    Ok(())
}

/// Nothing that is retained is passed over, but what is before the last `count`.
fn retained(walk: &Walk, channel: &str, at: Position, count: Option<i64>) -> Result<(), String> {
    let Some(opened) = walk.stream.opened else { return Ok(()) };
    let Some(first) = walk.truth.retained_after(channel, opened) else { return Ok(()) };
    let later = |sample: &&crate::history::Sample| sample.began >= opened;
    let head = walk.history.samples.iter().find(later).and_then(|sample| sample.heads.get(channel));
    let last = head.map_or(0, |head| head.last);
    let most = count.map_or(first - 1, |count| (first - 1).max(last - count));
    must!(at.sequence <= most, "begins at {} of {channel}, whose log begins at {first}", show(at));
    Ok(())
}

/// From now on: nothing that was published before the stream was asked for.
fn not_before(walk: &Walk, positions: &Positions) -> Result<(), String> {
    for attempt in &walk.history.attempts {
        let Outcome::Receipt { position, .. } = attempt.outcome else { continue };
        let Some(at) = positions.get(&attempt.channel) else { continue };
        // What Redis lost is not there to begin after.
        let kept = !walk.truth.was_lost(attempt.began, attempt.ended);
        must!(
            !kept
                || attempt.ended >= walk.stream.asked
                || position.epoch != at.epoch
                || position.sequence <= at.sequence,
            "begins at {}, before {} at {}, which had its receipt when the stream was asked for",
            show(*at),
            attempt.body,
            show(position)
        );
    }
    Ok(())
}

/// Whatever is published after a client has the headers is delivered.
fn delivers_what_comes(walk: &Walk, positions: &Positions) -> Result<(), String> {
    let Some(opened) = walk.stream.opened else { return Ok(()) };
    for attempt in &walk.history.attempts {
        let Outcome::Receipt { position, duplicate: false } = attempt.outcome else { continue };
        let Some(at) = positions.get(&attempt.channel) else { continue };
        // After a cursor it may be in a history that a client knows better than what Redis has left.
        let resumed = matches!(walk.stream.start, Start::After(_));
        must!(
            resumed || attempt.began <= opened || position.epoch != at.epoch || position.sequence > at.sequence,
            "begins at {}, after {} at {}, which was published after the headers",
            show(*at),
            attempt.body,
            show(position)
        );
    }
    Ok(())
}
