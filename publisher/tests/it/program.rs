//! The program itself: what it prints, and how it ends.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    path::Path,
    process::{Child, ChildStderr, Command, Output, Stdio},
};

use tidings_testing::clean_command;

/// Where no Redis is: nothing listens on the port that is reserved for TCPMUX.
const NO_REDIS: &str = "redis://me:hunter2@127.0.0.1:1";

fn program(args: &[&str]) -> Command {
    let mut command = clean_command(Path::new(env!("CARGO_BIN_EXE_tidings-publisher")));
    command.args(args);
    command
}

fn run(args: &[&str]) -> (Output, String) {
    let output = program(args).output().expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, stderr)
}

/// A publisher that runs; killed when the test ends, however that is.
struct Running {
    child: Child,
    logs: BufReader<ChildStderr>,
    address: String,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let all = [&["--listen", "127.0.0.1:0", "--redis-url", NO_REDIS], args].concat();
        let mut child = program(&all).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut logs = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("the publisher listens") {
            line.clear();
            assert_ne!(logs.read_line(&mut line).expect("text"), 0, "it ended without listening");
        }
        let log: serde_json::Value = serde_json::from_str(&line).expect("JSON, as this is no terminal");
        let address = log["address"].as_str().expect("an address").to_owned();
        Self { child, logs, address }
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill is there").success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_help_shows_flags_variables_and_defaults() {
    let (output, _) = run(&["--help"]);
    let help = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    for text in [
        "--listen <ADDRESS>",
        "[env: TIDINGS_PUBLISHER_LISTEN=] [default: 127.0.0.1:3000]",
        "[env: TIDINGS_HISTORY_MAX_BYTES=] [default: 64MiB]",
        "[env: TIDINGS_REDIS_URL]",
        "healthcheck",
    ] {
        assert!(help.contains(text), "{text} is not in: {help}");
    }
}

#[test]
fn what_cant_be_served_is_reported_once_with_its_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).expect("bound");
    for (args, remedy) in [
        (vec!["--listen", "0.0.0.0:0"], "--allow-anonymous"),
        (vec!["--listen", &taken.1], "choose another port with --listen"),
        (
            vec!["--listen", "127.0.0.1:0", "--redis-url", "redis+cluster://me:hunter2@h"],
            "--redis-url: redis+cluster://",
        ),
        (vec!["--listen", "127.0.0.1:0", "--default-channel", "a b"], "--default-channel"),
        (vec!["healthcheck", "--listen", "127.0.0.1:1"], "nothing answers at 127.0.0.1:1"),
    ] {
        let (output, stderr) = run(&args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        assert!(
            stderr.starts_with("error: ") && stderr.contains(remedy) && !stderr.contains("hunter2"),
            "{args:?}: {stderr}"
        );
    }
}

#[test]
fn it_starts_without_redis_says_so_and_stops_on_a_signal() {
    for signal in ["-TERM", "-INT"] {
        let mut running = Running::start(&[]);
        let (health, stderr) = run(&["healthcheck", "--listen", &running.address]);
        assert_eq!(health.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("not serving"), "{stderr}");
        running.signal(signal);
        assert_eq!(running.child.wait().expect("it ends").code(), Some(0));
        let mut logs = String::new();
        running.logs.read_to_string(&mut logs).expect("text");
        assert!(logs.contains("the publisher has stopped") && !logs.contains("hunter2"), "{logs}");
    }
}
