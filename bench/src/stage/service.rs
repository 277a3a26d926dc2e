//! The services' own binaries, which are beside this one, and the echo, which is part of it.

use std::{
    env,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tidings::pb::StreamMessagesRequest;
use tidings_testing::free_port;
use tokio::time::sleep;

use super::{Access, Credentials, History, Process, Service};
use crate::load::{
    frames::Order,
    grpc::{Connection, PUBLISH, framed},
    publishing,
    target::Target,
};

/// How long a service may take until it serves.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Starts one, and does not wait for it.
pub(super) fn start(
    service: Service,
    redis: &[String],
    credentials: Option<&Credentials>,
    runner: &[&str],
) -> anyhow::Result<Process> {
    let port = free_port();
    let (name, program) = match service {
        Service::Publisher(..) | Service::GuardedPublisher(_) => ("tidings-publisher", binary("tidings-publisher")?),
        Service::Subscriber(_) | Service::GuardedSubscriber(_) => ("tidings-subscriber", binary("tidings-subscriber")?),
        Service::Echo => ("echo", env::current_exe()?),
    };
    let mut command = match runner {
        [] => Command::new(program),
        [runner, arguments @ ..] => {
            let mut command = Command::new(runner);
            command.args(arguments).arg(program);
            command
        }
    };
    if service == Service::Echo {
        command.args(["echo", "--listen"]);
    } else {
        command.args(redis).args(["--log-filter", "warn", "--listen"]);
    }
    command.arg(format!("127.0.0.1:{port}"));
    match service {
        Service::Publisher(_, History::None) => command.args(["--history-max-messages", "0"]),
        Service::Publisher(_, History::Million) => {
            command.args(["--history-max-messages", "1200000", "--history-max-bytes", "1GiB"])
        }
        _ => &mut command,
    };
    let Some(credentials) = credentials else { return Process::start(name, &mut command, port) };
    command.args(credentials.token_flags());
    if service.access() == Access::TlsAndToken {
        command.args(credentials.tls_flags());
    }
    let process = Process::start(name, &mut command, port)?;
    let target = credentials.target(process.target.address, service.access())?;
    Ok(process.with_target(target))
}

/// Waits until a service has served a first call.
pub(crate) async fn answers(service: Service, target: &Target) -> anyhow::Result<()> {
    let end = Instant::now() + TEST_TIMEOUT;
    while let Err(error) = serves(service, target).await {
        if Instant::now() > end {
            return Err(error.context(format!("{service:?} does not serve")));
        }
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

async fn serves(service: Service, target: &Target) -> anyhow::Result<()> {
    let connection = Connection::open(target.clone()).await?;
    if let Service::Subscriber(_) | Service::GuardedSubscriber(_) = service {
        let request = StreamMessagesRequest { channel: "first".to_owned(), ..StreamMessagesRequest::default() };
        connection.follow(&request, Order::Numbered).await?.catch_up().await?;
    } else {
        connection.unary(&connection.method(PUBLISH)?, framed(&publishing::request("first"))).await?;
    }
    Ok(())
}

fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let own = env::current_exe()?;
    let program = own.parent().context("no folder")?.join(name);
    if !program.is_file() {
        bail!("{} is not there; build the services first: cargo build --release --locked --bins", program.display());
    }
    Ok(program)
}
