//! `tidings tail` and the lists, as a person meets them: what they say when there is nothing, and how they end.

use std::{process::Stdio, time::Duration};

use chrono::{FixedOffset, SecondsFormat, Utc};
use serde_json::Value;

use crate::harness::{Served, TEST_TIMEOUT, binary, clean_command};

#[test]
fn tail_says_at_once_what_it_follows_and_that_it_waits() {
    let served = Served::start(&[]);
    for (args, words) in [
        (&["quiet"][..], "following quiet from now on, waiting for new messages"),
        (&["quiet", "--last", "3"], "following quiet from the last 3 messages on, waiting"),
        (&["q*", "--earliest"], "following all channels that match q* from the oldest retained message on, waiting"),
        (&[], "following the default channel of http://127.0.0.1:"),
        (&["quiet", "--since", "2026-11-24T13:00:00+01:00"], "since 2026-11-24T12:00:00.000Z"),
    ] {
        let tail = served.tail(args);
        let stderr = tail.note();
        assert!(stderr.contains(words), "{stderr}");
        assert_eq!(tail.end("INT").0, Some(0));
    }
    // For programs it says nothing that is no message.
    for json in [&["--json"][..], &["--output", "json"]] {
        let tail = served.tail(&[&["c", "--earliest"], json].concat());
        served.ok(&["publish", "c", "m"]);
        assert_eq!(tail.json()["text"], "m");
        assert_eq!(tail.end("INT"), (Some(0), String::new()));
    }
    served.stop();
}

#[test]
fn tail_ends_with_its_reader_though_nothing_is_published() {
    let served = Served::start(&[]);
    served.ok(&["publish", "c", "only"]);
    for output in ["text", "json"] {
        let tail = format!(
            "'{}' tail c --earliest --output {output} --subscriber {}",
            binary("tidings").display(),
            served.subscriber
        );
        let script = format!("{{ {tail} 2>/dev/null; echo \"code $?\" >&2; }} | head -1");
        let mut child = clean_command("sh".as_ref());
        let child =
            child.args(["-c", &script]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sh starts");
        let (sender, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        let ended = ended.recv_timeout(TEST_TIMEOUT).expect("it ends by itself").expect("its output");
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "code 0\n");
        assert!(String::from_utf8_lossy(&ended.stdout).contains("only"));
    }
    served.stop();
}

#[test]
fn tail_ends_after_the_number_of_messages_asked_for() {
    let served = Served::start(&[]);
    for n in 1..=3 {
        served.ok(&["publish", "c", &n.to_string()]);
    }
    let printed = served.ok(&["tail", "c", "--earliest", "--count", "2", "--json"]);
    let texts: Vec<_> =
        printed.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["text"].clone()).collect();
    assert_eq!(texts, ["1", "2"]);
    let output = served.run(&["tail", "c", "--last", "1", "--count", "1"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("ends after one message"), "{output:?}");
    served.stop();
}

#[test]
fn since_takes_any_offset_and_fraction() {
    let served = Served::start(&[]);
    served.ok(&["publish", "c", "before"]);
    let printed = served.ok(&["list", "c", "--json"]);
    let first: Value = serde_json::from_str(&printed).expect("JSON");
    let time = first["publish_time"].as_str().expect("a time").parse::<chrono::DateTime<Utc>>().expect("RFC 3339");
    // A millisecond after the first, and not before the second.
    let since = time + Duration::from_millis(1);
    while Utc::now() < since {
        std::thread::yield_now();
    }
    served.ok(&["publish", "c", "after"]);
    let east = FixedOffset::east_opt(5 * 3600 + 1800).expect("an offset");
    for (since, text) in [(time, "before"), (since, "after")] {
        let since = since.with_timezone(&east).to_rfc3339_opts(SecondsFormat::Nanos, false);
        assert!(since.ends_with("+05:30") && since.contains('.'), "{since}");
        let printed = served.ok(&["tail", "c", "--since", &since, "--count", "1", "--json"]);
        assert_eq!(serde_json::from_str::<Value>(&printed).expect("JSON")["text"], text);
    }
    served.stop();
}

#[test]
fn lists_of_nothing_say_so() {
    let served = Served::start(&[]);
    for (args, words) in [
        (&["channels"][..], "there are no channels yet"),
        (&["channels", "--pattern", "x.*"], "no channel matches x.*"),
        (&["list", "unknown"], "unknown has no messages"),
        (&["list"], "the default channel has no messages"),
    ] {
        let output = served.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b""[..]), "{args:?}");
        assert!(stderr.contains(words) && stderr.lines().count() == 1, "{args:?}: {stderr}");
        let json = served.run(&[args, &["--json"]].concat());
        assert_eq!((json.status.code(), json.stdout.len(), json.stderr.len()), (Some(0), 0, 0), "{json:?}");
    }
    served.ok(&["publish", "c", "m"]);
    assert!(served.run(&["channels"]).stderr.is_empty() && served.run(&["list", "c"]).stderr.is_empty());
    served.stop();
}
