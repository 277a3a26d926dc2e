//! `tidings-subscriber`: listens to Redis channels and serves their messages over gRPC.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use tidings::{broker::closed_after, metrics::Part, printable::Printable};
use tidings_runtime::{
    Role,
    config::{DEFAULT_REDIS_URL, listen},
    healthcheck, runtime, shutdown, telemetry,
};
use tidings_subscriber::config::{Cli, Command, LISTEN_FLAG, Serve};
use tidings_transport::descriptors;

#[expect(clippy::print_stderr, reason = "what ends the program is printed on the terminal, however logs are set")]
fn main() -> ExitCode {
    // Clap ends the process by itself where the command line is wrong.
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", Printable(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let runtime = runtime(cli.serve.common.threads).context("can't start threads")?;
    runtime.block_on(async {
        match cli.command {
            Some(Command::Healthcheck(check)) => Ok(healthcheck::check(check.listen.address, check.timeout).await?),
            None => serve(cli.serve).await,
        }
    })
}

async fn serve(flags: Serve) -> Result<()> {
    telemetry::init(&flags.logs.filter, flags.logs.format)?;
    descriptors::raise(1);
    let settings = flags.settings()?;
    let broker = flags.common.choose_broker(Some(DEFAULT_REDIS_URL), Role::Subscriber)?;
    let listener = listen(flags.listen.address, LISTEN_FLAG, flags.common.may_be_exposed()).await?;
    let admin = flags.common.bind_admin(&[Part::Subscriber, Part::Redis]).await?;
    let stop = shutdown::on_signal()?;
    let broker = broker.start();
    let admin = admin.map(|server| server.open(broker.clone(), settings.server.auth.as_ref(), stop.clone()));
    tracing::info!(address = %listener.local_addr()?, broker = broker.describe(), "the subscriber listens");
    let timeout = settings.server.shutdown_timeout;
    let serving = tidings_subscriber::serve(listener, broker.clone(), settings, stop.clone());
    let served = closed_after(&broker, &stop, timeout, serving).await;
    if let Some(admin) = admin {
        admin.stop().await;
    }
    tracing::info!("the subscriber has stopped");
    Ok(served?)
}
