//! The built binaries as processes: killed with the test, their log shown where it fails.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use tempfile::NamedTempFile;

use crate::TEST_TIMEOUT;

/// A running process.
pub struct Process {
    child: Child,
    log: NamedTempFile,
    name: String,
}

impl Process {
    /// Starts a program of the workspace.
    pub fn start(program: &str, args: &[String]) -> Self {
        Self::spawn(program, clean_command(&binary(program)).args(args))
    }

    /// Starts one with variables of its environment.
    pub fn start_with(program: &str, variables: &[(&str, &str)], args: &[&str]) -> Self {
        Self::spawn(program, clean_command(&binary(program)).args(args).envs(variables.iter().copied()))
    }

    /// Waits until it has written this.
    pub fn wait_for_output(&self, text: &str) {
        let deadline = Instant::now() + TEST_TIMEOUT;
        while !self.output().contains(text) {
            assert!(Instant::now() < deadline, "{text:?} is not in {}", self.output());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts one that may have so many file descriptors, and no more.
    pub fn start_with_descriptors(program: &str, args: &[String], most: usize) -> Self {
        let script = format!("ulimit -n {most}; exec \"$0\" \"$@\"");
        Self::spawn(program, clean_command(Path::new("sh")).args(["-c", &script]).arg(binary(program)).args(args))
    }

    fn spawn(program: &str, command: &mut Command) -> Self {
        let log = NamedTempFile::new().expect("a temporary file");
        // One handle for both, or they would write over each other.
        let output = log.reopen().expect("the log");
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("the log"))
            .stderr(output)
            .spawn()
            .expect("the program starts");
        Self { child, log, name: program.to_owned() }
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        let command = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().expect("sh runs").success(), "{command}");
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How many file descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).expect("it runs").count()
    }

    /// Its resident memory, KiB.
    pub fn resident_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    /// The most that it ever had, KiB.
    pub fn most_resident_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel reports it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Waits for the end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "{} still runs after {limit:?}", self.name);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_some()
    }

    /// What it wrote.
    pub fn output(&self) -> String {
        let mut text = String::new();
        let read = File::open(self.log.path()).and_then(|mut file| file.read_to_string(&mut text));
        read.expect("a readable log");
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {} wrote:\n{}", self.name, self.output());
        }
    }
}

/// A command without the variables that would change what a test asks for.
pub fn clean_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDINGS_") {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1");
    if !with_fast_paths() {
        command.env("TIDINGS_NO_FAST_PATH", "true");
    }
    command
}

/// Whether services are tested as people run them. All tests pass as well where each call goes through the generated
/// services.
pub fn with_fast_paths() -> bool {
    std::env::var_os("WITHOUT_FAST_PATHS").is_none()
}

/// Where a program of the workspace is: in the folder above that of the tests. Cargo builds only the tested package's
/// own for its tests, so the others are built here, once; when all of the workspace is tested, they have been, with the
/// same features, for their own tests.
pub fn binary(program: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let tests = std::env::current_exe().expect("the path of the tests");
    let folder = tests.ancestors().nth(2).expect("a profile's folder, and the tests in one of its folders");
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
    let is_own = program == if package == "tidings-cli" { "tidings" } else { &package };
    if !is_own {
        BUILT.get_or_init(|| build_programs(folder));
    }
    folder.join(program).with_extension(std::env::consts::EXE_EXTENSION)
}

fn build_programs(folder: &Path) {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--quiet", "--workspace", "--no-run"]);
    cargo.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    cargo.arg("--target-dir").arg(folder.parent().expect("a profile's folder is in the target folder"));
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("cargo runs").success(), "the programs can't be built");
}
