//! What others are. `bench/setup` installs them; what is missing is an error that says so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::ensure;
use tempfile::TempDir;
use tidings_testing::{RedisServer, free_port};
use tokio::time::sleep;

use super::Process;
use crate::load::amqp;

/// Where `bench/setup` puts what it installs.
const FOLDER: &str = "target/bench/peers";
/// How long RabbitMQ may take until it takes logins.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);
const RABBITMQ: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// NATS, with JetStream's files in a folder of its own.
pub(super) async fn nats() -> anyhow::Result<Process> {
    let program = installed(Path::new(FOLDER).join("nats/bin/nats-server"))?;
    let (folder, port) = (tempfile::tempdir()?, free_port());
    let config = folder.path().join("nats.conf");
    let store = folder.path().join("jetstream");
    // Its question whether a client is still there would come between messages.
    let text = format!(
        "listen: 127.0.0.1:{port}\nping_interval: \"1h\"\njetstream {{ store_dir: {:?} }}\n",
        store.display().to_string()
    );
    fs::write(&config, text)?;
    let process = Process::start("nats-server", Command::new(program).arg("--config").arg(&config), port)?;
    up(process, folder).await
}

/// RabbitMQ, and the port mapper that it needs, with their files in a folder of their own.
pub(super) async fn rabbitmq() -> anyhow::Result<(Process, Process)> {
    let program = installed(PathBuf::from(RABBITMQ))?;
    let (folder, port, mapper_port) = (tempfile::tempdir()?, free_port(), free_port());
    let mapper = ["-address", "127.0.0.1", "-port", &mapper_port.to_string()];
    let mut mapper = Process::start("epmd", Command::new("epmd").args(mapper), mapper_port)?;
    mapper.listens().await?;
    let mut command = Command::new(program);
    let path = |name: &str| folder.path().join(name);
    command
        // The program replaces the script, and so has its process id.
        .env("detached", "true")
        .env("HOME", folder.path())
        .env("ERL_EPMD_PORT", mapper_port.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODENAME", "bench@localhost")
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_DIST_PORT", free_port().to_string())
        .env("RABBITMQ_MNESIA_BASE", path("mnesia"))
        .env("RABBITMQ_LOG_BASE", path("log"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins"))
        .env("RABBITMQ_CONFIG_FILE", path("rabbitmq"))
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("RABBITMQ_PID_FILE", path("pid"));
    let process = up(Process::start("rabbitmq-server", &mut command, port)?, folder).await?;
    // It takes connections before it takes logins.
    let end = Instant::now() + TEST_TIMEOUT;
    while let Err(error) = amqp::Publisher::open(process.target.address, "first", "").await {
        ensure!(Instant::now() < end, "RabbitMQ does not start: {error:#}");
        sleep(Duration::from_millis(50)).await;
    }
    Ok((process, mapper))
}

/// One of the Node.js pair.
pub(super) async fn node(which: &'static str, redis: &RedisServer) -> anyhow::Result<Process> {
    let folder = installed(Path::new(FOLDER).join("node"))?;
    installed(folder.join("node_modules"))?;
    let port = free_port();
    let script = folder.join(format!("{which}.mjs"));
    let mut command = Command::new("node");
    // Without it Express writes about every mistake, as in development.
    command.env("NODE_ENV", "production").arg(script).arg(port.to_string()).arg(redis.url());
    let name = if which == "publisher" { "node-publisher" } else { "node-subscriber" };
    let mut process = Process::start(name, &mut command, port)?;
    process.listens().await?;
    Ok(process)
}

async fn up(mut process: Process, folder: TempDir) -> anyhow::Result<Process> {
    process.listens().await?;
    Ok(process.with_folder(folder))
}

fn installed(path: PathBuf) -> anyhow::Result<PathBuf> {
    ensure!(path.exists(), "{} is missing: run bench/setup (`make bench` does)", path.display());
    Ok(path)
}
