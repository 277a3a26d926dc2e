//! `make bench`: Tidings beside what people would use instead, everything measured in the same run, and written down in
//! `bench/results` and `BENCHMARKS.md`.
//!
//! [`rows`] says what is measured and what it must show, [`measure`] how, with the clients of [`load`] and the servers
//! of [`stage`]; [`run`] does it round by round, and [`results`] writes it down.

mod counts;
mod echo;
mod load;
mod measure;
mod results;
mod rows;
mod run;
mod say;
mod stage;

use std::{net::SocketAddr, time::Duration};

use clap::{Args, Parser, Subcommand};
use results::Output;
use say::say;
use tidings_transport::descriptors;
use tokio::{runtime::Builder, task::LocalSet};

/// Measures Tidings beside its peers
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer every `Publish` at once: what gRPC costs by itself
    Echo {
        /// Where to listen
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Count the instructions of the hot paths, and compare them with what they were
    Counts {
        /// Take them for what they should be from now on
        #[arg(long)]
        write: bool,
    },
    /// Measure what TLS and tokens cost, each beside the same service without them
    Security {
        #[command(flatten)]
        flags: Flags,
    },
}

#[derive(Debug, Args)]
struct Flags {
    /// Rounds; each measures everything on all sides once. Many short ones, since other work on a machine comes and
    /// goes in seconds
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Milliseconds of each measurement that goes by time
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(50..=30_000))]
    millis: u64,
    /// Fewer idle streams and shorter rests, where a measurement does not go by time
    #[arg(long)]
    quick: bool,
    /// Measure only rows that have this in their name, and write nothing down
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    // One thread: the load generator is to be cheap, and its share of the processors easy to see.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (flags, rows, output) = match cli.command {
        Some(Command::Echo { listen }) => return echo::serve(listen),
        Some(Command::Counts { write }) => return LocalSet::new().block_on(&runtime, counts::run(write)),
        Some(Command::Security { flags }) => (flags, rows::SECURITY, Output::SECURITY),
        None => (cli.flags, rows::ROWS, Output::PEERS),
    };
    if cfg!(debug_assertions) {
        say("this build is not optimised: its figures mean nothing (make bench)\n");
    }
    descriptors::raise(1);
    let rows: Vec<_> = rows.iter().filter(|row| row.measure.contains(flags.only.as_deref().unwrap_or(""))).collect();
    anyhow::ensure!(!rows.is_empty(), "no row has that in its name");
    let (time, load) = (Duration::from_millis(flags.millis), results::machine::load());
    let settings = run::Settings { rounds: flags.rounds, time, quick: flags.quick, load };
    let samples = LocalSet::new().block_on(&runtime, run::all(&rows, &settings))?;
    let results = results::Results::new(&rows, samples, &settings);
    say(&results.text());
    if flags.only.is_none() {
        results.write(output)?;
    }
    Ok(())
}
