//! `tidings consume`: what it prints, what it runs, and what it tells the server.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::Served;

/// A subscription `s` to the channel `c`, with so many messages before it.
fn subscribed(args: &[&str], messages: usize) -> Served {
    subscribed_at(&[], args, messages)
}

fn subscribed_at(serve: &[&str], args: &[&str], messages: usize) -> Served {
    let served = Served::start(serve);
    served.ok(&[&["subscription", "create", "s", "--channel", "c"], args].concat());
    for n in 1..=messages {
        served.ok(&["publish", "c", &format!("m{n}"), "--attribute", &format!("trace-id=t{n}")]);
    }
    served
}

fn state(served: &Served) -> [i64; 4] {
    let shown: Value = serde_json::from_str(&served.ok(&["subscription", "show", "s", "--json"])).expect("JSON");
    ["backlog_count", "outstanding_count", "waiting_count", "dead_letter_count"]
        .map(|count| shown["state"][count].as_i64().expect("a number"))
}

fn objects(printed: &str) -> Vec<Value> {
    printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The sequences and attempts of what was printed.
fn deliveries(printed: &str) -> Vec<(i64, i64)> {
    let number = |value: &Value| value.as_i64().expect("a number");
    objects(printed).iter().map(|object| (number(&object["sequence"]), number(&object["delivery_attempt"]))).collect()
}

fn lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn looking_takes_nothing_and_what_is_acknowledged_is_done() {
    let served = subscribed(&[], 3);
    let looked = served.ok(&["consume", "s", "--count", "2"]);
    assert_eq!(looked.lines().count(), 2);
    assert!(looked.lines().next().expect("a line").ends_with("c #1 m1 trace-id=t1"), "{looked}");
    // No attempt was counted, and nothing waits for its lease.
    let done = served.ok(&["consume", "s", "--ack", "--count", "3", "--json"]);
    let mut all = deliveries(&done);
    all.sort_unstable();
    assert_eq!(all, [(1, 1), (2, 1), (3, 1)]);
    for object in objects(&done) {
        assert_eq!(object["text"], format!("m{}", object["sequence"]));
        assert!(object["ack_id"].as_str().is_some_and(|id| !id.is_empty()));
    }
    assert_eq!(state(&served), [0; 4]);
    served.stop();
}

#[test]
fn looking_keeps_what_it_printed_until_it_ends() {
    let served = subscribed(&["--ack-deadline", "1s"], 1);
    let looking = served.follow(&["consume", "s"]);
    assert!(looking.note().contains("looking at up to 100 messages of s"));
    assert!(looking.line().ends_with("m1 trace-id=t1"));
    // Longer than its lease is without extensions.
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(state(&served), [1, 1, 0, 0]);
    assert_eq!(looking.end("INT"), (Some(0), String::new()));
    assert_eq!(deliveries(&served.ok(&["consume", "s", "--ack", "--count", "1", "--json"])), [(1, 1)]);
    served.stop();
}

#[test]
fn a_command_gets_the_message_and_its_success_acknowledges_it() {
    let served = subscribed(&[], 0);
    served.ok(&["publish", "c", "{\"n\": 1.10}", "--json", "--ordering-key", "k", "--attribute", "größe-1=x y"]);
    let command = "cat; echo \"|$TIDINGS_CHANNEL|$TIDINGS_SEQUENCE|$TIDINGS_ATTEMPT|$TIDINGS_ORDERING_KEY\
        |$TIDINGS_ATTRIBUTE_GR__E_1\"; test -n \"$TIDINGS_MESSAGE_ID$TIDINGS_EPOCH$TIDINGS_PUBLISH_TIME\"";
    let printed = served.ok(&["consume", "s", "--exec", command, "--count", "1"]);
    assert_eq!(printed, "{\"n\": 1.10}|c|1|1|k|x y\n");
    assert_eq!(state(&served), [0; 4]);
    served.stop();
}

#[test]
fn a_failure_is_tried_again_and_becomes_a_dead_letter() {
    let served = subscribed(&["--max-attempts", "2", "--min-backoff", "50ms"], 1);
    let failing = "echo attempt $TIDINGS_ATTEMPT >&2; exit 3";
    let output = served.run(&["consume", "s", "--exec", failing, "--count", "2"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains("c #1: exit status 3: attempt 2"), "{output:?}");
    assert_eq!(state(&served), [0, 0, 0, 1]);
    let dead = served.ok(&["subscription", "dead", "s"]);
    assert!(dead.contains("#1 after 2 attempts: exit status 3: attempt 2 | m1"), "{dead}");
    let dead = objects(&served.ok(&["subscription", "dead", "s", "--json"])).remove(0);
    assert_eq!((&dead["message"]["text"], &dead["message"]["attributes"]["trace-id"]), (&"m1".into(), &"t1".into()));

    let id = dead["dead_letter_id"].as_str().expect("a text");
    assert_eq!(served.ok(&["subscription", "redrive", "s", id, "1-2-none"]), "redriven_count 1\n");
    // No other attempt makes sense.
    let output = served.run(&["consume", "s", "--exec", "echo bad >&2; exit 65", "--count", "1"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("exit status 65: bad (a dead letter)"), "{output:?}");
    let dead = objects(&served.ok(&["subscription", "dead", "s", "--json"])).remove(0);
    assert_eq!((&dead["reason"], &dead["redrive_count"]), (&"exit status 65: bad".into(), &1.into()));
    let redriven = served.ok(&["subscription", "redrive", "s", "--all", "--output", "json"]);
    assert_eq!(objects(&redriven)[0]["redriven_count"], 1);
    let empty = served.run(&["subscription", "dead", "s"]);
    assert!(String::from_utf8_lossy(&empty.stderr).contains("s has no dead letters"), "{empty:?}");
    served.stop();
}

#[test]
fn a_command_that_takes_longer_than_its_lease_runs_once() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("runs");
    let served = subscribed(&["--ack-deadline", "1s", "--min-backoff", "0s"], 1);
    let command = format!("echo run >> '{}'; sleep 2.5", file.display());
    let output = served.run(&["consume", "s", "--exec", &command, "--count", "1", "--concurrency", "4"]);
    assert!(output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("warning"), "{output:?}");
    assert_eq!((lines(&file).len(), state(&served)), (1, [0; 4]));
    served.stop();
}

#[test]
fn a_connection_that_is_exchanged_leaves_the_command_running() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("runs");
    let served = subscribed_at(&["--max-connection-age=1s"], &["--min-backoff", "0s"], 1);
    let command = format!("echo run >> '{}'; sleep 4", file.display());
    let output = served.run(&["consume", "s", "--exec", &command, "--count", "1", "--concurrency", "2"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains("resumed") && !stderr.contains("warning"), "{output:?}");
    assert_eq!((lines(&file).len(), state(&served)), (1, [0; 4]));
    served.stop();
}

#[test]
fn as_many_commands_run_at_once_as_were_asked_for() {
    let folder = TempDir::new().expect("a folder");
    let served = subscribed(&[], 2);
    // Each waits for the other.
    let command = format!(
        "cd '{}'; mkdir $TIDINGS_SEQUENCE; for _ in $(seq 99); do test -d 1 -a -d 2 && exit; sleep .1; done; exit 1",
        folder.path().display()
    );
    let output = served.run(&["consume", "s", "--exec", &command, "--count", "2", "--concurrency", "2"]);
    assert!(output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("exit status"), "{output:?}");
    assert_eq!(state(&served), [0; 4]);
    served.stop();
}

#[test]
fn a_signal_waits_for_the_command_that_runs_and_begins_no_other() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("ends");
    let served = subscribed(&[], 3);
    let command = format!("echo begun; sleep 1; echo end >> '{}'", file.display());
    let consuming = served.follow(&["consume", "s", "--exec", &command]);
    assert_eq!(consuming.line(), "begun");
    let (code, stderr) = consuming.end("TERM");
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("waiting for the command that runs"), "{stderr}");
    assert_eq!(lines(&file), ["end"]);
    // The others were not touched.
    assert_eq!(deliveries(&served.ok(&["consume", "s", "--ack", "--count", "2", "--json"])), [(2, 1), (3, 1)]);
    served.stop();
}

#[test]
fn a_second_signal_kills_the_command_and_gives_its_message_back() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("ends");
    let served = subscribed(&[], 1);
    let command = format!("echo begun; sleep 3; echo end >> '{}'", file.display());
    let consuming = served.follow(&["consume", "s", "--exec", &command]);
    assert_eq!(consuming.line(), "begun");
    consuming.signal("INT");
    assert!(consuming.note().contains("consuming s, 1 at a time"));
    assert!(consuming.note().contains("a second signal kills it"));
    let (code, stderr) = consuming.end("INT");
    assert_eq!((code, stderr.as_str()), (Some(130), ""));
    assert_eq!(deliveries(&served.ok(&["consume", "s", "--ack", "--count", "1", "--json"])), [(1, 2)]);
    std::thread::sleep(Duration::from_secs(3));
    assert!(!file.exists(), "the command was killed");
    served.stop();
}
