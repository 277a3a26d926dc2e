//! `tidings publish`: what is a message and what is an option, and many messages at once.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::harness::{Served, Terminal, binary, clean_command, run_with_input};

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn texts(served: &Served, channel: &str) -> Vec<String> {
    let list = json_lines(&served.ok(&["list", channel, "--json"]));
    list.iter().map(|message| message["text"].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn unknown_options_are_refused_and_two_dashes_end_them() {
    let served = Served::start(&[]);
    let refused = served.run(&["publish", "c", "--dry-run"]);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("unexpected argument '--dry-run'") && stderr.contains("-- --dry-run"), "{stderr}");
    for args in [&["-5"][..], &["-0.5"], &["--", "--dry-run"], &["--json", "--", "-7"]] {
        served.ok(&[&["publish", "c"], args].concat());
    }
    let list = json_lines(&served.ok(&["list", "c", "--json"]));
    let payloads: Vec<_> = list.iter().map(|message| message.get("text").unwrap_or(&message["json"]).clone()).collect();
    assert_eq!(payloads, [Value::from("-5"), "-0.5".into(), "--dry-run".into(), (-7).into()]);
    served.stop();
}

#[test]
fn receipts_are_json_where_they_are_asked_to_be() {
    let served = Served::start(&[]);
    let id = "0192f5c0-0000-7000-8000-000000000001";
    let receipt = |payload: &str| {
        let printed = served.ok(&["publish", "c", payload, "--json", "--id", id, "--output", "json"]);
        serde_json::from_str::<Value>(&printed).expect("one JSON object")
    };
    let (first, second) = (receipt("{\"n\": 1.10}"), receipt("2"));
    assert_eq!((&first["channel"], &first["sequence"]), (&Value::from("c"), &Value::from(1)));
    assert_eq!((&first["message_id"], &first["duplicate"]), (&Value::from(id), &Value::from(false)));
    for name in ["publish_time", "epoch", "cursor"] {
        assert!(!first[name].as_str().expect(name).is_empty());
        assert_eq!(first[name], second[name]);
    }
    assert_eq!((&second["sequence"], &second["duplicate"]), (&Value::from(1), &Value::from(true)));
    // --json is about the payload.
    assert!(served.ok(&["list", "c", "--json"]).contains("\"json\":{\"n\": 1.10}"));
    served.stop();
}

#[test]
fn every_line_is_a_message_in_its_order() {
    let served = Served::start(&[]);
    // More than may be under way at once.
    let lines: Vec<_> = (0..3_000).map(|number| format!("line {number}")).collect();
    let output = run_with_input(&["publish", "c", "--lines"], &served, lines.join("\r\n").as_bytes());
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    assert!(printed.contains("published    3000\n") && printed.contains("sequences    1 to 3000\n"), "{printed}");
    assert_eq!(texts(&served, "c"), lines);

    let output =
        run_with_input(&["publish", "j", "-", "--lines", "--json", "--output", "json"], &served, b"{\"a\": 1}\n\n 2\n");
    let receipts = json_lines(&String::from_utf8(output.stdout).expect("UTF-8"));
    assert_eq!(receipts.iter().map(|receipt| receipt["sequence"].as_i64()).collect::<Vec<_>>(), [Some(1), Some(2)]);
    let nothing = run_with_input(&["publish", "n", "--lines"], &served, b"");
    assert_eq!((nothing.status.code(), nothing.stdout.as_slice()), (Some(0), &b"published    0\n"[..]));
    served.stop();
}

#[test]
fn the_first_line_that_fails_ends_it_and_what_was_published_is_reported() {
    let served = Served::start(&[]);
    for (input, words, published) in [
        (&b"1\n{\n"[..], ["message 2: INVALID_ARGUMENT", "INVALID_JSON", "With a receipt: 1, failed: 1"], 1),
        (b"1\n2\n\xff\n4\n", ["line 3 of standard input", "not UTF-8", "With a receipt: 2"], 3),
    ] {
        let output = run_with_input(&["publish", "c", "--lines", "--json"], &served, input);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{stderr}");
        assert!(words.iter().all(|word| stderr.contains(word)), "{stderr}");
        assert_eq!(json_lines(&served.ok(&["list", "c", "--json"])).len(), published);
    }
    let usage = served.run(&["publish", "c", "m", "--lines"]);
    assert_eq!(usage.status.code(), Some(2), "{usage:?}");
    served.stop();
}

#[test]
fn one_message_can_be_published_often_and_slowly() {
    let served = Served::start(&[]);
    let start = Instant::now();
    let printed = served.ok(&["publish", "c", "tick", "--count", "5", "--rate", "20", "--attribute", "k=v"]);
    assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
    assert!(printed.contains("published    5\n"), "{printed}");
    let list = json_lines(&served.ok(&["list", "c", "--json"]));
    assert_eq!(list.len(), 5);
    assert!(list.iter().all(|message| message["text"] == "tick" && message["attributes"]["k"] == "v"), "{list:?}");
    served.stop();
}

#[test]
fn what_has_no_receipt_when_the_service_dies_is_counted() {
    let served = Served::start(&[]);
    let mut command = clean_command(&binary("tidings"));
    command.args(["publish", "c", "--lines", "--output", "json", "--publisher", &served.publisher]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(b"first\n").expect("it reads");
    let mut receipt = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut receipt).expect("a receipt");
    assert!(receipt.contains("\"sequence\":1"), "{receipt}");
    // Its input stays open: it must end all the same.
    served.process.signal("KILL");
    let mut stderr = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("UTF-8");
    assert_eq!(child.wait().expect("it ends").code(), Some(1), "{stderr}");
    assert!(stderr.contains("With a receipt: 1"), "{stderr}");
}

#[test]
fn a_bar_is_drawn_on_a_terminal_and_nowhere_else() {
    let served = Served::start(&[]);
    let mut command = clean_command(&binary("tidings"));
    command.args(["publish", "c", "m", "--count", "30", "--rate", "30", "--publisher", &served.publisher]);
    let mut terminal = Terminal::start(command);
    terminal.wait_until("a count of all", |shown| shown.contains("/30"));
    assert_eq!(terminal.wait(), Some(0));
    terminal.wait_for("published    30");
    let elsewhere = served.run(&["publish", "c", "m", "--count", "30"]);
    assert!(elsewhere.stderr.is_empty(), "{elsewhere:?}");
    served.stop();
}
