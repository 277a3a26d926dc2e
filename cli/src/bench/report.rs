//! What a measurement found, in rows or as JSON.

use std::io;

use serde::Serialize;

use super::Times;
use crate::{output::Out, render};

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) channel: String,
    pub(super) publishers: u32,
    pub(super) streams: u32,
    /// Bytes of each message.
    pub(super) size: usize,
    /// From the first publish to the last receipt.
    pub(super) seconds: f64,
    /// Messages with a receipt.
    pub(super) published: u64,
    /// Messages that failed, or whose outcome is not known.
    pub(super) failed: u64,
    /// Receipts a second.
    pub(super) publish_rate: f64,
    /// Messages that arrived, over all streams.
    pub(super) delivered: u64,
    /// Arrivals a second, over all streams.
    pub(super) delivery_rate: f64,
    /// From when a message was due to its receipt.
    pub(super) receipt_ms: Spread,
    /// From when a message was due to its arrival at a stream.
    pub(super) end_to_end_ms: Spread,
    /// Messages with a receipt that did not arrive, over all streams.
    pub(super) lost: u64,
    /// Messages that arrived again, over all streams.
    pub(super) doubled: u64,
    /// Gaps that streams reported.
    pub(super) gaps: u64,
    /// Streams that had to be opened again.
    pub(super) reconnections: u64,
}

/// How long things took, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Spread {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Spread {
    pub(super) fn of(times: &Times) -> Self {
        Self { p50: times.quantile_ms(0.5), p99: times.quantile_ms(0.99), max: times.quantile_ms(1.0) }
    }
}

impl Report {
    pub(super) fn print(&self, is_json: bool, out: &mut Out) -> io::Result<()> {
        if is_json {
            out.line(render::to_json(self))?;
            return out.flush();
        }
        let times =
            |spread: &Spread| format!("p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", spread.p50, spread.p99, spread.max);
        let rows = [
            ("channel", self.channel.clone()),
            ("published", format!("{} in {:.1} s, {:.0} a second", self.published, self.seconds, self.publish_rate)),
            ("delivered", format!("{}, {:.0} a second", self.delivered, self.delivery_rate)),
            ("receipts", times(&self.receipt_ms)),
            ("end to end", times(&self.end_to_end_ms)),
            ("lost", self.lost.to_string()),
            ("doubled", self.doubled.to_string()),
        ];
        let rare = [("failed", self.failed), ("gaps", self.gaps), ("reconnected", self.reconnections)];
        let rare = rare.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| (name, count.to_string()));
        let faint = out.palette().faint;
        for (name, value) in rows.into_iter().chain(rare) {
            out.line(format_args!("{faint}{name:<12}{faint:#} {value}"))?;
        }
        out.flush()
    }

    /// What is not as it was promised; `None` where all is well.
    pub(super) fn fault(&self, failure: Option<String>) -> Option<String> {
        let mut faults = Vec::new();
        if self.lost > 0 {
            faults.push(format!("{} with a receipt did not arrive", messages(self.lost)));
        }
        if self.doubled > 0 {
            faults.push(format!("{} arrived twice", messages(self.doubled)));
        }
        if let Some(failure) = failure {
            faults.push(format!("{} failed, the first with {failure}", messages(self.failed)));
        }
        (!faults.is_empty()).then(|| faults.join("; "))
    }
}

fn messages(count: u64) -> String {
    match count {
        1 => "1 message".to_owned(),
        count => format!("{count} messages"),
    }
}
