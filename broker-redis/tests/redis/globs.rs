//! Patterns match as Redis has it, which shows by KEYS: the same function decides there and for PSUBSCRIBE.

use std::{cell::RefCell, collections::BTreeSet};

use proptest::{prelude::*, test_runner::TestRunner};
use redis::Commands as _;
use tidings::channel::Pattern;
use tidings_testing::RedisServer;

/// Few characters, so that much is hit: those that mean something, plain ones, and one of two bytes.
const NAME: &str = "[ab\\-\\^\\]\\[*?\\\\ü]{1,5}";
const PATTERN: &str = "[ab\\-\\^\\]\\[*?\\\\ü]{1,9}";
/// Long ones, of many elements: their states do not fit into one word.
const LONG_NAME: &str = "a{50,140}[ab]{0,3}";
const LONG_PATTERN: &str = "(a{30}|a|\\?|\\*|\\[a-b\\]|\\[\\^b\\]){3,60}(\\*|b)?";
const CASES: u32 = 1_500;

#[test]
fn patterns_match_what_they_match_in_redis() {
    match_as_in_redis(NAME, PATTERN, CASES);
}

#[test]
fn long_patterns_match_what_they_match_in_redis() {
    match_as_in_redis(LONG_NAME, LONG_PATTERN, CASES / 2);
}

fn match_as_in_redis(name: &str, pattern: &str, cases: u32) {
    let server = RedisServer::start();
    let client = redis::Client::open(server.url()).expect("a valid URL");
    let redis = RefCell::new(client.get_connection().expect("it answers"));
    let names = prop::collection::btree_set(name, 1..40);
    let patterns = prop::collection::vec(pattern.prop_filter_map("a pattern", |text| Pattern::parse(&text).ok()), 8);
    let config = ProptestConfig { cases: cases / 8, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&(names, patterns), |(names, patterns)| {
        let mut redis = redis.borrow_mut();
        let pairs: Vec<_> = names.iter().map(|name| (name, "")).collect();
        let () = redis::cmd("FLUSHALL").query(&mut *redis).expect("it answers");
        let () = redis.mset(&pairs).expect("it answers");
        for pattern in patterns {
            let matched: BTreeSet<String> = redis.keys(pattern.as_str()).expect("it answers");
            let ours: BTreeSet<String> = names.iter().filter(|name| pattern.matches(name)).cloned().collect();
            prop_assert_eq!(matched, ours, "{}", pattern);
        }
        Ok(())
    });
    outcome.expect("both agree");
}
