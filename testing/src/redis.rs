//! A `redis-server` (or `valkey-server`) of a test's own.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long a server may take to come up on a busy machine.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Arguments of a server that has written to its disk whatever it has confirmed.
pub const DURABLE: [&str; 6] = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
const MISSING: &str = "neither redis-server nor valkey-server is on the PATH; install one, on Debian or Ubuntu with \
                       `apt-get install redis-server`, or run `make test`, which does it";

/// A server process with a folder and a port of its own. Dropping it ends the process.
#[derive(Debug)]
pub struct RedisServer {
    program: PathBuf,
    folder: TempDir,
    port: u16,
    /// What stands before all arguments: the file of one that keeps its state there.
    file: Option<PathBuf>,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts a server without persistence and waits until it answers.
    pub fn start() -> Self {
        Self::start_with(&["--save", "", "--appendonly", "no"])
    }

    /// Starts a server with arguments of its own, such as `--appendonly yes`, and waits until it answers.
    pub fn start_with(arguments: &[&str]) -> Self {
        let mut server = Self::prepare(arguments);
        server.run();
        server
    }

    /// Chooses folder and port without starting: the server that is away.
    pub fn prepare(arguments: &[&str]) -> Self {
        Self {
            program: program(),
            folder: tempfile::tempdir().expect("a temporary folder"),
            port: free_port(),
            file: None,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            process: None,
        }
    }

    /// Starts a server that is configured by a file and writes to it, as sentinels do, and waits until it answers.
    pub fn start_from_file(content: &str, arguments: &[&str]) -> Self {
        let mut server = Self::prepare(arguments);
        let file = server.folder.path().join("server.conf");
        fs::write(&file, content).expect("a file can be written");
        server.file = Some(file);
        server.run();
        server
    }

    /// Starts a replica of another server and waits until the two are in sync.
    pub fn replica_of(primary: &Self) -> Self {
        let replica = Self::start_with(&["--save", ""]);
        replica.follow(primary);
        replica
    }

    /// Becomes a replica of another server, and waits until the two are in sync: what the other has been given before
    /// is here as well.
    pub fn follow(&self, primary: &Self) {
        let port = primary.port.to_string();
        assert_eq!(self.command(&["REPLICAOF", "127.0.0.1", &port]), "+OK");
        self.wait_until("the replica is in sync", || {
            let (own, its) = (self.command(&["INFO", "replication"]), primary.command(&["INFO", "replication"]));
            own.contains("master_link_status:up") && its.contains(&format!("port={},state=online", self.port))
        });
    }

    /// Waits until this replica has all that its primary has been given so far.
    pub fn catch_up_with(&self, primary: &Self) {
        let offset = |info: &str, field: &str| {
            info.lines().find_map(|line| line.strip_prefix(field)?.trim().parse::<u64>().ok()).unwrap_or_default()
        };
        let goal = offset(&primary.command(&["INFO", "replication"]), "master_repl_offset:");
        self.wait_until("the replica has caught up", || {
            offset(&self.command(&["INFO", "replication"]), "slave_repl_offset:") >= goal
        });
    }

    /// Makes a replica a primary.
    pub fn promote(&self) {
        assert_eq!(self.command(&["REPLICAOF", "NO", "ONE"]), "+OK");
    }

    /// Starts the process, on the same port and folder as before, and waits until it answers.
    pub fn run(&mut self) {
        self.launch();
        self.wait_until("redis-server answers", || {
            // One that wants a password answers as well.
            self.try_command(&["PING"]).is_some_and(|reply| reply == "+PONG" || reply.starts_with("-NOAUTH"))
        });
    }

    /// Starts the process and waits for nothing: it may still be loading for a while.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "the server runs already");
        let process = Command::new(&self.program)
            .args(&self.file)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no"])
            .args(["--dir", &self.folder.path().to_string_lossy()])
            .args(["--repl-diskless-sync-delay", "0"])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server can be run");
        self.process = Some(process);
    }

    /// Ends the process at once, as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("the process can be ended");
            process.wait().expect("the process has ended");
        }
    }

    /// Ends the process and starts it again.
    pub fn restart(&mut self) {
        self.kill();
        self.run();
    }

    /// Stops the process without ending it: connections stay, nothing answers.
    pub fn pause(&self) {
        self.signal("-STOP");
        let stat = format!("/proc/{}/stat", self.pid().expect("it runs"));
        self.wait_until("it has stopped", || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")));
    }

    /// Resumes a process that was stopped.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// A copy of its files as they are now. What was written before is in it where the server was started with
    /// [`DURABLE`].
    pub fn snapshot(&self) -> Snapshot {
        let folder = tempfile::tempdir().expect("a temporary folder");
        copy(self.folder.path(), folder.path());
        Snapshot(folder)
    }

    /// Ends the process, replaces its files with earlier ones, and starts it again.
    pub fn restart_from(&mut self, snapshot: &Snapshot) {
        self.kill();
        self.folder = tempfile::tempdir().expect("a temporary folder");
        copy(snapshot.0.path(), self.folder.path());
        self.run();
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address as a URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The folder with its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The id of its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Sends one command and answers the raw reply, without its last line break. Panics when the server is away.
    pub fn command(&self, words: &[&str]) -> String {
        self.try_command(words).expect("the server answers")
    }

    /// The same with several commands over one connection; answers all raw replies.
    pub fn commands(&self, commands: &[&[&str]]) -> String {
        self.try_commands(commands).expect("the server answers")
    }

    /// The same as [`command`](Self::command), of a server that may be away, or end the connection.
    pub fn try_command(&self, words: &[&str]) -> Option<String> {
        self.try_commands(&[words])
    }

    fn try_commands(&self, commands: &[&[&str]]) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut request = String::new();
        // QUIT ends the connection, so that the replies can be read to their end. Sentinels, which have a file, do not
        // know it; they end a connection when its other half ends. Redis does not wait until large replies have left.
        let is_sentinel = self.file.is_some();
        let quit: &[&[&str]] = if is_sentinel { &[] } else { &[&["QUIT"]] };
        for words in commands.iter().chain(quit) {
            request.push_str(&format!("*{}\r\n", words.len()));
            for word in *words {
                request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
            }
        }
        stream.write_all(request.as_bytes()).ok()?;
        if is_sentinel {
            stream.shutdown(Shutdown::Write).ok()?;
        }
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).ok()?;
        let reply = String::from_utf8_lossy(&reply);
        let end = if is_sentinel { "" } else { "+OK" };
        Some(reply.trim_end().strip_suffix(end)?.trim_end().to_owned())
    }

    fn signal(&self, signal: &str) {
        let pid = self.pid().expect("the server runs").to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.expect("kill can be run").success(), "kill {signal} {pid}");
    }

    fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + TEST_TIMEOUT;
        while !condition() {
            assert!(Instant::now() < end, "gave up waiting: {what} (port {})", self.port);
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The files of a server at one moment.
#[derive(Debug)]
pub struct Snapshot(TempDir);

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a readable folder") {
        let entry = entry.expect("a readable folder");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a file's type").is_dir() {
            fs::create_dir(&to).expect("a folder can be made");
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a file can be copied");
        }
    }
}

/// A port of the loopback interface that is free now, and that nobody else in this process was given. It lies below the
/// ports that systems give to outgoing connections (from 32768 on Linux): one of those could take it before its server
/// does, or while its server is restarted.
pub fn free_port() -> u16 {
    const PORTS: std::ops::Range<u32> = 10_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let count = PORTS.end - PORTS.start;
    // Processes that test at the same time begin at different ports.
    let offset = std::process::id().wrapping_mul(211) % count;
    let port = |step: u32| (PORTS.start + (offset + step) % count) as u16;
    let mut tried = (0..count).map(|_| port(NEXT.fetch_add(1, Ordering::Relaxed)));
    tried.find(is_free).expect("a free port between 10000 and 32000")
}

/// What `REDIS_SERVER` names, where it is set: another version than the system's.
fn program() -> PathBuf {
    if let Some(program) = env::var_os("REDIS_SERVER") {
        return program.into();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let find = |name: &str| env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    find("redis-server").or_else(|| find("valkey-server")).expect(MISSING)
}
