//! `tidings subscription`, as a person and a program meet it.

use serde_json::Value;

use crate::harness::Served;

fn json(printed: &str) -> Value {
    serde_json::from_str(printed).expect("one JSON object")
}

/// The value of a row.
fn row<'a>(printed: &'a str, name: &str) -> &'a str {
    let row = printed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    row.unwrap_or_else(|| panic!("{name} is not in {printed}")).trim_start()
}

#[test]
fn a_subscription_is_created_shown_changed_listed_and_deleted() {
    let served = Served::start(&[]);
    served.ok(&["publish", "orders", "m", "--attribute", "region=eu"]);
    let created = served.ok(&[
        "subscription",
        "create",
        "bills",
        "--channel=orders",
        "--filter=attributes.region = \"eu\"",
        "--earliest",
        "--ack-deadline=90s",
        "--max-attempts=0",
        "--min-backoff=200ms",
        "--retention=1d",
        "--max-outstanding=7",
        "--expire-after=0s",
        "--label=team=a=b",
        "--label=x=",
    ]);
    for (name, value) in [
        ("name", "bills"),
        ("channel", "orders"),
        ("filter", "attributes.region = \"eu\""),
        ("ack_deadline", "1m 30s"),
        ("max_delivery_attempts", "without limit"),
        ("retry_policy", "200ms, doubled up to 5m"),
        ("message_retention", "1d"),
        ("max_outstanding_messages", "7"),
        ("expire_after", "never"),
        ("paused", "no"),
        ("label", "team=a=b"),
        ("backlog_count", "1"),
        ("unexamined_count", "1"),
    ] {
        assert_eq!(row(&created, name), value, "{name}");
    }
    assert!(row(&created, "oldest_unacknowledged").starts_with("#1 2"), "{created}");
    assert_eq!(served.ok(&["subscription", "show", "bills"]), created);

    // Only what is given is changed: of a policy the other half stays.
    served.ok(&["subscription", "update", "bills", "--max-backoff", "9s", "--paused"]);
    let shown = json(&served.ok(&["subscription", "show", "bills", "--json"]));
    assert_eq!(shown["retry_policy"], serde_json::json!({"min_backoff": "0.200s", "max_backoff": "9s"}));
    assert_eq!((&shown["paused"], &shown["ack_deadline"]), (&Value::from(true), &Value::from("90s")));
    assert_eq!(shown["labels"], serde_json::json!({"team": "a=b", "x": ""}));
    let resumed = served.ok(&["subscription", "update", "bills", "--resume", "--no-labels", "--output", "json"]);
    let resumed = json(&resumed);
    assert_eq!((&resumed["paused"], &resumed["labels"]), (&Value::from(false), &serde_json::json!({})));
    assert_eq!((&resumed["max_outstanding_messages"], &resumed["state"]["backlog_count"]), (&7.into(), &1.into()));

    served.ok(&["subscription", "create", "other", "--channel", "elsewhere", "--paused"]);
    let table = served.ok(&["subscription", "list"]);
    let names: Vec<_> = table.lines().map(|line| line.split_whitespace().next().expect("a cell")).collect();
    assert_eq!(names, ["SUBSCRIPTION", "bills", "other"]);
    assert!(table.contains("(paused)"), "{table}");
    assert_eq!(json(&served.ok(&["subscription", "list", "--channel", "elsewhere", "--json"]))["name"], "other");
    let none = served.run(&["subscription", "list", "--channel", "nothing"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("nothing has no subscriptions"), "{none:?}");

    assert_eq!(served.ok(&["subscription", "delete", "bills"]), "");
    let again = served.run(&["subscription", "delete", "bills"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("NOT_FOUND"), "{again:?}");
    served.ok(&["subscription", "delete", "bills", "--allow-missing"]);
    served.stop();
}

#[test]
fn a_subscription_starts_and_moves_where_it_is_asked_to() {
    let served = Served::start(&[]);
    for n in 1..=5 {
        served.ok(&["publish", "c", &n.to_string()]);
    }
    let listed = served.ok(&["list", "c", "--json", "--limit", "3"]);
    let third = json(listed.lines().nth(2).expect("a line"));
    let cursor = third["cursor"].as_str().expect("a text").to_owned();
    let backlog = |printed: &str| row(printed, "backlog_count").parse::<u32>().expect("a number");
    for (n, (start, waits)) in
        [(&["--earliest"][..], 5), (&["--last", "2"], 2), (&["--since", "1h"], 5), (&["--after", &cursor], 2), (&[], 0)]
            .into_iter()
            .enumerate()
    {
        let name = format!("s{n}");
        let created = served.ok(&[&["subscription", "create", &name, "--channel", "c"], start].concat());
        assert_eq!(backlog(&created), waits, "{start:?}");
    }
    for (to, waits) in
        [(&["--earliest"][..], 5), (&["--latest"], 0), (&["--since", "1h"], 5), (&["--after", &cursor], 2)]
    {
        let sought = served.ok(&[&["subscription", "seek", "s0"], to].concat());
        assert_eq!(backlog(&sought), waits, "{to:?}");
    }
    assert_eq!(json(&served.ok(&["subscription", "seek", "s0", "--latest", "--json"]))["state"]["backlog_count"], 0);
    served.stop();
}

#[test]
fn what_is_wrong_is_named() {
    let served = Served::start(&[]);
    let fails = |args: &[&str], code: i32, words: &[&str]| {
        let output = served.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{args:?}: {word:?} is not in {stderr:?}");
        }
    };
    fails(&["subscription", "show", "none"], 1, &["NOT_FOUND", "none"]);
    fails(&["subscription", "create", "a b", "--channel", "c"], 1, &["INVALID_ARGUMENT", "name"]);
    fails(&["subscription", "create", "s", "--channel", "c", "--ack-deadline", "11m"], 1, &["ack_deadline"]);
    fails(&["subscription", "create", "s", "--channel", "c", "--filter", "attributes.k ="], 1, &["filter"]);
    fails(&["subscription", "update", "none", "--paused"], 1, &["NOT_FOUND"]);
    fails(&["subscription", "update", "s"], 2, &["nothing to change", "--ack-deadline"]);
    fails(&["subscription", "dead", "none"], 1, &["NOT_FOUND"]);
    fails(&["subscription", "redrive", "none", "--all"], 1, &["NOT_FOUND"]);
    fails(&["consume", "none"], 1, &["NOT_FOUND", "none"]);
    fails(&["consume", "none", "--subscriber", "http://127.0.0.1:1"], 1, &["127.0.0.1:1", "--subscriber"]);
    served.stop();
}
