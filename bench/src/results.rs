//! What was measured, as a table and as files.

use std::fs;

use serde::Serialize;

use crate::{
    measure::{Probe, Sample},
    rows::{Better, Row},
    run::{Samples, Settings},
};

mod figures;
pub(crate) mod machine;
mod plot;
mod report;

use figures::Spread;

/// Where the files go.
const FOLDER: &str = "bench/results";

/// Where figures go beside the page: the file that programs read, and the marks between which the page has them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) file: &'static str,
    pub(crate) begin: &'static str,
    pub(crate) end: &'static str,
    /// Whether there are plots of them.
    pub(crate) plots: bool,
}

impl Output {
    /// Of `make bench`.
    pub(crate) const PEERS: Self = Self {
        file: "latest.json",
        begin: "<!-- figures: written by `make bench`, not by hand -->\n",
        end: "<!-- end of figures -->",
        plots: true,
    };
    /// Of `make bench-security`.
    pub(crate) const SECURITY: Self = Self {
        file: "security.json",
        begin: "<!-- figures of security: written by `make bench-security`, not by hand -->\n",
        end: "<!-- end of the figures of security -->",
        plots: false,
    };
}

/// Everything of one run.
pub(crate) struct Results<'a> {
    lines: Vec<Line<'a>>,
    samples: Samples,
    settings: Settings,
}

/// One row, measured.
struct Line<'a> {
    row: &'a Row,
    ours: Spread,
    peer: Option<Spread>,
    ratio: f64,
}

/// One row, as other programs read it.
#[derive(Serialize)]
struct Entry<'a> {
    measure: &'a str,
    ours: f64,
    peer: Option<f64>,
    ratio: f64,
    at_least: Option<f64>,
    aim: Option<f64>,
    better: Better,
    runs: u32,
}

impl<'a> Results<'a> {
    /// Of all rounds.
    pub(crate) fn new(rows: &[&'a Row], samples: Samples, settings: &Settings) -> Self {
        let lines = rows.iter().map(|row| Line::new(row, &samples)).collect();
        Self { lines, samples, settings: settings.clone() }
    }

    /// As a table for the terminal.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for Line { row, ours, peer, ratio } in &self.lines {
            let peer = peer.as_ref().map(|peer| peer.shown(row.unit)).unwrap_or_default();
            let ours = ours.shown(row.unit);
            let verdict = row.goal.map_or(String::new(), |goal| {
                let most = if row.better == Better::Higher { "least" } else { "most" };
                let reached = if row.reached(*ratio) { "reached" } else { "SHORT" };
                format!("  (at {most} {}, aim {}) {reached}", goal.at_least, goal.aim)
            });
            let ratio = figures::ratio(*ratio);
            text.push_str(&format!("{}\n    {ours:<36} {peer:<36} {ratio:>8}{verdict}\n", row.measure));
        }
        text.push_str("\nprocessors in use while it was measured (load generator; servers)\n");
        let mut probes: Vec<_> = self.samples.iter().collect();
        probes.sort_by_key(|(probe, _)| **probe);
        for (probe, samples) in probes {
            text.push_str(&format!("    {:<28} {}\n", format!("{probe:?}"), shares(samples)));
        }
        text
    }

    /// Writes the files.
    pub(crate) fn write(&self, output: Output) -> anyhow::Result<()> {
        fs::create_dir_all(FOLDER)?;
        let entries: Vec<_> = self.lines.iter().map(|line| line.entry(self.settings.rounds)).collect();
        fs::write(format!("{FOLDER}/{}", output.file), serde_json::to_string_pretty(&entries)? + "\n")?;
        self.report(output)
    }
}

impl<'a> Line<'a> {
    fn new(row: &'a Row, samples: &Samples) -> Self {
        let figures = |(probe, at): (Probe, usize)| -> Vec<f64> {
            samples.get(&probe).into_iter().flatten().map(|sample| sample.figures[at]).collect()
        };
        let (ours, peer) = (figures(row.ours), row.peer.map(figures));
        let ratio = match &peer {
            None => figures::median(&ours),
            Some(peer) => {
                let ratios: Vec<f64> = ours.iter().zip(peer).map(|(ours, peer)| ours / peer).collect();
                figures::median(&ratios)
            }
        };
        Self { row, ours: Spread::new(&ours), peer: peer.map(|peer| Spread::new(&peer)), ratio }
    }

    fn entry(&self, runs: u32) -> Entry<'a> {
        let Row { measure, goal, better, .. } = *self.row;
        let (at_least, aim) = (goal.map(|goal| goal.at_least), goal.map(|goal| goal.aim));
        let peer = self.peer.as_ref().map(|peer| peer.median);
        Entry { measure, ours: self.ours.median, peer, ratio: self.ratio, at_least, aim, better, runs }
    }
}

/// The processors that the load generator and each server kept busy, on average.
fn shares(samples: &[Sample]) -> String {
    let share = |spent: &dyn Fn(&Sample) -> f64| {
        let shares: Vec<f64> = samples.iter().map(|sample| spent(sample) / sample.usage.wall).collect();
        figures::median(&shares)
    };
    let mut text = format!("{:.2};", share(&|sample| sample.usage.own));
    let servers = samples.first().map(|sample| &sample.usage.servers[..]).unwrap_or_default();
    for (n, (name, _)) in servers.iter().enumerate() {
        text.push_str(&format!(" {name} {:.2}", share(&|sample| sample.usage.servers[n].1)));
    }
    text
}
