//! Where a stream starts in a channel.

use tidings::{
    broker::{Error, Head, Shared, history::Reader},
    channel::ChannelName,
    message::{DataSet, Lineage, Mark, Position},
};

use super::positions::Track;
use crate::request::Start;

/// Where a stream starts in one channel.
pub(super) async fn start(
    broker: &Shared,
    channel: &ChannelName,
    head: Option<&Head>,
    data_set: Option<DataSet>,
    start: &Start,
) -> Result<Track, Error> {
    let mut not_before_ms = None;
    let position = match (start, head) {
        (Start::After(mark), _) => return Ok(Track::new(channel, resume(*mark, head, data_set), None)),
        (Start::Since(time_ms), head) => {
            let before = broker.sequence_before(channel, *time_ms).await?;
            // Where nothing is as new as that yet, what comes next may still be too old.
            not_before_ms = head.is_none_or(|head| before >= head.last).then_some(*time_ms);
            head.map_or(Position::START, |head| head.position_at(before.max(head.first - 1)))
        }
        (_, None) => Position::START,
        (Start::Earliest, Some(head)) => head.position_at(head.first - 1),
        (Start::Last(count), Some(head)) => head.position_at((head.last - count).max(head.first - 1)),
        (Start::Now | Start::AfterStream(..), Some(head)) => head.end(),
    };
    let reader = resume(head.map_or(position.into(), |head| head.mark(position)), head, data_set);
    // What is newer than the head, and not after it, was written over what the head has.
    Ok(Track::new(channel, reader, not_before_ms).opened_at(head.map_or(0, |head| head.time_ms)))
}

/// A reader that continues there. One before a channel's first message remembers the data set in which it found the
/// channel empty.
fn resume(mark: Mark, head: Option<&Head>, data_set: Option<DataSet>) -> Reader {
    let reader = Reader::resume(mark);
    match (mark, head) {
        (Mark { position: Position::START, lineage: Lineage::Unknown }, None) => reader.in_data_set(data_set),
        _ => reader,
    }
}
