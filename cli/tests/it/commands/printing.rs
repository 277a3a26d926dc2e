//! Nothing that strangers sent can steer a terminal, and columns are aligned for any names.

use serde_json::Value;

use crate::harness::{Served, run_with_input};

/// What moves cursors, colours, hides, and turns the direction of text.
const EVIL: &str = "\u{1b}[2J\u{8}\u{7f}\u{9b}31m\u{202e}\u{2066}\u{200f}\u{200b}\u{feff}";
/// What of that may be in a channel's name.
const NAME: &str = "evil\u{202e}\u{2069}\u{200b}\u{feff}";

#[test]
fn nothing_from_outside_reaches_a_terminal_as_it_is() {
    let served = Served::start(&[]);
    // Keys have no control characters, values may have any.
    let attribute = format!("{NAME}={EVIL}");
    // Names of channels may have been made stricter than what Redis has; the payload never is.
    let channel = if served.run(&["publish", NAME, "x"]).status.success() { NAME } else { "evil" };
    assert!(
        run_with_input(&["publish", channel, "-", "--attribute", &attribute], &served, EVIL.as_bytes())
            .status
            .success()
    );
    let json = format!("[\"{}\"]", EVIL.trim_start_matches('\u{1b}').replace('\u{8}', ""));
    assert!(run_with_input(&["publish", channel, "-", "--json"], &served, json.as_bytes()).status.success());
    served.ok(&["publish", channel, "last"]);
    let pattern = "ev*";
    for args in [
        &["list", channel][..],
        &["channels"],
        &["top", "--once", "--interval", "100ms"],
        &["tail", pattern, "--earliest", "--count", "3"],
        &["publish", channel, "again"],
        &["publish", channel, "again", "--count", "2"],
        // Refused in the server's words, which repeat what was wrong.
        &["publish", EVIL, "x"],
        &["publish", "c", "x", "--attribute", &format!("tidings-{EVIL}=x")],
        &["publish", "c", "x", "--id", EVIL],
        &["list", EVIL],
        &["tail", &format!("{EVIL}[")],
        &["channels", "--pattern", &format!("{EVIL}[")],
    ] {
        for form in ["text", "json"] {
            let output = served.run(&[args, &["--output", form]].concat());
            for bytes in [output.stdout, output.stderr] {
                let printed = String::from_utf8(bytes).expect("UTF-8");
                let hidden =
                    printed.chars().find(|c| *c != '\n' && (c.is_control() || EVIL.contains(*c) && !c.is_ascii()));
                assert_eq!(hidden, None, "{args:?} {form}: {printed:?}");
            }
        }
    }
    // For programs nothing is lost.
    let list = served.ok(&["list", channel, "--json", "--newest-first"]);
    let messages: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let message = messages.iter().find(|message| message["text"] == EVIL).expect("the text as it was published");
    assert_eq!((&message["channel"], &message["attributes"][NAME]), (&Value::from(channel), &Value::from(EVIL)));
    served.stop();
}

#[test]
fn columns_are_aligned() {
    let served = Served::start(&[]);
    for name in ["plain", "世界の新聞", "e\u{301}tude"] {
        served.ok(&["publish", name, "m"]);
    }
    // The first three are twice as wide as a letter, and one of the others has no width of its own.
    for args in [&["channels"][..], &["top", "--once", "--interval", "100ms"]] {
        let table = served.ok(args);
        let row = |name: &str| table.lines().find(|line| line.starts_with(name)).expect(name).to_owned();
        let width = |name: &str| row(name).chars().count();
        assert_eq!((width("世界の新聞") + 5, width("e\u{301}tude") - 1), (width("plain"), width("plain")), "{table}");
    }
    served.stop();
}
