//! A stream begins where it was told to: exactly behind a cursor, at what is retained, or with what comes now.

use tidings::message::Position;

use super::{must, show, walk::Walk};
use crate::history::{Outcome, Places, Start};

/// Judges where a stream says that it begins.
pub(super) fn check(walk: &Walk, places: &Places) -> Result<(), String> {
    match &walk.stream.start {
        Start::After(asked) => behind(asked, places)?,
        Start::Earliest => places.iter().try_for_each(|(channel, at)| retained(walk, channel, *at, None))?,
        Start::Last(count) => places.iter().try_for_each(|(channel, at)| retained(walk, channel, *at, Some(*count)))?,
        Start::Now => not_before(walk, places)?,
    }
    delivers_what_comes(walk, places)
}

/// A resumed stream goes on exactly behind its cursor.
fn behind(asked: &Places, places: &Places) -> Result<(), String> {
    for (channel, asked) in asked {
        let at = places.get(channel).copied().unwrap_or_default();
        must!(at == *asked, "asked to go on behind {} of {channel}, it stands at {}", show(*asked), show(at));
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
fn not_before(walk: &Walk, places: &Places) -> Result<(), String> {
    for attempt in &walk.history.attempts {
        let Outcome::Receipt { place, .. } = attempt.outcome else { continue };
        let Some(at) = places.get(&attempt.channel) else { continue };
        // What Redis lost is not there to begin behind.
        let kept = !walk.truth.was_lost(attempt.began, attempt.ended);
        must!(
            !kept || attempt.ended >= walk.stream.asked || place.epoch != at.epoch || place.sequence <= at.sequence,
            "begins at {}, before {} at {}, which had its receipt when the stream was asked for",
            show(*at),
            attempt.body,
            show(place)
        );
    }
    Ok(())
}

/// Whatever is published after a client has the headers is delivered.
fn delivers_what_comes(walk: &Walk, places: &Places) -> Result<(), String> {
    let Some(opened) = walk.stream.opened else { return Ok(()) };
    for attempt in &walk.history.attempts {
        let Outcome::Receipt { place, duplicate: false } = attempt.outcome else { continue };
        let Some(at) = places.get(&attempt.channel) else { continue };
        // Behind a cursor it may stand in a history that a client knows better than what Redis has left.
        let resumed = matches!(walk.stream.start, Start::After(_));
        must!(
            resumed || attempt.began <= opened || place.epoch != at.epoch || place.sequence > at.sequence,
            "begins at {}, behind {} at {}, which was published after the headers",
            show(*at),
            attempt.body,
            show(place)
        );
    }
    Ok(())
}
