//! The command line, as processes.

mod consuming;
mod doctor;
mod following;
mod printing;
mod publishing;
mod services;
mod subscriptions;
mod watching;

use std::net::TcpListener;

use serde_json::Value;
use tidings_testing::RedisServer;

use crate::harness::{
    Process, Publisher, Served, Subscriber, TEST_TIMEOUT, Tail, binary, clean_command, run_with_input, text,
};

#[test]
fn publish_tail_list_and_channels_work_together() {
    let served = Served::start(&[]);
    let first_line = served.process.output().lines().next().expect("a line").to_owned();
    assert!(first_line.contains("embedded") && first_line.contains("gone when it ends"), "{first_line}");

    let receipt = served.ok(&["publish", "orders", "hello", "--attribute", "k=v=w", "--ordering-key", "o"]);
    assert!(receipt.contains("sequence     1\n") && receipt.contains("cursor "), "{receipt}");
    served.ok(&["publish", "orders", "{\"n\": 1.10}", "--json"]);
    assert!(run_with_input(&["publish", "orders", "-"], &served, "Grüße\n".as_bytes()).status.success());
    assert!(run_with_input(&["publish", "orders", "--data", "-"], &served, b"\xff\x00").status.success());

    let tail = served.tail(&["orders", "--earliest", "--json"]);
    let first = tail.json();
    assert_eq!((&first["text"], &first["sequence"]), (&Value::from("hello"), &Value::from(1)));
    assert_eq!((&first["attributes"]["k"], &first["ordering_key"]), (&Value::from("v=w"), &Value::from("o")));
    assert!(tail.line().contains("\"json\":{\"n\": 1.10}"));
    assert_eq!(tail.json()["text"], "Grüße\n");
    assert_eq!(tail.json()["data"], "/wA=");
    let id = "0192f5c0-0000-7000-8000-000000000001";
    served.ok(&["publish", "orders", "live", "--id", id]);
    assert_eq!(tail.json()["message_id"], id);
    assert!(served.ok(&["publish", "orders", "live", "--id", id]).contains("duplicate    true"));
    assert_eq!(tail.end("INT"), (Some(0), String::new()));

    let list = served.ok(&["list", "orders"]);
    assert_eq!(list.lines().count(), 5, "{list}");
    assert!(list.lines().next().expect("a line").ends_with("orders #1 hello key=o k=v=w"), "{list}");
    let newest = served.ok(&["list", "orders", "--newest-first", "--limit", "2", "--json"]);
    let sequences: Vec<_> =
        newest.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["sequence"].clone()).collect();
    assert_eq!(sequences, [5, 4]);

    served.ok(&["publish", "other", "x"]);
    let channels = served.ok(&["channels", "--json", "--pattern", "o*s"]);
    let channel: Value = serde_json::from_str(&channels).expect("one JSON object");
    assert_eq!((&channel["name"], &channel["last_sequence"]), (&Value::from("orders"), &Value::from(5)));
    assert_eq!(served.ok(&["channels"]).lines().count(), 3);
    served.stop();
}

#[test]
fn list_pages_through_everything() {
    let served = Served::start(&[]);
    for _ in 0..6 {
        let output = run_with_input(&["publish", "many", "-"], &served, &[b'x'; 900_000]);
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(served.ok(&["list", "many", "--json"]).lines().count(), 6);
    assert_eq!(served.ok(&["list", "many", "--json", "--limit", "5"]).lines().count(), 5);
    served.stop();
}

#[test]
fn tail_starts_where_it_is_asked_to() {
    let served = Served::start(&[]);
    for n in 1..=4 {
        served.ok(&["publish", "c", &n.to_string()]);
    }
    let sequence = |tail: &Tail| tail.json()["sequence"].as_i64().expect("a number");
    assert_eq!(sequence(&served.tail(&["c", "--json", "--last", "2"])), 3);
    assert_eq!(sequence(&served.tail(&["c", "--json", "--since", "10m"])), 1);
    assert_eq!(sequence(&served.tail(&["c*", "--json", "--earliest"])), 1);
    let first: Value = served.tail(&["c", "--json", "--earliest"]).json();
    let cursor = first["cursor"].as_str().expect("a text");
    assert_eq!(sequence(&served.tail(&["c", "--json", "--after", cursor])), 2);
    served.stop();
}

#[test]
fn failures_name_code_field_and_flag_and_usage_errors_are_distinguished() {
    let served = Served::start(&[]);
    let fails = |args: &[&str], code: i32, words: &[&str]| {
        let output = served.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{args:?}: {word:?} is not in {stderr:?}");
        }
    };
    fails(&["publish", "a b", "x"], 1, &["INVALID_ARGUMENT", "INVALID_CHANNEL", "channel"]);
    fails(&["publish", "c", "{", "--json"], 1, &["INVALID_ARGUMENT", "json"]);
    fails(&["publish", "c", "x", "--id", "no"], 1, &["INVALID_ARGUMENT", "message_id"]);
    fails(&["publish", "c", "x", "--min-replicas", "1"], 1, &["FAILED_PRECONDITION"]);
    fails(&["publish", "c", "--data", "/no/such/file"], 1, &["/no/such/file"]);
    fails(&["tail", "c", "--after", "forged"], 1, &["INVALID_ARGUMENT", "after[0]"]);
    fails(&["list", "a b"], 1, &["INVALID_ARGUMENT", "channel"]);
    fails(&["list", "c", "--subscriber", "http://127.0.0.1:1"], 1, &["127.0.0.1:1", "--subscriber"]);
    fails(&["publish", "c"], 2, &["MESSAGE"]);
    fails(&["tail", "c", "--since", "yesterday"], 2, &["--since"]);
    fails(&["nonsense"], 2, &["nonsense"]);
    served.stop();
}

#[test]
fn serving_is_refused_with_the_flag_to_change() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address").to_string();
    let holder = TcpListener::bind(&taken);
    let cases = [
        (vec!["--publisher-listen", taken.as_str(), "--subscriber-listen", "127.0.0.1:0"], "--publisher-listen"),
        (vec!["--publisher-listen", "127.0.0.1:0", "--subscriber-listen", taken.as_str()], "--subscriber-listen"),
        (vec!["--publisher-listen", "0.0.0.0:0", "--subscriber-listen", "127.0.0.1:0"], "--allow-anonymous"),
        (vec!["serve", "--subscriber-listen", "0.0.0.0:0", "--publisher-listen", "127.0.0.1:0"], "--allow-anonymous"),
        (
            vec![
                "serve",
                "--redis-url",
                "redis+cluster://localhost:1",
                "--publisher-listen",
                "127.0.0.1:0",
                "--subscriber-listen",
                "127.0.0.1:0",
            ],
            "redis+cluster",
        ),
        (
            vec![
                "--default-channel",
                "no good",
                "--publisher-listen",
                "127.0.0.1:0",
                "--subscriber-listen",
                "127.0.0.1:0",
            ],
            "--default-channel",
        ),
    ];
    for (args, word) in cases {
        let args: Vec<_> = args.into_iter().map(str::to_owned).collect();
        let mut refused = Process::start("tidings", &args);
        assert!(!refused.wait(TEST_TIMEOUT).success(), "{args:?}");
        let stderr = refused.output();
        assert!(stderr.contains(word), "{args:?}: {word:?} is not in {stderr:?}");
        assert!(!stderr.contains("grpcurl"), "{args:?}: nothing is announced");
    }
    drop(holder);
    Served::start(&["--allow-anonymous", "--publisher-listen=0.0.0.0:0"]).stop();
}

#[test]
fn completions_and_help_name_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = clean_command(&binary("tidings")).args(["completions", shell]).output().expect("it ends");
        let script = String::from_utf8(output.stdout).expect("UTF-8");
        for word in [
            "publish",
            "tail",
            "list",
            "channels",
            "subscription",
            "consume",
            "top",
            "bench",
            "healthcheck",
            "redis-url",
        ] {
            assert!(output.status.success() && script.contains(word), "{shell}: {word}");
        }
    }
    let output = clean_command(&binary("tidings")).args(["serve", "--help"]).output().expect("it ends");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    for word in ["TIDINGS_PUBLISHER_LISTEN=", "127.0.0.1:3000", "TIDINGS_REDIS_URL", "64MiB", "--allow-anonymous"] {
        assert!(help.contains(word), "{word} is not in {help}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_reported_by_the_exit_code() {
    let served = Served::start(&[]);
    let (publisher, subscriber) = (served.publisher.replace("http://", ""), served.subscriber.replace("http://", ""));
    served.ok(&["healthcheck", &publisher, &subscriber]);
    let alone = Publisher::start_alone("redis://127.0.0.1:1", &[]).await;
    let output = served.run(&["healthcheck", &alone.address.to_string()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("not serving"), "{output:?}");
    served.stop();
    alone.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_continues_after_a_lost_connection() {
    let redis = RedisServer::start();
    let publisher = Publisher::start(&redis.url(), &[]).await;
    let publish = async |to: &str, message: &str| {
        publisher.client().publish(text(to, message)).await.expect("published");
    };
    let mut subscriber = Subscriber::start(&redis.url(), &[]).await;
    let listen = format!("--listen={}", subscriber.address);
    let tails = ["t.a", "t.*"].map(|target| {
        let mut command = clean_command(&binary("tidings"));
        command.args(["tail", target, "--json", "--earliest"]).arg("--subscriber").arg(subscriber.address.to_string());
        Tail::start(command)
    });
    publish("t.a", "1").await;
    publish("t.b", "b").await;
    for round in 0..2 {
        publish("t.a", "live").await;
        for tail in &tails {
            // Whatever has been received must not come again.
            let mut left = if round == 0 { 2 } else { 1 };
            while left > 0 {
                left -= i32::from(tail.json()["channel"] == "t.a");
            }
        }
        subscriber.process.signal(if round == 0 { "KILL" } else { "TERM" });
        subscriber.process.wait(TEST_TIMEOUT);
        publish("t.a", "while away").await;
        subscriber.process =
            Process::start("tidings-subscriber", &[listen.clone(), format!("--redis-url={}", redis.url())]);
        for tail in &tails {
            let mut message = tail.json();
            if message["channel"] == "t.b" {
                message = tail.json();
            }
            assert_eq!(message["text"], "while away");
        }
    }
    let [channel_tail, pattern_tail] = tails;
    for tail in [channel_tail, pattern_tail] {
        let (code, stderr) = tail.end("TERM");
        assert_eq!(code, Some(0));
        assert_eq!((stderr.matches("connection lost").count(), stderr.matches("resumed").count()), (2, 2), "{stderr}");
    }
    publisher.stop();
}
