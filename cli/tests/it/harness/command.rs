//! The commands as processes: `tidings serve`, commands that end by themselves, and a `tail` that is read line by line.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Output, Stdio},
    sync::mpsc::Receiver,
    time::Duration,
};

use serde_json::Value;

use super::{Process, TEST_TIMEOUT, binary, clean_command};

/// `tidings serve` on ports that the system chose.
pub(crate) struct Served {
    pub(crate) process: Process,
    pub(crate) publisher: String,
    pub(crate) subscriber: String,
}

impl Served {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut all: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        for flag in ["--publisher-listen", "--subscriber-listen"] {
            if !all.iter().any(|arg| arg.starts_with(flag)) {
                all.push(format!("{flag}=127.0.0.1:0"));
            }
        }
        let mut process = Process::start("tidings", &all);
        let (mut publisher, mut subscriber) = (String::new(), String::new());
        for _ in 0..500 {
            let output = process.output();
            let after = |label: &str| {
                let line = output.lines().find(|line| line.trim_start().starts_with(label))?;
                line.split_whitespace().nth(1).map(|address| format!("http://{address}"))
            };
            (publisher, subscriber) =
                (after("publisher ").unwrap_or_default(), after("subscriber ").unwrap_or_default());
            if output.contains("PublisherService/Publish") {
                break;
            }
            assert!(!process.has_ended(), "{output}");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!publisher.is_empty() && !subscriber.is_empty(), "{}", process.output());
        Self { process, publisher, subscriber }
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        run_with_input(args, self, b"")
    }

    /// Runs a command that must succeed; answers what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    pub(crate) fn tail(&self, args: &[&str]) -> Tail {
        self.follow(&[&["tail"], args].concat())
    }

    /// Starts a command that is read line by line.
    pub(crate) fn follow(&self, args: &[&str]) -> Tail {
        let mut command = clean_command(&binary("tidings"));
        command.args(args).args(["--subscriber", &self.subscriber]);
        Tail::start(command)
    }

    pub(crate) fn stop(mut self) {
        self.process.signal("TERM");
        assert!(self.process.wait(TEST_TIMEOUT).success(), "{}", self.process.output());
    }
}

pub(crate) fn run_with_input(args: &[&str], served: &Served, input: &[u8]) -> Output {
    let mut command = clean_command(&binary("tidings"));
    command.args(args).env("TIDINGS_PUBLISHER", &served.publisher).env("TIDINGS_SUBSCRIBER", &served.subscriber);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(input).expect("it reads its input");
    child.wait_with_output().expect("it ends")
}

/// A running `tidings tail`.
pub(crate) struct Tail {
    child: Child,
    lines: Receiver<String>,
    notes: Receiver<String>,
}

impl Tail {
    pub(crate) fn start(mut command: std::process::Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let lines = lines_of(child.stdout.take().expect("a pipe"));
        let notes = lines_of(child.stderr.take().expect("a pipe"));
        Self { child, lines, notes }
    }

    /// The next line on standard error.
    pub(crate) fn note(&self) -> String {
        self.notes.recv_timeout(TEST_TIMEOUT).expect("a note in time")
    }

    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(TEST_TIMEOUT).expect("a line in time")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.line()).expect("JSON")
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().expect("sh runs").success());
    }

    /// Ends it with a signal; answers its exit code and what else it wrote to standard error.
    pub(crate) fn end(mut self, signal: &str) -> (Option<i32>, String) {
        self.signal(signal);
        let status = self.child.wait().expect("it ends");
        // It ends with the program.
        let stderr = self.notes.iter().map(|note| note + "\n").collect();
        (status.code(), stderr)
    }
}

fn lines_of(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
