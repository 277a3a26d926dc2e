//! The ID of an entry of a log.

use std::ops::RangeInclusive;

/// The sequences of a run, by its ID (`<last>-<count>`).
pub(super) fn sequences(id: &[u8]) -> Option<RangeInclusive<i64>> {
    let (last, count) = std::str::from_utf8(id).ok()?.split_once('-')?;
    let (last, count): (i64, i64) = (last.parse().ok()?, count.parse().ok()?);
    Some(last.checked_sub(count)?.checked_add(1)?..=last)
}
