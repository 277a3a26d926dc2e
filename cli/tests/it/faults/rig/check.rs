//! Holds what a stream delivered against the receipts: every message once and in order, or named in a gap that says the
//! truth.

use std::collections::HashSet;

use tidings::{
    channel::Names,
    cursor,
    pb::{Gap, GapReason, PublishResponse, stream_messages_response::Event},
};

use super::Watch;

/// What a gap names: the first sequence, the last, and why.
pub(crate) type Named = (i64, i64, GapReason);

/// Waits until a stream, which saw the channel's first message, has all that the receipts promise, and checks it.
/// Answers the gaps, which only the test knows whether they had to be.
pub(crate) async fn check(watch: &Watch, channel: &str, receipts: &[PublishResponse]) -> Vec<Named> {
    let newest = receipts.iter().rev().find(|receipt| !receipt.duplicate).expect("something was published");
    let of_its_epoch = receipts.iter().filter(|receipt| receipt.epoch == newest.epoch);
    let last = of_its_epoch.max_by_key(|receipt| receipt.sequence).expect("the newest, at least");
    watch.until_message(&last.message_id).await;
    assert!(watch.ended().is_none(), "{:?}", watch.ended());
    let events = watch.events(channel);
    follows(&events);
    let gaps = watch.gaps(channel);
    let delivered: HashSet<_> = events.iter().filter_map(position).collect();
    for receipt in receipts {
        let is_delivered = delivered.contains(&(receipt.epoch.as_str(), receipt.sequence, receipt.message_id.as_str()));
        let named = gaps.iter().find(|gap| names(gap, receipt));
        // What Redis lost may have been delivered before.
        let is_well = match named {
            None => is_delivered,
            Some(gap) => !is_delivered || gap.reason() == GapReason::EpochChanged,
        };
        assert!(is_well, "{channel}: delivered: {is_delivered}, named: {named:?}, {receipt:?}");
    }
    joined(&gaps)
}

/// What the gaps name, each loss once. One that a reader notices before the new epoch is there is reported in two
/// parts, when Redis had taken more than the reader knew of: up to what it had seen at once, and the rest when the new
/// epoch names it.
fn joined(gaps: &[Gap]) -> Vec<Named> {
    let goes_on = |before: &Gap, gap: &Gap| {
        let is_known = before.last_missing > 0 && (&gap.epoch, gap.reason()) == (&before.epoch, before.reason());
        is_known && gap.first_missing == before.last_missing + 1
    };
    let runs = gaps.chunk_by(goes_on);
    runs.map(|run| (run[0].first_missing, run[run.len() - 1].last_missing, run[0].reason())).collect()
}

/// Every message follows the one before it or a gap, and none comes twice.
fn follows(events: &[Event]) {
    let (mut epoch, mut at) = (String::new(), 0);
    // How far the gap before has named what is missing, which may be beyond where the stream continues.
    let mut named = 0;
    let mut ids = HashSet::new();
    for event in events {
        match event {
            Event::Message(message) => {
                assert_eq!(message.sequence, at + 1, "after {at} of {epoch:?}: {message:?}");
                assert!(ids.insert(&message.message_id), "twice: {message:?}");
                (epoch, at, named) = (message.epoch.clone(), message.sequence, 0);
            }
            Event::Gap(gap) => {
                assert_eq!(gap.epoch, epoch, "a gap after {at}: {gap:?}");
                assert!(gap.first_missing <= at.max(named) + 1, "a gap after {at}, {named}: {gap:?}");
                assert!(gap.last_missing == 0 || gap.first_missing <= gap.last_missing, "{gap:?}");
                (epoch, at) = resume_at(gap);
                named = if epoch == gap.epoch { gap.last_missing } else { 0 };
            }
            _ => {}
        }
    }
}

/// Where the stream continues, as the gap's cursor says.
fn resume_at(gap: &Gap) -> (String, i64) {
    let channel = Names::new("tidings", "").expect("valid").parse(&gap.channel).expect("a channel");
    let position = cursor::decode_for(&gap.cursor, &channel).expect("a cursor of this channel").position;
    (position.epoch.map(|epoch| epoch.to_string()).unwrap_or_default(), position.sequence)
}

fn position(event: &Event) -> Option<(&str, i64, &str)> {
    match event {
        Event::Message(message) => Some((&message.epoch, message.sequence, &message.message_id)),
        _ => None,
    }
}

fn names(gap: &Gap, receipt: &PublishResponse) -> bool {
    gap.epoch == receipt.epoch
        && gap.first_missing <= receipt.sequence
        && (gap.last_missing == 0 || receipt.sequence <= gap.last_missing)
}
