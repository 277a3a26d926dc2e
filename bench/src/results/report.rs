//! `BENCHMARKS.md`: the part between its two marks is rewritten by each run, with the plots beside it.

use std::{fmt::Write as _, fs};

use anyhow::Context as _;

use super::{
    FOLDER, Line, Output, Results,
    figures::{self, Spread},
    machine,
    plot::{Bar, Scale, bars},
    shares,
};
use crate::{
    measure::Probe::{self, *},
    rows::{Better, Unit},
};

const PAGE: &str = "BENCHMARKS.md";

impl Results<'_> {
    /// Writes the plots, and the page's figures.
    pub(super) fn report(&self, output: Output) -> anyhow::Result<()> {
        let Output { begin, end, plots, .. } = output;
        if plots {
            for (name, svg) in self.plots() {
                fs::write(format!("{FOLDER}/{name}.svg"), svg)?;
            }
        }
        let page = fs::read_to_string(PAGE).with_context(|| format!("{PAGE}: run this in the project's folder"))?;
        let (before, rest) = page.split_once(begin).with_context(|| format!("{PAGE} lacks {begin:?}"))?;
        let (_, after) = rest.split_once(end).with_context(|| format!("{PAGE} lacks {end:?}"))?;
        fs::write(PAGE, format!("{before}{begin}{}{end}{after}", self.markdown(plots)))?;
        Ok(())
    }

    fn markdown(&self, plots: bool) -> String {
        let mut text = format!(
            "\n{} rounds of {} ms a measurement{}. Median (least–most) of the rounds; the ratio is the median of the \
             rounds' ratios.\n\n",
            self.settings.rounds,
            self.settings.time.as_millis(),
            if self.settings.quick { " (`make bench-quick`)" } else { "" },
        );
        for line in machine::described() {
            let _ = writeln!(text, "- {line}");
        }
        let _ = writeln!(
            text,
            "- load average before it began: {} (well above 0, others were at work on the machine as well, and the \
             figures are rougher and lower than they could be)",
            self.settings.load
        );
        text.push_str(
            "\n| measure / beside | Tidings | peer | ratio | must be | aim | |\n|---|---|---|---|---|---|---|\n",
        );
        for Line { row, ours, peer, ratio } in &self.lines {
            let peer = peer.as_ref().map(|peer| peer.shown(row.unit)).unwrap_or_default();
            let goal = row.goal.map_or("| | |".to_owned(), |goal| {
                let sign = if row.better == Better::Higher { "≥" } else { "≤" };
                let verdict = if row.reached(*ratio) { "✓" } else { "**short**" };
                format!("{sign} {} | {} | {verdict} |", goal.at_least, goal.aim)
            });
            let (ours, ratio) = (ours.shown(row.unit), figures::ratio(*ratio));
            let _ = writeln!(text, "| {} | {ours} | {peer} | {ratio} | {goal}", row.measure);
        }
        for name in ["fan-out", "publishing", "latency"].into_iter().filter(|_| plots) {
            let _ = write!(text, "\n![{name}](bench/results/{name}.svg)\n");
        }
        text.push_str(
            "\nProcessors in use on average while it was measured, of the load generator and of each server:\n\n\
             | measurement | load generator; servers |\n|---|---|\n",
        );
        let mut samples: Vec<_> = self.samples.iter().collect();
        samples.sort_by_key(|(probe, _)| **probe);
        for (probe, samples) in samples {
            let _ = writeln!(text, "| {probe:?} | {} |", shares(samples));
        }
        text.push('\n');
        text
    }

    fn plots(&self) -> [(&'static str, String); 3] {
        let fan_out = [10, 100, 1_000].into_iter().flat_map(|count| {
            [
                self.bar(&format!("Tidings, {count} streams"), Fanout(count), 0, true, true),
                self.bar(&format!("Redis, {count} subscribers"), RedisFanout(count), 0, false, false),
                self.bar(&format!("NATS, {count} subscriptions"), NatsFanout(count), 0, false, false),
            ]
        });
        let fan_out: Vec<_> = fan_out.flatten().collect();
        let publishing = [
            self.bar("tonic echo, unary", Echo, 0, false, true),
            self.bar("Publish without history", UnaryWithoutHistory, 0, true, false),
            self.bar("Publish", Unary, 0, true, false),
            self.bar("Node.js POST (no history)", NodePost, 0, false, false),
            self.bar("Redis PUBLISH, pipelined", RawPublish, 0, false, true),
            self.bar("PublishStream without history", StreamWithoutHistory, 0, true, false),
            self.bar("PublishBatch without history", BatchWithoutHistory, 0, true, false),
            self.bar("PublishStream, AOF everysec", StreamOnDisk, 0, true, true),
            self.bar("JetStream, files", JetStream, 0, false, false),
            self.bar("RabbitMQ quorum queue", RabbitMq, 0, false, false),
        ];
        let publishing: Vec<_> = publishing.into_iter().flatten().collect();
        let latency = [(0, "p50"), (1, "p99")].into_iter().flat_map(|(at, name)| {
            [
                self.bar(&format!("Redis Pub/Sub, {name}"), RedisLatency, at, false, true),
                self.bar(&format!("Tidings, {name}"), Latency, at, true, false),
                self.bar(&format!("Node.js, {name}"), NodeLatency, at, false, false),
            ]
        });
        let latency: Vec<_> = latency.flatten().collect();
        [
            ("fan-out", bars("Deliveries a second", Unit::PerSecond, Scale::Linear, &fan_out)),
            (
                "publishing",
                bars("Messages published a second (logarithmic)", Unit::PerSecond, Scale::Logarithmic, &publishing),
            ),
            (
                "latency",
                bars(
                    "From publish to stream, at 2,000 a second: less is better (logarithmic)",
                    Unit::Microseconds,
                    Scale::Logarithmic,
                    &latency,
                ),
            ),
        ]
    }

    fn bar(&self, name: &str, probe: Probe, at: usize, ours: bool, begins: bool) -> Option<Bar> {
        let figures: Vec<f64> = self.samples.get(&probe)?.iter().map(|sample| sample.figures[at]).collect();
        Some(Bar { name: name.to_owned(), spread: Spread::new(&figures), ours, begins })
    }
}
