//! Processes, and what the system says they took.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tempfile::TempDir;
use tidings_testing::RedisServer;
use tokio::{net::TcpStream, time::sleep};

use crate::load::target::Target;

/// Clock ticks a second in /proc (USER_HZ, the same on all Linux machines).
const TICKS: f64 = 100.0;
/// How long a server may take to come up.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A server's process. Dropping it ends it.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    /// Where it listens, and how it is spoken to.
    pub(crate) target: Target,
    /// Its files, removed after it.
    folder: Option<TempDir>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts a program that will listen on a port. What it says goes to `target/bench/NAME.log`.
    pub(crate) fn start(name: &'static str, command: &mut Command, port: u16) -> anyhow::Result<Self> {
        let logs = PathBuf::from("target/bench");
        fs::create_dir_all(&logs)?;
        let log = File::create(logs.join(format!("{name}.log")))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("can't run {}", command.get_program().display()))?;
        Ok(Self { name, child, target: SocketAddr::from(([127, 0, 0, 1], port)).into(), folder: None })
    }

    /// Is spoken to so.
    pub(super) fn with_target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// Keeps a folder for as long as the process runs.
    pub(crate) fn with_folder(mut self, folder: TempDir) -> Self {
        self.folder = Some(folder);
        self
    }

    /// Waits until it takes connections.
    pub(crate) async fn listens(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + TEST_TIMEOUT;
        while TcpStream::connect(self.target.address).await.is_err() {
            let ended = self.child.try_wait()?;
            anyhow::ensure!(ended.is_none() && Instant::now() < end, "{} does not start: {ended:?}", self.name);
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status()?;
        anyhow::ensure!(asked.success(), "{} can't be asked to end", self.name);
        let end = Instant::now() + TEST_TIMEOUT;
        while self.child.try_wait()?.is_none() {
            anyhow::ensure!(Instant::now() < end, "{} does not end", self.name);
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Seconds that it has spent, user and system, to the nanosecond: of the threads that there are now.
    pub(crate) fn spent(&self) -> anyhow::Result<f64> {
        let mut spent = 0.0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let line = fs::read_to_string(thread?.path().join("schedstat"))?;
            spent += line.split(' ').next().context("no schedstat")?.parse::<f64>()? / 1e9;
        }
        Ok(spent)
    }

    /// Bytes of memory it holds now.
    pub(crate) fn resident(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
    }
}

/// A process whose time is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched {
    name: &'static str,
    pid: u32,
}

impl Watched {
    /// The server's name.
    pub(crate) fn name(self) -> &'static str {
        self.name
    }
}

impl From<&Process> for Watched {
    fn from(process: &Process) -> Self {
        Self { name: process.name, pid: process.child.id() }
    }
}

impl From<&RedisServer> for Watched {
    fn from(redis: &RedisServer) -> Self {
        Self { name: "redis", pid: redis.pid().unwrap_or_default() }
    }
}

/// Processor time of the load generator and of servers, from a moment on.
pub(crate) struct Meter {
    began: Instant,
    own: f64,
    servers: Vec<(Watched, f64)>,
}

/// What a meter read: seconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usage {
    /// On the clock.
    pub(crate) wall: f64,
    /// Of the load generator's processor time.
    pub(crate) own: f64,
    /// Of each server's.
    pub(crate) servers: Vec<(&'static str, f64)>,
}

impl Meter {
    /// Begins now.
    pub(crate) fn start(servers: &[Watched]) -> anyhow::Result<Self> {
        let own = processor_time(std::process::id())?;
        let servers = servers.iter().map(|server| anyhow::Ok((*server, processor_time(server.pid)?)));
        let servers = servers.collect::<Result<_, _>>()?;
        Ok(Self { began: Instant::now(), own, servers })
    }

    /// Seconds so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Ends now.
    pub(crate) fn stop(self) -> anyhow::Result<Usage> {
        let wall = self.began.elapsed().as_secs_f64();
        let own = processor_time(std::process::id())? - self.own;
        let spent = |(server, before): (Watched, f64)| anyhow::Ok((server.name, processor_time(server.pid)? - before));
        let servers = self.servers.into_iter().map(spent).collect::<Result<_, _>>()?;
        Ok(Usage { wall, own, servers })
    }
}

/// Seconds that a process has spent, user and system, in all its threads.
fn processor_time(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may have anything in it.
    let (_, fields) = stat.rsplit_once(") ").context("not a stat")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |at: usize| anyhow::Ok(fields.get(at).context("a short stat")?.parse::<f64>()?);
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}
