//! The runbook and the alert rules speak of what is there: series that are scraped, alerts that are in the rules, log
//! lines that the code writes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use tidings::limits::{
    AFTER_CURSORS, CALLS_PER_CONNECTION, CONNECTIONS, CURSOR_CHANNELS, HEARTBEAT_MIN, HEARTBEAT_PATTERN, PATTERNS,
    STREAM_CHANNELS, TOPICS,
};
use tidings_testing::RedisServer;

use crate::harness::{Admin, Publisher, Scraped, Subscriber, crates};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The values of a key in the rules.
fn values<'a>(rules: &'a str, key: &str) -> Vec<&'a str> {
    rules
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key)?.strip_prefix(": "))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_look_at_series_that_exist() {
    let redis = RedisServer::start();
    let admins = [Admin::choose(), Admin::choose()];
    let publisher = Publisher::start(&redis.url(), &[&admins[0].flag()]).await;
    let args = [&admins[1].flag()[..], "--watch-subscriptions=mail"];
    let subscriber = Subscriber::start(&redis.url(), &args).await;
    admins[1]
        .shows("the first look", |scraped| scraped.families.contains_key("tidings_subscription_oldest_seconds"))
        .await;
    let scraped = admins.map(Admin::scrape);
    let rules = read("docs/alerts.yml");
    let mut seen = BTreeSet::new();
    // What is no expression names no metric.
    for (at, _) in rules.match_indices("tidings_").chain(rules.match_indices("process_")) {
        let selector = selector(&rules[at..]);
        seen.insert(selector);
        assert!(scraped.iter().any(|scraped| has(scraped, selector)), "nothing matches {selector}");
    }
    assert!(seen.len() > 10, "{seen:?}");
    publisher.stop();
    subscriber.stop();
}

/// A metric's name, and its labels where there are any.
fn selector(text: &str) -> &str {
    let name = text.find(|c: char| !c.is_ascii_lowercase() && c != '_').expect("the file continues");
    match text[name..].starts_with('{') {
        true => &text[..text.find('}').expect("labels end") + 1],
        false => &text[..name],
    }
}

fn has(scraped: &Scraped, selector: &str) -> bool {
    let (name, labels) = selector.split_once('{').unwrap_or((selector, ""));
    scraped.names().any(|series| {
        let (of, its) = series.split_once('{').unwrap_or((series, ""));
        of == name && labels.trim_end_matches('}').split(',').all(|label| its.contains(label))
    })
}

#[test]
fn every_alert_has_its_page_and_every_page_its_alert() {
    let (rules, runbook) = (read("docs/alerts.yml"), read("docs/runbook.md"));
    let alerts: BTreeSet<&str> = values(&rules, "alert").into_iter().collect();
    let named: BTreeSet<&str> = runbook.split('`').filter(|text| text.starts_with("Tidings")).collect();
    assert_eq!(alerts, named);
    let anchors: BTreeSet<String> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).map(anchor).collect();
    let links = values(&rules, "runbook_url");
    assert_eq!(links.len(), alerts.len());
    for link in links {
        let (file, anchor) = link.split_once('#').expect("a link to a page");
        assert!(file == "docs/runbook.md" && anchors.contains(anchor), "{link}");
    }
}

#[test]
fn the_page_on_clients_has_the_limits_of_the_code() {
    let page = read("docs/clients.md").split_whitespace().collect::<Vec<_>>().join(" ");
    for (limit, before, after) in [
        (CALLS_PER_CONNECTION as usize, "carries ", " calls at once"),
        (CONNECTIONS, "takes ", " connections"),
        (TOPICS, "follows ", " different channels and patterns"),
        (PATTERNS, "of which ", " patterns"),
        (STREAM_CHANNELS, "follows ", " channels at most"),
        (AFTER_CURSORS, "at most ", " cursors are taken"),
        (CURSOR_CHANNELS, "more than ", " channels, cursors of the whole stream are empty"),
        (HEARTBEAT_MIN.as_millis() as usize, "`heartbeat_interval`, ", " ms at least"),
    ] {
        let said = format!("{before}{}{after}", with_commas(limit));
        assert!(page.contains(&said), "it does not say {said:?}");
    }
    assert!(HEARTBEAT_PATTERN.as_secs() == 5 && page.contains("a heartbeat every five seconds by default"));
}

/// As pages write numbers: 20,000.
fn with_commas(number: usize) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", with_commas(number / 1_000), number % 1_000),
    }
}

/// As GitHub makes it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn log_lines_of_the_runbook_are_written_by_the_code() {
    let mut code = String::new();
    for folder in crates() {
        gather(&folder.join("src"), &mut code);
    }
    let code = joined(&code);
    let runbook = read("docs/runbook.md");
    let mut lines = 0;
    for quoted in runbook
        .lines()
        .filter_map(|line| line.strip_prefix("- Log: "))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
    {
        lines += 1;
        for part in quoted.split('…').map(str::trim).filter(|part| !part.is_empty()) {
            assert!(code.contains(part), "nothing writes {part:?}");
        }
    }
    assert!(lines > 15, "{lines}");
}

#[test]
fn every_warning_and_error_of_the_code_is_in_the_runbook() {
    let mut code = String::new();
    for folder in crates() {
        gather(&folder.join("src"), &mut code);
    }
    let (code, runbook) = (joined(&code), read("docs/runbook.md"));
    let mut missing = Vec::new();
    let mut lines = 0;
    for (at, _) in code.match_indices("tracing::warn!(").chain(code.match_indices("tracing::error!(")) {
        // The message is the last text of the call; where that is only a placeholder, the last one before the call.
        let end = at + code[at..].find(");").expect("the call ends");
        let last = |code: &str| code.rsplit('"').nth(1).map(str::to_owned);
        let message =
            last(&code[at..end]).filter(|text| !text.starts_with('{')).or_else(|| last(&code[..at])).expect("a text");
        lines += 1;
        let parts = message.split('{').map(|part| part.rsplit('}').next().unwrap_or(part).trim());
        if !parts.filter(|part| !part.is_empty()).all(|part| runbook.contains(part)) && !message.contains("HOSTILE") {
            missing.push(message);
        }
    }
    assert!(lines > 40, "{lines}");
    assert!(missing.is_empty(), "docs/runbook.md says nothing of {missing:#?}");
}

fn gather(folder: &Path, code: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            gather(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(&path).expect("code"));
        }
    }
}

/// Texts that continue in the next line, in one.
fn joined(code: &str) -> String {
    let mut parts = code.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |joined, part| joined + part.trim_start())
}
