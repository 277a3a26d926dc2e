use clap::{CommandFactory as _, Parser};
use tidings::broker::State;
use tidings_redis::Role;

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    logs: Logs,
}

fn parse(args: &[&str]) -> Result<Cli, String> {
    Cli::try_parse_from([&["test"], args].concat()).map_err(|error| error.to_string())
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let Cli { common, logs } = parse(&[]).expect("no flag is mandatory");
    assert_eq!(common.redis_url, None);
    assert_eq!(common.names().expect("valid").default_channel().map(|name| name.as_str()), Some("channel1"));
    assert_eq!(
        common.history.retention(),
        Retention {
            max_messages: 100_000,
            max_bytes: 64 << 20,
            max_age_ms: 24 * 3600 * 1000,
            dedup_window_ms: 120_000,
            dedup_max_ids: 1_000_000,
        }
    );
    let options = common.server();
    assert_eq!((options.keepalive_interval, options.keepalive_timeout), (30 * SECOND, 10 * SECOND));
    assert_eq!((options.max_connection_age, options.max_connection_age_grace), (None, 30 * SECOND));
    assert_eq!((options.shutdown_timeout, common.redis_timeout), (10 * SECOND, 5 * SECOND));
    assert_eq!((options.origins, common.allow_anonymous), (Origins::Localhost, false));
    assert_eq!((common.admin_listen, common.threads), (None, None));
    assert_eq!(logs.filter, "info");
}

#[test]
fn values_out_of_range_are_refused_with_the_flag_and_the_range() {
    for (args, texts) in [
        (["--history-max-bytes", "12"], ["--history-max-bytes", "between 1.0 MiB and 1.0 TiB"]),
        (["--history-max-bytes", "much"], ["--history-max-bytes", "such as 512KiB"]),
        (["--dedup-max-ids", "1.5"], ["--dedup-max-ids", "whole number between 1 and"]),
        (["--history-max-messages", "many"], ["--history-max-messages", "whole number between 0 and"]),
        (["--history-max-age", "0s"], ["--history-max-age", "between 1s and"]),
        (["--dedup-window", "soon"], ["--dedup-window", "such as 500ms"]),
        (["--dedup-max-ids", "0"], ["--dedup-max-ids", "between 1 and"]),
        (["--redis-timeout", "1ms"], ["--redis-timeout", "between 100ms and 1m"]),
        (["--max-connection-age", "100ms"], ["--max-connection-age", "between 1s and"]),
        (["--threads", "0"], ["--threads", "between 1 and 256"]),
        (["--key-prefix", "a{b}"], ["--key-prefix", "1 to 64 of the characters"]),
        (["--cors-allow-origin", "https://a.example/"], ["--cors-allow-origin", "without a path"]),
        (["--cors-allow-origin", "example.com"], ["--cors-allow-origin", "without a path"]),
        (["--log-filter", "tidings=loud"], ["--log-filter", "levels by module"]),
        (["--log-format", "xml"], ["--log-format", "human"]),
    ] {
        let error = parse(&args).expect_err(args[1]);
        assert!(texts.iter().all(|text| error.contains(text)), "{args:?}: {error}");
    }
}

#[test]
fn origins_replace_the_default() {
    let cli = parse(&["--cors-allow-origin", "https://a.example", "--cors-allow-origin", "http://B.example:8080"]);
    let these = ["https://a.example", "http://b.example:8080"].map(HeaderValue::from_static).to_vec();
    assert_eq!(cli.expect("valid").common.server().origins, Origins::These(these));
    assert_eq!(parse(&["--cors-allow-origin", "*"]).expect("valid").common.server().origins, Origins::Any);
}

#[test]
fn an_empty_default_channel_turns_defaulting_off_and_a_bad_one_names_its_flag() {
    let names = parse(&["--default-channel", ""]).expect("valid").common.names().expect("valid");
    assert_eq!(names.default_channel(), None);
    let error = parse(&["--default-channel", "a b"]).expect("read later").common.names().expect_err("white space");
    assert!(error.to_string().starts_with("--default-channel: it contains ' '"), "{error}");
}

#[test]
fn a_password_is_never_shown() {
    let cli = parse(&["--redis-url", "redis://me:hunter2@localhost"]).expect("valid");
    assert!(!format!("{cli:?}").contains("hunter2"));
    assert_eq!(cli.common.redis_url.as_ref().map(RedisUrl::reveal), Some("redis://me:hunter2@localhost"));
}

#[tokio::test]
async fn the_broker_is_chosen_by_the_url_and_a_bad_one_is_named_but_not_shown() {
    let choose = |args: &[&str], default| parse(args).expect("valid").common.choose_broker(default, Role::Both);
    assert!(matches!(choose(&[], None), Ok(Choice::Embedded(_))));
    assert!(matches!(choose(&[], Some(DEFAULT_REDIS_URL)), Ok(Choice::Redis(_))));
    let given = choose(&["--redis-url", "redis://me:hunter2@there:7000"], None).expect("valid");
    assert!(format!("{given:?}").contains("there:7000") && !format!("{given:?}").contains("hunter2"), "{given:?}");
    let watched = choose(&["--redis-url", "rediss+sentinel://me:hunter2@a,b:1/m"], None).expect("valid");
    let shown = format!("{watched:?}");
    assert!(shown.contains("m of the sentinels a:26379, b:1") && !shown.contains("hunter2"), "{shown}");
    for bad in ["rediss+sentinel://me:hunter2@h", "redis+cluster://me:hunter2@h", "localhost:6379", ""] {
        let error = choose(&["--redis-url", bad], None).expect_err(bad).to_string();
        assert!(error.starts_with("--redis-url: ") && !error.contains("hunter2"), "{error}");
    }
    assert_eq!(
        parse(&[]).expect("valid").common.broker(None, Role::Both).expect("embedded").state().borrow().clone(),
        State::Up
    );
}

#[tokio::test]
async fn files_for_redis_need_one_and_passwords_are_given_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    std::fs::write(&file, "hunter2\n").expect("written");
    let flag = format!("--redis-password-file={}", file.display());
    let choose = |args: &[&str], default| {
        let chosen = parse(args).expect("valid").common.choose_broker(default, Role::Both);
        chosen.map_err(|error| tidings::printable::chain(&error))
    };
    assert!(matches!(choose(&[&flag], Some(DEFAULT_REDIS_URL)), Ok(Choice::Redis(_))));
    for (args, words) in [
        (vec![flag.as_str()], "need --redis-url"),
        (vec!["--redis-url=redis://me:hunter3@h", &flag], "the URL has a password as well"),
        (vec!["--redis-url=redis://h", "--redis-password-file=/nowhere/at/all"], "can't be read"),
        (vec!["--redis-url=redis://h", "--redis-ca=/nowhere/at/all"], "write rediss://"),
        (vec!["--redis-url=rediss://h", "--redis-ca=/nowhere/at/all"], "/nowhere/at/all can't be read"),
        (vec!["--redis-url=redis://h", "--sentinel-user=me"], "write redis+sentinel://"),
        (vec!["--sentinel-user=me"], "need --redis-url"),
        (
            vec!["--redis-url=redis+sentinel://h/m", "--sentinel-password-file=/nowhere/at/all"],
            "--sentinel-password-file: /nowhere/at/all can't be read",
        ),
        (vec!["--redis-url=rediss://h/#insecure"], "#insecure is not supported"),
    ] {
        let error = choose(&args, None).expect_err(args[0]);
        assert!(error.contains(words) && !error.contains("hunter"), "{args:?}: {error}");
    }
    assert!(parse(&["--redis-cert=a"]).expect_err("a key is needed").contains("--redis-key"));
}

#[test]
fn every_flag_has_a_variable_a_default_and_a_help_text() {
    let mut command = Cli::command();
    command.build();
    for arg in command.get_arguments().filter(|arg| arg.get_long() != Some("help")) {
        let name = arg.get_long().expect("long flags only");
        let variable = match name {
            "log-filter" => "TIDINGS_LOG".to_owned(),
            name => format!("TIDINGS_{}", name.replace('-', "_").to_uppercase()),
        };
        assert_eq!(arg.get_env().and_then(|name| name.to_str()), Some(variable.as_str()), "{name}");
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.len() > 20, "{name}: {help}");
        assert!(!arg.get_default_values().is_empty() || help.contains("default"), "{name} does not say its default");
    }
}

#[tokio::test]
async fn only_the_loopback_is_open_to_everyone() {
    let any = listen_address("0.0.0.0:0").expect("an address");
    let error = listen(any, "--listen", false).await.expect_err("exposed").to_string();
    assert!(error.contains("--listen 0.0.0.0:0 is not a loopback") && error.contains("--allow-anonymous"), "{error}");
    listen(any, "--listen", true).await.expect("allowed");
    for loopback in ["127.0.0.1:0", "localhost:0"] {
        listen(listen_address(loopback).expect("an address"), "--listen", false).await.expect("loopback");
    }
    assert!(listen_address("3000").is_err());
}

#[tokio::test]
async fn a_taken_port_names_the_flag() {
    let first = listen(listen_address("127.0.0.1:0").expect("an address"), "--listen", false).await.expect("free");
    let taken = first.local_addr().expect("bound");
    let error = listen(taken, "--publisher-listen", false).await.expect_err("taken").to_string();
    assert!(error.contains("taken") && error.contains("--publisher-listen"), "{error}");
}
