//! The program itself: what it prints, and how it ends.

use std::{net::TcpListener, path::Path, process::Output};

use tidings_testing::clean_command;

fn run(args: &[&str]) -> (Output, String) {
    let output = clean_command(Path::new(env!("CARGO_BIN_EXE_tidings-subscriber")))
        .args(args)
        .output()
        .expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, stderr)
}

#[test]
fn the_help_shows_flags_variables_and_defaults() {
    let (output, _) = run(&["--help"]);
    let help = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    for text in [
        "--listen <ADDRESS>",
        "[env: TIDINGS_SUBSCRIBER_LISTEN=] [default: 127.0.0.1:3001]",
        "[env: TIDINGS_HISTORY_MAX_MESSAGES=] [default: 100000]",
        "healthcheck",
    ] {
        assert!(help.contains(text), "{text} is not in: {help}");
    }
}

#[test]
fn what_cant_be_served_is_reported_with_its_remedy() {
    let held = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = held.local_addr().expect("an address").to_string();
    let cases = [
        (vec!["--listen", taken.as_str()], "--listen"),
        (vec!["--listen", "0.0.0.0:0"], "--allow-anonymous"),
        (vec!["--redis-url", "redis+cluster://:hunter2@host"], "redis+cluster"),
        (vec!["--default-channel", "no good"], "--default-channel"),
    ];
    for (args, remedy) in cases {
        let (output, stderr) = run(&args);
        assert!(!output.status.success(), "{args:?}");
        assert!(stderr.contains(remedy) && !stderr.contains("hunter2"), "{args:?}: {stderr}");
    }
}

#[test]
fn a_health_check_where_nobody_listens_fails() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address").to_string();
    let (output, stderr) = run(&["healthcheck", "--listen", &free]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains(&free), "{stderr}");
}
