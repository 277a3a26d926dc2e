//! What commands say about services that are slow or elsewhere, and what `tidings` says when it serves.

use std::net::TcpListener;

use serde_json::json;

use crate::harness::{Process, Served, TEST_TIMEOUT, binary, clean_command};

#[test]
fn every_client_command_names_the_server_that_does_not_answer_in_time() {
    // The system takes connections for it, and nobody ever reads from them.
    let frozen = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = frozen.local_addr().expect("its address").to_string();
    for args in [
        &["publish", "c", "m"][..],
        &["publish", "c", "m", "--count", "3"],
        &["tail", "c"],
        &["list", "c"],
        &["channels"],
        &["subscription", "list"],
        &["subscription", "create", "s"],
        &["consume", "s"],
        &["top"],
        &["bench"],
        &["healthcheck"],
    ] {
        let mut command = clean_command(&binary("tidings"));
        command.args(args).args(["--timeout", "200ms"]);
        command.env("TIDINGS_PUBLISHER", &address).env("TIDINGS_SUBSCRIBER", &address);
        let output = command.output().expect("it ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains(&address), "{args:?}: {stderr}");
        assert!(stderr.contains("did not answer within 200ms") && stderr.contains("--timeout"), "{args:?}: {stderr}");
        assert_eq!(stderr.contains("Whether it was published is not known"), args == ["publish", "c", "m"], "{stderr}");
    }
}

#[test]
fn healthcheck_finds_services_as_the_other_commands_do() {
    let served = Served::start(&[]);
    let addresses = [&served.publisher, &served.subscriber].map(|url| url.replace("http://", ""));
    let asked = |variables: [&str; 2], addresses: [&str; 2]| {
        let mut command = clean_command(&binary("tidings"));
        command.arg("healthcheck").env(variables[0], addresses[0]).env(variables[1], addresses[1]);
        let output = command.output().expect("it ends");
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    let clients = ["TIDINGS_PUBLISHER", "TIDINGS_SUBSCRIBER"];
    let servers = ["TIDINGS_PUBLISHER_LISTEN", "TIDINGS_SUBSCRIBER_LISTEN"];
    let anywhere = addresses.clone().map(|address| address.replace("127.0.0.1", "0.0.0.0"));
    let named = addresses.clone().map(|address| format!("http://{}", address.replace("127.0.0.1", "localhost")));
    for (variables, addresses) in [
        (clients, [&served.publisher, &served.subscriber]),
        (clients, [&addresses[0], &addresses[1]]),
        (clients, [&named[0], &named[1]]),
        (servers, [&addresses[0], &addresses[1]]),
        (servers, [&anywhere[0], &anywhere[1]]),
    ] {
        let addresses = addresses.map(String::as_str);
        assert_eq!(asked(variables, addresses), (Some(0), String::new()), "{variables:?} {addresses:?}");
    }
    for variables in [clients, servers] {
        let (code, stderr) = asked(variables, [&addresses[0], "127.0.0.1:1"]);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("nothing answers at") && stderr.contains("127.0.0.1:1"), "{stderr}");
    }
    served.stop();
}

#[test]
fn the_banner_s_commands_work_as_printed() {
    let served = Served::start(&["--default-channel", "it's"]);
    let banner = served.process.output();
    let command = |word: &str| {
        let line = banner.lines().position(|line| line.contains(word)).expect(word);
        (line, banner.lines().nth(line).expect("a line").trim().to_owned())
    };
    let (tail, publish) = (command(" tail --"), command(" publish --"));
    assert!(tail.0 < command("grpcurl").0 && publish.0 < command("grpcurl").0, "{banner}");
    let run = |line: &str| {
        let output = clean_command("sh".as_ref()).args(["-c", line]).output().expect("sh runs");
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert!(run(&publish.1).contains("sequence     1\n"));
    assert!(run(&format!("{} --earliest --count 1", tail.1)).contains("it's #1 hello"));
    served.stop();
}

#[test]
fn a_log_filter_never_silences_everything_by_mistake() {
    let refused = clean_command(&binary("tidings")).args(["--log-filter", "warning"]).output().expect("it ends");
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{stderr}");
    for word in ["--log-filter", "\"warning\"", "error, warn, info, debug, trace", "info,tidings=debug"] {
        assert!(stderr.contains(word), "{word}: {stderr}");
    }
    let mut process = Process::start_with(
        "tidings",
        &[("TIDINGS_LOG", "")],
        &["--publisher-listen=127.0.0.1:0", "--subscriber-listen=127.0.0.1:0"],
    );
    process.wait_for_output("PublisherService/Publish");
    process.signal("TERM");
    assert!(process.wait(TEST_TIMEOUT).success());
    assert!(process.output().contains("stopping"), "{}", process.output());
}

#[test]
fn auth_check_prints_for_people_and_for_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    let policy = folder.path().join("policy.toml");
    let text = "[roles.clerk]\npublish = [\"orders.*\"]\nconsume = [\"mail.*\"]\n[subjects]\nalice = [\"clerk\"]\n";
    std::fs::write(&policy, text).expect("a file");
    let check = |more: &[&str]| {
        let policy = policy.display().to_string();
        let args = [&["auth", "check", "--policy", &policy, "--subject", "alice"], more].concat();
        let output = std::process::Command::new(binary("tidings")).args(args).output().expect("it runs");
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let (yes, no) = (["publish", "orders.eu"], ["subscribe", "orders.eu"]);
    assert_eq!(check(&yes), (Some(0), "yes: line 2, orders.* in role clerk\n".to_owned()));
    assert_eq!(check(&["consume", "mail.eu"]), (Some(0), "yes: line 3, mail.* in role clerk\n".to_owned()));
    for not in [["consume", "orders.eu"], ["manage", "mail.eu"], ["subscribe", "mail.eu"]] {
        assert_eq!(check(&not).0, Some(1), "{not:?}");
    }
    for form in [&["--output", "json"][..], &["--json"]] {
        for (asked, code, expected) in [
            (
                yes,
                0,
                json!({"allowed": true, "by": [{"of": "token", "line": 2, "role": "clerk", "grant": "orders.*"}]}),
            ),
            (no, 1, json!({"allowed": false, "denied": {"of": "token", "roles": ["clerk"], "too_many_grants": false}})),
        ] {
            let (exit, printed) = check(&[&asked[..], form].concat());
            assert_eq!(printed.lines().count(), 1, "{printed}");
            let printed: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
            assert_eq!((exit, printed), (Some(code), expected));
        }
    }
    let (exit, printed) = check(&[&no[..], &["--output", "text"]].concat());
    assert!(exit == Some(1) && printed.starts_with("no: "), "{exit:?} {printed}");
    assert_eq!(check(&[&no[..], &["--output", "xml"]].concat()).0, Some(2));
}
