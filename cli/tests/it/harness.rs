//! What the tests share: a house (both services, with clients), the commands as processes, and who signs tokens and
//! certificates. The services as processes and their clients are in `testing/`.

mod authority;
mod command;
mod house;
mod key_server;
mod signer;
mod terminal;

use std::path::{Path, PathBuf};

pub(crate) use authority::{Authority, Pair, Wanted, client_config};
pub(crate) use command::{Served, Tail, run_with_input};
pub(crate) use house::House;
pub(crate) use key_server::{Answer, KeyServer};
pub(crate) use signer::{Signer, key_set, part, seconds_from_now, with_secret};
pub(crate) use terminal::Terminal;
pub(crate) use tidings_testing::{
    Admin, Peer, Process, Publisher, Raw, Scraped, Stream, Subscriber, TEST_TIMEOUT, Worker, binary, channel,
    clean_command, connect, duration, fields, pattern, reason, sequences, text, text_of, wire, with_fast_paths,
};

/// Runs a test on both brokers: `async fn name(house: &House)` becomes `name::embedded` and `name::redis`.
macro_rules! on_both_brokers {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use crate::harness::House;

            #[tokio::test(flavor = "multi_thread")]
            async fn embedded() {
                let house = House::embedded().await;
                super::$name(&house).await;
                house.stop().await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn redis() {
                let house = House::redis().await;
                super::$name(&house).await;
                house.stop().await;
            }
        }
    )+};
}
pub(crate) use on_both_brokers;

/// The crates of the workspace, by their folders: those that are served and installed, so neither what tests need nor
/// what measures. A new one is among them by itself.
pub(crate) fn crates() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("the workspace");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = [")?.strip_suffix(']'));
    let members = members.expect("a list of members").split(", ").map(|member| member.trim_matches('"'));
    members.filter(|member| !["bench", "testing"].contains(member)).map(|member| root.join(member)).collect()
}
