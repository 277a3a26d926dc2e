//! `make bench`: what Tidings does, each figure beside the same thing done with a bare Redis client in the same run.
//!
//! It starts a `redis-server` of its own and both services, each on one thread as on a machine of two cores. The rounds take
//! turns between both sides, so that what disturbs the machine disturbs both; the table has medians, the extremes, and
//! the median of the rounds' ratios. "Bare" is a plain PUBLISH: no sequence, no log, no acknowledged retention.

mod bare;
mod fanout;
mod frames;
mod house;
mod latency;
mod pace;
mod publishing;
mod raw;
mod table;

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::Context as _;
use clap::Parser;
use tokio::time::timeout;

use fanout::WINDOW;
use house::House;
use table::Row;

/// Bytes of text in every message.
const MESSAGE_BYTES: usize = 100;
/// Within this every single measurement must be over.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures Tidings beside a bare Redis client
#[derive(Debug, Parser)]
struct Flags {
    /// Rounds; each measures everything on both sides once
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each measurement that goes by time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=20))]
    seconds: u64,
    /// Let Redis append to a file (everysec), as docker-compose.yml does
    #[arg(long)]
    appendonly: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy)]
enum Case {
    Unary,
    Stream,
    /// To this many streams, the publishers close to the slowest reader.
    Fanout(usize),
    /// To this many streams, the publishers as fast as it goes.
    Flood(usize),
    Latency,
}

/// Which side is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Tidings,
    Bare,
}

const CASES: [Case; 7] =
    [Case::Unary, Case::Stream, Case::Fanout(1), Case::Fanout(10), Case::Fanout(100), Case::Flood(100), Case::Latency];

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    if cfg!(debug_assertions) {
        progress("this build is not optimised: its figures mean nothing (cargo run --release)\n");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let rows = runtime.block_on(measure(&flags))?;
    let title = format!(
        "{MESSAGE_BYTES}-byte texts, {} rounds, Redis with appendonly {}, {} processors",
        flags.rounds,
        if flags.appendonly { "yes" } else { "no" },
        std::thread::available_parallelism()?,
    );
    io::stdout().lock().write_all(table::render(&title, &rows).as_bytes())?;
    Ok(())
}

async fn measure(flags: &Flags) -> anyhow::Result<Vec<Row>> {
    let house = House::start(flags.appendonly).await?;
    let mut rows: Vec<Row> = CASES.iter().flat_map(|case| case.rows()).collect();
    for round in 0..flags.rounds {
        let mut at = 0;
        for case in CASES {
            // Neither side always has the quieter or the warmer half.
            let sides = if round % 2 == 0 { [Side::Tidings, Side::Bare] } else { [Side::Bare, Side::Tidings] };
            for side in sides {
                progress(&format!("\r\x1b[Kround {}/{}: {case:?}, {side:?}", round + 1, flags.rounds));
                let measured = timeout(PATIENCE, case.run(side, &house, Duration::from_secs(flags.seconds), round));
                let figures =
                    measured.await.with_context(|| format!("{case:?}, {side:?}: not over in {PATIENCE:?}"))?;
                let figures = figures.with_context(|| format!("{case:?}, {side:?}"))?;
                for (row, figure) in rows[at..].iter_mut().zip(figures) {
                    row.push(side, figure);
                }
                house.clear().await?;
            }
            at += case.rows().len();
        }
    }
    progress("\r\x1b[K");
    house.stop().await;
    Ok(rows)
}

impl Case {
    fn rows(self) -> Vec<Row> {
        match self {
            Self::Unary => vec![Row::rate(format!("publishes, unary, {} at once", publishing::CALLS))],
            Self::Stream => vec![Row::rate("publishes, streamed")],
            Self::Fanout(1) => vec![Row::rate("deliveries to 1 stream")],
            Self::Fanout(streams) => vec![Row::rate(format!("deliveries to {streams} streams"))],
            Self::Flood(streams) => vec![Row::rate(format!("the same to {streams}, in a flood"))],
            Self::Latency => vec![Row::time("end to end at 1,000/s, p50"), Row::time("end to end at 1,000/s, p99")],
        }
    }

    /// Measures; one figure for each row. Each measurement has a channel that nothing was published on before.
    async fn run(self, side: Side, house: &House, time: Duration, round: u32) -> anyhow::Result<Vec<f64>> {
        let channel = format!("bench:{self:?}:{round}").replace(['(', ')'], ":");
        Ok(match (self, side) {
            (Self::Unary, Side::Tidings) => vec![publishing::unary(house, &channel, time).await?],
            (Self::Unary, Side::Bare) => vec![bare::publish_one_by_one(house, &channel, time).await?],
            (Self::Stream, Side::Tidings) => vec![publishing::stream(house, &channel, time).await?],
            (Self::Stream, Side::Bare) => vec![bare::publish_pipelined(house, &channel, time).await?],
            (Self::Fanout(streams), Side::Tidings) => vec![fanout::tidings(house, &channel, streams, WINDOW).await?],
            (Self::Fanout(streams), Side::Bare) => vec![fanout::bare(house, &channel, streams, WINDOW).await?],
            (Self::Flood(streams), Side::Tidings) => vec![fanout::tidings(house, &channel, streams, usize::MAX).await?],
            (Self::Flood(streams), Side::Bare) => vec![fanout::bare(house, &channel, streams, usize::MAX).await?],
            (Self::Latency, Side::Tidings) => latency::tidings(house, &channel, time).await?.to_vec(),
            (Self::Latency, Side::Bare) => latency::bare(house, &channel, time).await?.to_vec(),
        })
    }
}

fn progress(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
