//! `tidings-publisher`: takes messages over gRPC and publishes them on Redis. See `tidings-publisher --help`.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use tidings::{broker::closed_after, metrics::Part, printable::Printable};
use tidings_publisher::config::{Cli, Command, Healthcheck, LISTEN_FLAG, Serve};
use tidings_runtime::{
    Role,
    config::{self, DEFAULT_REDIS_URL},
    healthcheck, runtime, shutdown, telemetry,
};
use tidings_transport::descriptors;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(clippy::print_stderr, reason = "what ends the program is printed on the terminal, however logs are set")]
fn main() -> ExitCode {
    // Clap ends the process by itself where the command line is wrong.
    let cli = Cli::parse();
    let runtime = runtime(cli.serve.common.threads).context("can't start threads");
    let done = runtime.and_then(|runtime| match cli.command {
        None => runtime.block_on(serve(cli.serve)),
        Some(Command::Healthcheck(asked)) => runtime.block_on(check(asked)),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", Printable(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

async fn serve(asked: Serve) -> anyhow::Result<()> {
    telemetry::init(&asked.logs.filter, asked.logs.format)?;
    descriptors::raise(1);
    let shutdown = shutdown::on_signal().context("can't listen for signals")?;
    let settings = asked.settings()?;
    let broker = asked.common.choose_broker(Some(DEFAULT_REDIS_URL), Role::Publisher)?;
    let listener = config::listen(asked.listen.address, LISTEN_FLAG, asked.common.may_be_exposed()).await?;
    let admin = asked.common.bind_admin(&[Part::Publisher, Part::Redis]).await?;
    let broker = broker.start();
    let admin = admin.map(|server| server.open(broker.clone(), settings.server.auth.as_ref(), shutdown.clone()));
    tracing::info!(address = %listener.local_addr()?, broker = broker.describe(), "the publisher listens");

    let timeout = settings.server.shutdown_timeout;
    let serving = tidings_publisher::serve(listener, broker.clone(), settings, shutdown.clone());
    let served = closed_after(&broker, &shutdown, timeout, serving).await;
    if let Some(admin) = admin {
        admin.stop().await;
    }
    tracing::info!("the publisher has stopped");
    Ok(served?)
}

async fn check(asked: Healthcheck) -> anyhow::Result<()> {
    Ok(healthcheck::check(asked.listen.address, asked.timeout).await?)
}
