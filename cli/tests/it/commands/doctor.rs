//! `tidings doctor` against real servers, each with something else that is wrong.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::Value;
use tidings_testing::{RedisServer, Sentinels};

use crate::harness::{TEST_TIMEOUT, binary, clean_command};

const GOOD: [&str; 8] =
    ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory", "8gb", "--maxmemory-policy", "noeviction"];

/// The exit code, and what was found: verdict, what and advice by matter.
struct Examined {
    code: Option<i32>,
    found: BTreeMap<String, [String; 3]>,
}

impl Examined {
    fn of(url: &str, args: &[&str]) -> Self {
        let (code, out, _) = doctor(url, &[args, &["--json"]].concat());
        let text = |object: &Value, field: &str| object[field].as_str().expect(field).to_owned();
        let findings = out.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let found = findings.map(|finding: Value| {
            (text(&finding, "matter"), ["verdict", "what", "advice"].map(|field| text(&finding, field)))
        });
        Self { code, found: found.collect() }
    }

    /// That of a matter, which must have this verdict, and advice if it is not good.
    fn is(&self, matter: &str, verdict: &str) -> &str {
        let [is, what, advice] = self.found.get(matter).unwrap_or_else(|| panic!("{matter}: {:?}", self.found));
        assert_eq!((is.as_str(), advice.is_empty()), (verdict, verdict == "good"), "{matter}: {what} -> {advice}");
        what
    }
}

fn doctor(url: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let output = clean_command(&binary("tidings")).args(["doctor", "--redis-url", url]).args(args).output();
    let output = output.expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_redis_as_it_should_be_is_good_in_all_and_is_only_read() {
    let redis = RedisServer::start_with(&GOOD);
    let examined = Examined::of(&redis.url(), &[]);
    for matter in ["server", "role", "rights", "persistence", "eviction", "memory", "buffers", "traffic", "latency"] {
        examined.is(matter, "good");
    }
    assert_eq!((examined.code, examined.found.len()), (Some(0), 9), "{:?}", examined.found);
    assert!(examined.is("server", "good").contains("7.0."), "{:?}", examined.found);
    assert_eq!(redis.command(&["DBSIZE"]), ":0");
    let stats = redis.command(&["INFO", "commandstats"]);
    for command in ["set", "hset", "xadd", "zadd", "publish", "del", "config|set"] {
        assert!(!stats.contains(&format!("cmdstat_{command}:")), "{command}: {stats}");
    }
    // A table for people says the same.
    let (code, table, _) = doctor(&redis.url(), &[]);
    assert_eq!((code, table.lines().count()), (Some(0), 9), "{table}");
    assert!(table.lines().all(|line| line.starts_with("good ")), "{table}");
}

#[test]
fn what_breaks_promises_is_named_with_what_to_do() {
    let redis = RedisServer::start_with(&[
        "--save",
        "",
        "--appendonly",
        "no",
        "--maxmemory",
        "64mb",
        "--maxmemory-policy",
        "allkeys-lru",
        "--client-output-buffer-limit",
        "normal 1mb 1mb 10",
    ]);
    let examined = Examined::of(&redis.url(), &["--history-max-bytes", "1GiB"]);
    assert_eq!(examined.code, Some(1));
    assert!(examined.is("eviction", "bad").contains("allkeys-lru"));
    assert!(examined.is("persistence", "warning").contains("nothing is written"));
    assert!(examined.is("memory", "warning").contains("1.0 GiB at most"));
    assert!(examined.is("buffers", "warning").contains("1.0 MiB"));
    // Each line of advice stands below its matter.
    let (_, table, _) = doctor(&redis.url(), &[]);
    assert!(table.contains("-> CONFIG SET maxmemory-policy noeviction"), "{table}");
    for (setting, verdict, word) in [("everysec", "good", "each second"), ("no", "warning", "when the system likes")] {
        redis.command(&["CONFIG", "SET", "appendonly", "yes"]);
        redis.command(&["CONFIG", "SET", "appendfsync", setting]);
        assert!(Examined::of(&redis.url(), &[]).is("persistence", verdict).contains(word));
    }
}

#[test]
fn a_replica_is_refused_and_a_primary_says_what_a_failover_loses() {
    let primary = RedisServer::start_with(&GOOD);
    let replica = RedisServer::replica_of(&primary);
    let deadline = std::time::Instant::now() + TEST_TIMEOUT;
    while !primary.command(&["INFO", "replication"]).contains("state=online") {
        assert!(std::time::Instant::now() < deadline, "the replica does not follow");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let (code, _, error) = doctor(&replica.url(), &[]);
    assert_eq!(code, Some(1));
    assert!(error.contains("a read-only replica; point --redis-url at the primary"), "{error}");
    let examined = Examined::of(&primary.url(), &[]);
    assert!(examined.is("role", "good").contains("1 replicas"));
    examined.is("failover", "warning");
    primary.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    Examined::of(&primary.url(), &[]).is("failover", "good");
}

#[test]
fn the_primary_of_a_service_is_looked_at() {
    let set = Sentinels::start();
    let examined = Examined::of(&set.url(""), &[]);
    assert!(examined.is("role", "good").contains("2 replicas"), "{:?}", examined.found);
    examined.is("failover", "warning");
    let url = set.url("");
    let (sentinels, _) = url.rsplit_once('/').expect("a service");
    let (code, _, error) = doctor(&format!("{sentinels}/nobody"), &[]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("nobody"), "{error}");
}

#[test]
fn what_its_user_may_not_ask_is_said_and_what_he_lacks_is_bad() {
    let redis = RedisServer::start_with(&GOOD);
    let url = |user: &str| redis.url().replace("redis://", &format!("redis://{user}:secret@"));
    redis.command(&["ACL", "SETUSER", "modest", "on", ">secret", "~*", "&*", "+@all", "-config", "-pubsub", "-acl"]);
    let examined = Examined::of(&url("modest"), &[]);
    assert_eq!(examined.code, Some(0), "{:?}", examined.found);
    examined.is("rights", "good");
    for matter in ["persistence", "buffers", "traffic"] {
        assert!(examined.is(matter, "warning").contains("can't be asked"));
    }
    redis.command(&["ACL", "SETUSER", "poor", "on", ">secret", "~*", "&*", "+@all", "-xrange"]);
    let examined = Examined::of(&url("poor"), &[]);
    assert!(examined.is("rights", "bad").contains("its user may not run XRANGE"));
    redis.command(&["ACL", "SETUSER", "writer", "on", ">secret", "~*", "&*", "+@all", "-subscribe"]);
    Examined::of(&url("writer"), &[]).is("rights", "bad");
    Examined::of(&url("writer"), &["--for", "publisher"]).is("rights", "good");
    let (code, _, error) = doctor(&url("nobody"), &[]);
    assert_eq!(code, Some(1));
    assert!(error.contains("cannot look at Redis: ") && error.contains("password"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

/// Listens to channels until it is dropped.
fn listen(redis: &RedisServer, channels: &[&str]) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).expect("it listens");
    stream.set_read_timeout(Some(TEST_TIMEOUT)).expect("a timeout");
    let words = ["SUBSCRIBE"].iter().chain(channels);
    let bulks: String = words.map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    write!(stream, "*{}\r\n{bulks}", 1 + channels.len()).expect("it reads");
    let mut heard = Vec::new();
    while !heard.ends_with(format!(":{}\r\n", channels.len()).as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("it confirms");
        heard.extend(byte);
    }
    stream
}

#[test]
fn names_that_break_the_rules_are_listed() {
    let redis = RedisServer::start_with(&GOOD);
    let listening = listen(&redis, &["orders", "two words", "a\u{7}bell", "tidings:probe:1"]);
    let examined = Examined::of(&redis.url(), &[]);
    let named = examined.is("names", "warning");
    assert!(named.contains("\"two words\"") && named.contains("bell") && !named.contains("orders"), "{named}");
    assert!(examined.is("traffic", "good").starts_with("3 channels"));
    let (_, table, _) = doctor(&redis.url(), &[]);
    assert!(!table.contains('\u{7}'), "a name that rings is shown as an escape");
    drop(listening);
}

#[test]
fn a_cluster_and_what_is_not_there_are_refused_in_words() {
    let cluster = RedisServer::start_with(&["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]);
    let examined = Examined::of(&cluster.url(), &[]);
    assert_eq!(examined.code, Some(1));
    assert!(examined.is("server", "bad").contains("cluster"));
    let (_, _, error) = doctor(&cluster.url(), &["--redis-password-file", "/nowhere"]);
    assert!(error.contains("/nowhere") && error.contains("No such file"), "{error}");
    for url in ["redis://127.0.0.1:1", "http://127.0.0.1"] {
        let (code, out, error) = doctor(url, &[]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{error}");
        assert!(error.starts_with("error: cannot look at Redis: "), "{error}");
    }
}

#[test]
fn it_prints_users_with_the_smallest_rights() {
    let (code, out, _) = doctor("redis://127.0.0.1:1", &["--acl", "--key-prefix", "news"]);
    assert_eq!((code, out.lines().count()), (Some(0), 3), "nothing is asked for that");
    assert!(out.lines().all(|line| line.starts_with("ACL SETUSER tidings-") && line.contains(" ~news:* ")), "{out}");
}
