//! Ways in that must be closed. Each file has the ways of one kind: `WAYS` names them, and its tests fail where one of
//! them is open, or was not tried. `docs/security.md` has the same list.

mod anonymous;
mod certificates;
mod grants;
mod key_server;
mod keys;
mod lifetime;
mod stamps;
mod subscriptions;
mod tokens;

use std::collections::BTreeSet;

use tonic::{Code, Request, Status, metadata::MetadataValue};
use tonic_types::StatusExt as _;

/// All ways in.
const WAYS: [&[&str]; 9] = [
    tokens::WAYS,
    tokens::PLACES,
    certificates::WAYS,
    certificates::HANDSHAKES,
    grants::WAYS,
    subscriptions::WAYS,
    lifetime::WAYS,
    key_server::WAYS,
    anonymous::WAYS,
];

/// The ways that a test has tried, which must be all of its own.
struct Tried {
    ways: &'static [&'static str],
    tried: BTreeSet<&'static str>,
}

impl Tried {
    fn of(ways: &'static [&'static str]) -> Self {
        Self { ways, tried: BTreeSet::new() }
    }

    /// One of them was tried, and was closed.
    fn closed(&mut self, way: &'static str) {
        assert!(self.ways.contains(&way), "{way:?} is not in the list");
        self.tried.insert(way);
    }

    fn all(self) {
        let missing: Vec<_> = self.ways.iter().filter(|way| !self.tried.contains(*way)).collect();
        assert!(missing.is_empty(), "not tried: {missing:?}");
    }
}

#[test]
fn the_page_lists_the_ways_in_that_are_tried() {
    let ways: Vec<&str> = WAYS.concat();
    let distinct: BTreeSet<&str> = ways.iter().copied().collect();
    assert_eq!(distinct.len(), ways.len(), "one is there twice");
    assert!(distinct.len() >= 80, "{}", distinct.len());
    let page = include_str!("../../../docs/security.md");
    let (_, section) = page.split_once("## Attacks that are tested\n").expect("a section");
    let section = section.split("\n## ").next().expect("a part");
    let items = section.lines().filter_map(|line| line.strip_prefix("- "));
    let listed: BTreeSet<&str> = items.flat_map(|line| line.split("; ")).collect();
    let missing: Vec<_> = distinct.difference(&listed).collect();
    let others: Vec<_> = listed.difference(&distinct).collect();
    assert!(missing.is_empty() && others.is_empty(), "the page lacks {missing:?}, and has {others:?}");
    assert!(section.contains(&format!("{} ways", distinct.len())), "there are {}", distinct.len());
}

fn refs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

fn signed<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse::<MetadataValue<_>>().expect("a header");
    request.metadata_mut().insert("authorization", value);
    request
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, expected: &str, what: &str) {
    let status = answer.expect_err(what);
    assert_eq!((status.code(), reason(&status).as_str()), (code, expected), "{what}: {status:?}");
}

fn denied<T: std::fmt::Debug>(answer: Result<T, Status>, what: &str) {
    refused(answer, Code::PermissionDenied, "PERMISSION_DENIED", what);
}

fn unauthenticated<T: std::fmt::Debug>(answer: Result<T, Status>, what: &str) {
    refused(answer, Code::Unauthenticated, "UNAUTHENTICATED", what);
}
