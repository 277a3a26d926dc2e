//! What the channels are like at one moment, and from two moments what they did in between. Pure.

use std::{collections::HashMap, time::Duration};

use tidings::pb::Channel;

/// All channels at one moment.
#[derive(Debug, Default)]
pub(super) struct Sample {
    pub(super) channels: Vec<Channel>,
    /// There were more than are looked at.
    pub(super) is_cut: bool,
}

/// One channel and its rate.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) channel: &'a Channel,
    /// Messages a second since the sample before; `None` where there is none.
    pub(super) rate: Option<f64>,
}

/// The channels of a sample, the busiest first, with their rates since `before`, which was so long ago.
pub(super) fn rows<'a>(sample: &'a Sample, before: Option<(&Sample, Duration)>) -> Vec<Row<'a>> {
    let known: HashMap<&str, &Channel> = before
        .iter()
        .flat_map(|(before, _)| &before.channels)
        .map(|channel| (channel.name.as_str(), channel))
        .collect();
    let mut rows: Vec<_> = sample
        .channels
        .iter()
        .map(|channel| {
            let rate = before.map(|(before, elapsed)| {
                let count = match known.get(channel.name.as_str()) {
                    Some(known) => published(channel, known),
                    // One of which it is not known since when it is there has no rate yet.
                    None if before.is_cut || channel.first_sequence > 1 => 0,
                    None => channel.last_sequence,
                };
                count as f64 / elapsed.as_secs_f64()
            });
            Row { channel, rate }
        })
        .collect();
    // Stable, so that channels that do the same stay in name order.
    rows.sort_by(|a, b| b.rate.unwrap_or_default().total_cmp(&a.rate.unwrap_or_default()));
    rows
}

/// How many messages came in between. Where a channel began again after a flush, its number is what came since.
fn published(now: &Channel, before: &Channel) -> i64 {
    match now.last_sequence - before.last_sequence {
        count if count >= 0 => count,
        _ => now.last_sequence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(channels: &[(&str, i64, i64)]) -> Sample {
        let channel = |(name, first_sequence, last_sequence): &(&str, i64, i64)| Channel {
            name: (*name).to_owned(),
            first_sequence: *first_sequence,
            last_sequence: *last_sequence,
            ..Channel::default()
        };
        Sample { channels: channels.iter().map(channel).collect(), is_cut: false }
    }

    fn rates(now: &Sample, before: &Sample) -> Vec<(String, f64)> {
        let rows = rows(now, Some((before, Duration::from_secs(2))));
        rows.into_iter().map(|row| (row.channel.name.clone(), row.rate.expect("a rate"))).collect()
    }

    #[test]
    fn rates_are_what_came_since_and_the_busiest_is_first() {
        let before = sample(&[("a", 1, 10), ("b", 5, 100), ("flushed", 1, 50), ("same", 1, 7)]);
        let now =
            sample(&[("a", 1, 11), ("b", 5, 140), ("flushed", 1, 4), ("new", 1, 6), ("old", 90, 95), ("same", 1, 7)]);
        let expected = [("b", 20.0), ("new", 3.0), ("flushed", 2.0), ("a", 0.5), ("old", 0.0), ("same", 0.0)];
        assert_eq!(rates(&now, &before), expected.map(|(name, rate)| (name.to_owned(), rate)));
    }

    #[test]
    fn the_first_look_has_no_rates_and_keeps_the_order_of_names() {
        let now = sample(&[("a", 1, 10), ("b", 1, 2)]);
        let rows = rows(&now, None);
        assert!(rows.iter().all(|row| row.rate.is_none()));
        assert_eq!(rows.iter().map(|row| row.channel.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        // A channel that may only have been beyond the cut is not taken for a new one.
        let before = Sample { is_cut: true, ..Sample::default() };
        assert!(rates(&now, &before).iter().all(|(_, rate)| *rate == 0.0));
    }
}
