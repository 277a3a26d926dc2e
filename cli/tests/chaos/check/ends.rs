//! How streams end: open ones have everything when all is calm, and others ended for a reason.

use std::time::Duration;

use tonic::Code;

use super::{must, show, walk::Walk};
use crate::{
    board::NOBODY,
    history::{At, End},
};

/// How long after the last fault a subscriber may still refuse streams because Redis is away.
const RECOVERY: Duration = Duration::from_secs(5);

/// Judges how a stream ended.
pub(super) fn check(walk: &Walk) -> Result<(), String> {
    match &walk.stream.end {
        End::Closed => Ok(()),
        End::Open => has_everything(walk),
        End::Status { at, code: Code::OutOfRange, reason, cursor } => {
            must!(walk.stream.fails_on_gap, "ends with OUT_OF_RANGE, {reason}, and was not to");
            let Some((channel, _)) = cursor else { return Err(format!("{reason} without a cursor")) };
            let stood = walk.lines.get(channel).map(|line| line.at).unwrap_or_default();
            match reason.as_str() {
                "EPOCH_CHANGED" => {
                    let lost = walk.truth.loss_before(*at) || walk.truth.is_unlisted(channel, stood.epoch, *at);
                    must!(lost, "ends because {channel} lost messages, and it lost none");
                }
                "TRIMMED" => {
                    let retained = walk.truth.retained_after(channel, *at);
                    must!(
                        retained.is_none_or(|retained| retained > stood.sequence + 1),
                        "ends at {} because {channel} was trimmed, and its log begins at {retained:?}",
                        show(stood)
                    );
                }
                other => return Err(format!("ends with OUT_OF_RANGE, {other}")),
            }
            Ok(())
        }
        End::Status { at, code, reason, .. } => is_explained(walk, *at, *code, reason),
    }
}

/// Streams end only with their subscriber; they are refused only where Redis can't be reached.
fn is_explained(walk: &Walk, at: At, code: Code, reason: &str) -> Result<(), String> {
    let stream = walk.stream;
    let mut faults = walk.history.faults.iter();
    // Between two services there is none to be reached.
    let with_its_server = stream.instance == NOBODY
        || faults.any(|fault| fault.ends_streams_of == Some(stream.instance) && fault.began <= at);
    // What is asked of one that has just died ends with whatever the client makes of that.
    let mut faults = walk.history.faults.iter();
    let died = stream.opened.is_none()
        && faults.any(|fault| {
            fault.ends_streams_of.is_some() && fault.began <= at && stream.asked <= fault.ended + Duration::from_secs(1)
        });
    let away = stream.opened.is_none()
        && (code, reason) == (Code::Unavailable, "BROKER_UNAVAILABLE")
        && at <= walk.history.calm + RECOVERY;
    must!(with_its_server || died || away, "ends with {code:?}, {reason}, for no reason");
    Ok(())
}

fn has_everything(walk: &Walk) -> Result<(), String> {
    for (channel, log) in walk.history.logs.iter().filter(|(channel, _)| walk.stream.covers(channel)) {
        let at = walk.lines.get(channel).map(|line| line.at).unwrap_or_default();
        let last = log.head.last;
        must!(at.sequence == last, "is at {} of {channel} at the end, whose last message is {last}", show(at));
    }
    Ok(())
}
