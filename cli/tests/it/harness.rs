//! What the tests share: a house (both services, with clients), processes that die with the test, and streams whose
//! every wait is timed.

mod admin;
mod authority;
mod command;
mod house;
mod key_server;
mod peer;
mod process;
mod raw;
mod scraped;
mod signer;
mod stream;
mod terminal;
pub(crate) mod wire;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub(crate) use admin::Admin;
pub(crate) use authority::{Authority, Pair, Wanted, client_config};
pub(crate) use command::{Served, Tail, run_with_input};
pub(crate) use house::{House, Publisher, Subscriber, connect};
pub(crate) use key_server::{Answer, KeyServer};
pub(crate) use peer::Peer;
pub(crate) use process::{Process, binary, clean_command, with_fast_paths};
pub(crate) use raw::Raw;
pub(crate) use scraped::Scraped;
pub(crate) use signer::{Signer, key_set, part, seconds_from_now, with_secret};
pub(crate) use stream::Stream;
pub(crate) use terminal::Terminal;
use tidings::pb::{Message, PublishRequest, StreamMessagesRequest, message, publish_request::Payload};
use tonic::Status;
use tonic_types::StatusExt;

/// How long anything may take that is expected to happen; generous, since machines are shared.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(20);

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

/// A publish of text.
pub(crate) fn text(channel: &str, text: impl Into<String>) -> PublishRequest {
    PublishRequest {
        channel: channel.to_owned(),
        payload: Some(Payload::Text(text.into())),
        ..PublishRequest::default()
    }
}

/// A stream of a channel from now on.
pub(crate) fn channel(name: &str) -> StreamMessagesRequest {
    StreamMessagesRequest { channel: name.to_owned(), ..StreamMessagesRequest::default() }
}

/// A stream of a pattern from now on.
pub(crate) fn pattern(glob: &str) -> StreamMessagesRequest {
    StreamMessagesRequest { pattern: glob.to_owned(), ..StreamMessagesRequest::default() }
}

/// The text that a message carries.
pub(crate) fn text_of(message: &Message) -> &str {
    match &message.payload {
        Some(message::Payload::Text(text)) => text,
        other => panic!("not a text: {other:?}"),
    }
}

/// The sequences of messages.
pub(crate) fn sequences(messages: &[Message]) -> Vec<i64> {
    messages.iter().map(|message| message.sequence).collect()
}

/// The reason in a status's `ErrorInfo`, whose domain must be ours.
pub(crate) fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "tidings");
    info.reason
}

/// The fields that a status blames.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}
