//! What the programs say: no text from outside reaches a log or a terminal as it is, and nothing is said twice.

use std::{
    fs,
    path::Path,
    process::Output,
    time::{Duration, Instant},
};

use tidings::printable;
use tidings_testing::RedisServer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::sleep,
};

use crate::harness::{Process, Subscriber, TEST_TIMEOUT, binary, clean_command, crates, pattern};

/// A line of its own, colours, a cleared terminal, and what can't be seen.
const HOSTILE: &str =
    "x\n2026-01-01T00:00:00Z ERROR forged\r\t\u{1b}[31m\u{7f}\u{9b}2J\u{202e}\u{2066}\u{200b}\u{200f}\u{feff}y";

/// Waits until a log has a text, and holds all of it against what a log may have.
async fn logged_safely(process: &Process, text: &str) {
    let began = Instant::now();
    while !process.output().contains(text) {
        assert!(began.elapsed() < TEST_TIMEOUT, "it says {text:?}: {}", process.output());
        sleep(Duration::from_millis(20)).await;
    }
    let log = process.output();
    let raw: Vec<_> = log.chars().filter(|c| *c != '\n' && printable::is_hidden(*c)).collect();
    assert!(raw.is_empty(), "{raw:?} in {log:?}");
    assert!(log.lines().all(|line| !line.starts_with("2026-01-01T00:00:00Z")), "a forged line: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channels_name_reaches_the_log_as_an_escape() {
    let redis = RedisServer::start();
    let client = redis::Client::open(redis.url()).expect("a URL");
    let mut plain = client.get_multiplexed_async_connection().await.expect("connected");
    for format in ["human", "json"] {
        let format = format!("--log-format={format}");
        let subscriber = Subscriber::start(&redis.url(), &["--log-filter=debug", "--redis-timeout=2s", &format]).await;
        let mut stream = subscriber.stream(pattern("*")).await;
        stream.started().await;
        for channel in [HOSTILE, "fine"] {
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(channel).arg(HOSTILE);
            let _: i64 = publish.query_async(&mut plain).await.expect("published");
        }
        stream.caught_up().await;
        stream.message().await;
        logged_safely(&subscriber.process, "forged").await;
        assert!(subscriber.process.output().contains("202e"), "its name is logged: {}", subscriber.process.output());
        subscriber.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_of_a_server_reach_the_log_as_escapes() {
    // It refuses everything, at length, in one line of its protocol.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("redis://{}", listener.local_addr().expect("bound"));
    let serving = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.expect("a client");
            tokio::spawn(async move {
                let refusal = format!("-ERR {}\r\n", HOSTILE.replace(['\n', '\r'], " "));
                while client.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                    if client.write_all(refusal.repeat(4).as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    for program in ["tidings-publisher", "tidings-subscriber"] {
        for format in ["human", "json"] {
            let args = ["--listen=127.0.0.1:0", &format!("--redis-url={url}"), &format!("--log-format={format}")];
            let process = Process::start(program, &args.map(str::to_owned));
            logged_safely(&process, "forged").await;
        }
    }
    serving.abort();
}

fn refused(program: &str, args: &[&str]) -> String {
    let Output { status, stderr, .. } = clean_command(&binary(program)).args(args).output().expect("it starts");
    assert!(!status.success(), "{program} {args:?}");
    String::from_utf8(stderr).expect("UTF-8")
}

#[test]
fn what_ends_a_program_is_said_once_and_safely() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("bound").to_string();
    let capture = format!("--capture={HOSTILE}");
    for (program, args) in [
        ("tidings-subscriber", &["--capture=a b"][..]),
        ("tidings-subscriber", &[capture.as_str()]),
        ("tidings-publisher", &["--default-channel=a b"]),
        ("tidings-publisher", &["--redis-url=http://a"]),
        ("tidings-publisher", &["--listen", &taken]),
        ("tidings-publisher", &["healthcheck", "--listen=127.0.0.1:1"]),
    ] {
        let said = refused(program, args);
        let parts: Vec<_> = said.trim().split(": ").collect();
        let unique: std::collections::HashSet<_> = parts.iter().collect();
        assert_eq!(parts.len(), unique.len(), "something is said twice: {said}");
        assert!(!said.trim().chars().any(printable::is_hidden), "{said:?}");
    }
}

/// `{error:#}` and every other writer of a chain says the sources by itself.
#[test]
fn no_error_says_its_source_itself() {
    let (mut seen, mut twice) = (0, Vec::new());
    for folder in crates() {
        look(&folder.join("src"), &mut seen, &mut twice);
    }
    assert!(seen >= 5, "{seen}");
    assert!(twice.is_empty(), "these say their source twice: {twice:#?}");
}

fn look(folder: &Path, seen: &mut usize, twice: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            look(&path, seen, twice);
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let code = fs::read_to_string(&path).expect("code");
        for variant in code.split("#[error(").skip(1) {
            // Its fields end where the next variant, or whatever follows, begins.
            let variant = variant.split("\n    },").next().unwrap_or_default();
            let variant = variant.split("\n}").next().unwrap_or_default();
            let Some((words, fields)) = variant.split_once(")]") else { continue };
            let Some(source) = source(fields) else { continue };
            *seen += 1;
            if words.contains(&format!("{{{source}")) || words.contains(&format!("(.{source})")) {
                twice.push(format!("{}: {words}", path.display()));
            }
        }
    }
}

/// The name or the number of the field that is an error's source.
fn source(fields: &str) -> Option<String> {
    let marks = ["#[source]", "#[from]"].map(|mark| fields.find(mark));
    let mark = marks.into_iter().flatten().min().or_else(|| fields.find(" source:"))?;
    let (before, rest) = fields.split_at(mark);
    if before.contains('{') {
        let rest = rest.trim_start_matches("#[source]").trim_start_matches("#[from]").trim();
        return Some(rest.split(':').next()?.to_owned());
    }
    Some(before.matches(',').count().to_string())
}

#[test]
fn the_source_of_an_error_is_found() {
    let found = |fields| source(fields);
    assert_eq!(found("\n Name(String, #[source] Other),").as_deref(), Some("1"));
    assert_eq!(found("\n Name(#[from] Other),").as_deref(), Some("0"));
    assert_eq!(found("\n Name {\n a: u8,\n source: Other,").as_deref(), Some("source"));
    assert_eq!(found("\n Name {\n a: u8,\n #[source]\n cause: Other,").as_deref(), Some("cause"));
    assert_eq!(found("\n Name(String),"), None);
}

/// Code is formatted by a tool, comments are not.
#[test]
fn comments_end_at_column_120() {
    fn long_in(folder: &Path, long: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                let is_built = ["target", "node_modules"].iter().any(|built| path.ends_with(built));
                if !is_built {
                    long_in(&path, long);
                }
                continue;
            }
            let mark = match path.extension().and_then(|extension| extension.to_str()) {
                Some("rs") => "//",
                Some("lua") => "--",
                _ => continue,
            };
            let code = fs::read_to_string(&path).expect("code");
            for (number, line) in (1..).zip(code.lines()) {
                // Rows of tables can't be broken.
                let is_row = line.trim_start().trim_start_matches(['/', '!']).starts_with(" |");
                if line.trim_start().starts_with(mark) && !is_row && line.chars().count() > 120 {
                    long.push(format!("{}:{number}", path.display()));
                }
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut long = Vec::new();
    for folder in [
        "src",
        "auth",
        "bench",
        "broker-redis",
        "cli",
        "publisher",
        "runtime",
        "simulation",
        "subscriber",
        "testing",
        "transport",
    ] {
        long_in(&root.join(folder), &mut long);
    }
    assert!(long.is_empty(), "these comments are too long: {long:#?}");
}
