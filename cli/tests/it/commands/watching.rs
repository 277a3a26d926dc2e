//! `tidings top` and `tidings bench`.

use serde_json::Value;
use tidings::pb::publisher_service_client::PublisherServiceClient;

use crate::harness::{Served, Terminal, binary, clean_command, connect, text};

fn top(served: &Served, args: &[&str]) -> Terminal {
    let mut command = clean_command(&binary("tidings"));
    command.args(["top", "--interval", "100ms", "--subscriber", &served.subscriber]).args(args);
    Terminal::start(command)
}

#[test]
fn top_shows_rates_and_streams() {
    let served = Served::start(&[]);
    served.ok(&["publish", "quiet", "m"]);
    served.ok(&["publish", "busy", "m"]);
    let tail = served.tail(&["busy", "--json"]);
    let mut command = clean_command(&binary("tidings"));
    command.args(["top", "--once", "--interval", "2s", "--json", "--subscriber", &served.subscriber]);
    let looking = std::thread::spawn(move || command.output().expect("it ends"));
    // Within its two seconds, wherever they begin.
    served.ok(&["publish", "busy", "m", "--count", "120", "--rate", "40"]);
    let output = looking.join().expect("no panic");
    let look: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let channels = look["channels"].as_array().expect("channels");
    assert_eq!((&channels[0]["name"], &channels[1]["name"]), (&Value::from("busy"), &Value::from("quiet")), "{look}");
    let rate = channels[0]["messages_per_second"].as_f64().expect("a number");
    assert!((5.0..=60.0).contains(&rate), "{look}");
    assert_eq!(look["messages_per_second"], channels[0]["messages_per_second"]);
    assert_eq!(
        (&channels[1]["messages_per_second"], &channels[0]["subscriber_count"]),
        (&0.0.into(), &1.into()),
        "{look}"
    );
    assert_eq!(tail.end("INT").0, Some(0));

    let table = served.ok(&["top", "--once", "--interval", "100ms", "--pattern", "q*"]);
    let lines: Vec<_> = table.lines().collect();
    assert!(lines.len() == 3 && lines[1].starts_with("CHANNEL") && lines[2].starts_with("quiet"), "{table}");
    assert!(!table.contains('\u{1b}'), "{table:?}");
    served.stop();
}

#[test]
fn top_is_live_on_a_terminal_and_gives_it_back() {
    let served = Served::start(&[]);
    served.ok(&["publish", "busy", "m"]);
    let mut terminal = top(&served, &[]);
    terminal.wait_for("\u{1b}[?1049h");
    terminal.wait_for("busy");
    served.ok(&["publish", "news", "m", "--count", "7"]);
    terminal.wait_until("a new channel with its last number", |shown| {
        shown.lines().any(|line| line.starts_with("news") && line.split_whitespace().nth(2) == Some("7"))
    });
    // Names that are as long as may be are cut, not wrapped.
    served.ok(&["publish", &"n".repeat(255), "m"]);
    terminal.wait_for(&format!("{}\u{1b}[K", "n".repeat(100)));
    terminal.signal("INT");
    assert_eq!(terminal.wait(), Some(0));
    terminal.wait_for("\u{1b}[?25h\u{1b}[?1049l");
    served.stop();
}

#[test]
fn top_continues_while_the_service_is_away() {
    let served = Served::start(&[]);
    served.ok(&["publish", "busy", "m"]);
    let mut terminal = top(&served, &["--timeout", "500ms"]);
    terminal.wait_for("busy");
    served.process.signal("KILL");
    terminal.wait_for("UNAVAILABLE");
    terminal.signal("TERM");
    assert_eq!(terminal.wait(), Some(0));
}

#[test]
fn bench_measures_and_finds_nothing_lost() {
    let served = Served::start(&[]);
    let args = ["bench", "--seconds", "1", "--rate", "200", "--publishers", "2", "--streams", "3", "--size", "256"];
    let report: Value = serde_json::from_str(&served.ok(&[&args[..], &["--output", "json"]].concat())).expect("JSON");
    let number = |name: &str| report[name].as_u64().expect(name);
    assert_eq!((number("published"), number("delivered")), (200, 600), "{report}");
    assert_eq!((number("lost"), number("doubled"), number("failed")), (0, 0, 0), "{report}");
    for times in ["receipt_ms", "end_to_end_ms"] {
        let [p50, p99, max] = ["p50", "p99", "max"].map(|name| report[times][name].as_f64().expect(name));
        assert!(0.0 < p50 && p50 <= p99 && p99 <= max && max < 20_000.0, "{report}");
    }
    let list = served.ok(&["list", report["channel"].as_str().expect("a name"), "--json", "--limit", "1"]);
    let message: Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(message["text"].as_str().map(str::len), Some(256));

    let fast = served.run(&["bench", "--seconds", "1", "--rate", "0"]);
    let printed = String::from_utf8_lossy(&fast.stdout);
    assert!(fast.status.success(), "{fast:?}");
    for word in ["a second", "end to end", "p50", "p99", "lost         0", "doubled      0"] {
        assert!(printed.contains(word), "{word}: {printed}");
    }
    let channels = served.ok(&["channels", "--json"]);
    assert_eq!(channels.lines().filter(|line| line.contains("tidings-bench-")).count(), 2, "{channels}");
    served.stop();
}

#[test]
fn bench_fails_where_a_message_is_lost() {
    // Two deployments that know nothing of each other: what one takes the other cannot deliver.
    let (here, there) = (Served::start(&[]), Served::start(&[]));
    let mut command = clean_command(&binary("tidings"));
    command.args(["bench", "--seconds", "1", "--rate", "20", "--timeout", "1s", "--json"]);
    command.args(["--publisher", &here.publisher, "--subscriber", &there.subscriber]);
    let output = command.output().expect("it ends");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["published"], &report["lost"], &report["delivered"]), (&20.into(), &20.into(), &0.into()));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("20 messages with a receipt did not arrive"), "{stderr}");
    here.stop();
    there.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_fails_where_a_message_comes_twice() {
    let served = Served::start(&[]);
    let echo = served.tail(&["tidings-bench-*", "--json"]);
    let mut command = clean_command(&binary("tidings"));
    command.args(["bench", "--seconds", "2", "--rate", "20", "--json"]);
    command.args(["--publisher", &served.publisher, "--subscriber", &served.subscriber]);
    let measuring = std::thread::spawn(move || command.output().expect("it ends"));
    let address = served.publisher.trim_start_matches("http://").parse().expect("an address");
    // Somebody publishes the first message again.
    let first = tokio::task::spawn_blocking(move || echo.json()).await.expect("no panic");
    let mut client = PublisherServiceClient::new(connect(address).await);
    let again = text(first["channel"].as_str().expect("a name"), first["text"].as_str().expect("a text"));
    client.publish(again).await.expect("published");
    let output = measuring.join().expect("no panic");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["doubled"], &report["lost"]), (&1.into(), &0.into()), "{report}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("1 message arrived twice"), "{stderr}");
    served.stop();
}
