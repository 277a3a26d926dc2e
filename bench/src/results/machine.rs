//! What it was measured on and with.

use std::{fs, path::Path, process::Command};

/// How many processes wanted a processor in the minute before: on a quiet machine near 0.
pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// Lines of a list: the machine, and every program's version.
pub(super) fn described() -> Vec<String> {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = value(&processors, "model name").unwrap_or("unknown processor").to_owned();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = value(&memory, "MemTotal").and_then(|kib| kib.trim_end_matches(" kB").parse::<f64>().ok());
    let count = std::thread::available_parallelism().map_or(0, usize::from);
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown system");
    let peers = Path::new("target/bench/peers");
    let express = fs::read_to_string(peers.join("node/package.json")).unwrap_or_default();
    let package = |name: &str| {
        let line = express.lines().find_map(|line| line.trim().strip_prefix(&format!("\"{name}\": \"")));
        line.map(|rest| rest.trim_end_matches([',', '"']).to_owned()).unwrap_or_default()
    };
    vec![
        format!("{count} processors ({model}), {:.0} GiB of memory", memory.unwrap_or_default() / 1024.0 / 1024.0),
        format!("{}, Linux {}", system.trim_matches('"'), said("uname", &["-r"])),
        format!(
            "Tidings {} ({}), {}",
            env!("CARGO_PKG_VERSION"),
            said("git", &["describe", "--always", "--dirty"]),
            said("rustc", &["--version"])
        ),
        said("redis-server", &["--version"]).split(" sha").next().unwrap_or_default().to_owned(),
        said(&peers.join("nats/bin/nats-server").display().to_string(), &["--version"]),
        format!("RabbitMQ {}", said("dpkg-query", &["-W", "-f", "${Version}", "rabbitmq-server"])),
        format!("Node.js {}, express {}, redis {}", said("node", &["--version"]), package("express"), package("redis")),
    ]
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find(|line| line.starts_with(name))?.split_once(':').map(|(_, value)| value.trim())
}

/// The first line that a program says.
fn said(program: &str, arguments: &[&str]) -> String {
    let said = Command::new(program).args(arguments).output().ok();
    let said = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned()).unwrap_or_default();
    said.lines().next().unwrap_or("unknown").trim().to_owned()
}
