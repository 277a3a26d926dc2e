//! Round by round: each measures every probe once, forwards and backwards in turn, so that neither side of a row always
//! has the quieter or the warmer half.

use std::{collections::HashMap, io::IsTerminal as _, time::Duration};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::timeout;

use crate::{
    measure::{Plan, Probe, Sample},
    rows::{Row, probes},
    say::say,
    stage::Stage,
};

/// Within this every single measurement must be over.
const TEST_TIMEOUT: Duration = Duration::from_secs(120);

/// How it is measured.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) rounds: u32,
    /// Of each measurement that goes by time.
    pub(crate) time: Duration,
    /// Fewer idle streams and shorter rests.
    pub(crate) quick: bool,
    /// The system's load average before it began.
    pub(crate) load: String,
}

/// A sample of each round.
pub(crate) type Samples = HashMap<Probe, Vec<Sample>>;

/// Measures all.
pub(crate) async fn all(rows: &[&Row], settings: &Settings) -> anyhow::Result<Samples> {
    let (mut probes, mut samples, mut stage) = (probes(rows), Samples::new(), Stage::default());
    let bar = progress(u64::from(settings.rounds) * probes.len() as u64)?;
    for round in 0..settings.rounds {
        if !std::io::stderr().is_terminal() {
            say(&format!("round {} of {}\n", round + 1, settings.rounds));
        }
        for probe in &probes {
            bar.set_message(format!("round {} of {}: {probe:?}", round + 1, settings.rounds));
            let channel = format!("bench.{:03}", bar.position());
            let mut plan = Plan { stage: &mut stage, time: settings.time, channel, quick: settings.quick };
            let measured = timeout(TEST_TIMEOUT, probe.run(&mut plan));
            let sample = measured.await.with_context(|| format!("{probe:?}: not over in {TEST_TIMEOUT:?}"))?;
            samples.entry(*probe).or_default().push(sample.with_context(|| format!("{probe:?}"))?);
            stage.clear();
            bar.inc(1);
        }
        probes.reverse();
    }
    bar.finish_and_clear();
    Ok(samples)
}

fn progress(steps: u64) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}, about {eta} left; {wide_msg}")?;
    let bar = ProgressBar::new(steps).with_style(style);
    bar.enable_steady_tick(Duration::from_secs(1));
    Ok(bar)
}
