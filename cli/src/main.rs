//! `tidings`: both services in one process, and the commands of a client. See `tidings --help`.

mod access;
mod args;
mod bench;
mod call;
mod channels;
mod client;
mod consume;
mod doctor;
mod error;
mod healthcheck;
mod list;
mod output;
mod progress;
mod publish;
mod render;
mod retry;
mod serve;
mod subscription;
mod tail;
mod token;
mod top;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
use consume::Signals;
use error::Error;
use output::{Out, note};
use tidings_runtime::{runtime, shutdown};
use tokio_util::sync::CancellationToken;

/// The exit code where the command line is wrong, as clap has it.
const USAGE: u8 = 2;
/// The exit code where a second signal ended it, as shells have it for the first.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    // Clap ends the process by itself where the command line is wrong.
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(Error::No) => ExitCode::FAILURE,
        Err(Error::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            note(format_args!("error: {error}"));
            match error {
                Error::Usage(_) => ExitCode::from(USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(cli: Cli) -> Result<(), Error> {
    let threads = match &cli.command {
        None => cli.serve.common.threads,
        Some(Command::Serve(serve)) => serve.common.threads,
        // Several, so that a reader who stops reading our output does not stop the connection's answers to pings.
        Some(_) => Some(2),
    };
    runtime(threads).map_err(Error::serve)?.block_on(dispatch(cli))
}

/// Serving and following end by themselves on the first signal; commands that only ask and answer are left to what a
/// signal does without us.
async fn dispatch(cli: Cli) -> Result<(), Error> {
    let mut out = Out::stdout();
    match cli.command {
        None => cli.serve.run(&program(), &mut out, on_signal()?).await,
        Some(Command::Serve(serve)) => serve.run(&program(), &mut out, on_signal()?).await,
        Some(Command::Publish(publish)) => publish.run(&mut out).await,
        Some(Command::Tail(tail)) => tail.run(&mut out, on_signal()?).await,
        Some(Command::List(list)) => list.run(&mut out).await,
        Some(Command::Channels(channels)) => channels.run(&mut out).await,
        Some(Command::Subscription(subscription)) => subscription.run(&mut out).await,
        Some(Command::Consume(consume)) => consume.run(&mut out, Signals::listen().map_err(Error::serve)?).await,
        Some(Command::Top(top)) => top.run(&mut out, on_signal()?).await,
        Some(Command::Bench(bench)) => bench.run(&mut out).await,
        Some(Command::Healthcheck(healthcheck)) => healthcheck.run().await,
        Some(Command::Doctor(doctor)) => doctor.run(&mut out).await,
        Some(Command::Token(token)) => {
            token.run(&mut out)?;
            Ok(out.flush()?)
        }
        Some(Command::Auth(auth)) => {
            let answered = auth.run(&mut out);
            out.flush()?;
            answered
        }
        Some(Command::Completions(completions)) => {
            out.raw(&completions.script())?;
            Ok(out.flush()?)
        }
    }
}

/// How this program was called, so that it can be called so again.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "tidings".to_owned())
}

fn on_signal() -> Result<CancellationToken, Error> {
    shutdown::on_signal().map_err(Error::serve)
}
