//! Bytes as a stranger might send them: samples, and samples cut, changed and mixed with one another. What a fuzzer
//! does for hours, done for a moment, so that a check is run wherever the tests are.

use std::ops::Range;

use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};

/// Changed samples that are tried.
const CASES: u32 = 512;

/// One change of a text.
#[derive(Debug, Clone)]
enum Edit {
    Cut(Index, usize),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    /// A piece of another sample.
    Mix(Index, Index, Index, usize),
    Double(Index, usize),
}

/// Runs a check, which panics where something is wrong, over the samples, over each of them cut short, and over many
/// that are changed at random. What fails is made small and printed.
///
/// # Panics
///
/// When the check does.
pub fn throw(samples: &[Vec<u8>], check: fn(&[u8])) {
    for sample in samples {
        check(sample);
        // Long samples are there for their length: a few cuts show as much as all.
        let step = sample.len() / 256 + 1;
        (0..sample.len()).step_by(step).for_each(|end| check(&sample[..end]));
    }
    let edits = prop::collection::vec(any_edit(), 0..6);
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&(any::<Index>(), edits), |(start, edits)| {
        let mut bytes = if samples.is_empty() { Vec::new() } else { start.get(samples).clone() };
        for edit in &edits {
            apply(edit, &mut bytes, samples);
        }
        check(&bytes);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let some = any::<Index>;
    let length = 1..24usize;
    prop_oneof![
        (some(), length.clone()).prop_map(|(at, length)| Edit::Cut(at, length)),
        (some(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (some(), any::<Vec<u8>>()).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (some(), some(), some(), length.clone()).prop_map(|(at, of, from, length)| Edit::Mix(at, of, from, length)),
        (some(), length).prop_map(|(at, length)| Edit::Double(at, length)),
    ]
}

fn apply(edit: &Edit, bytes: &mut Vec<u8>, samples: &[Vec<u8>]) {
    let at_index = |index: &Index| index.index(bytes.len() + 1);
    match edit {
        Edit::Cut(at, length) => drop(bytes.drain(piece(at_index(at), *length, bytes.len()))),
        Edit::Set(at, byte) => {
            let at = at_index(at);
            if let Some(changed) = bytes.get_mut(at) {
                *changed = *byte;
            }
        }
        Edit::Insert(at, more) => insert(bytes, at_index(at), more.clone()),
        Edit::Mix(at, of, from, length) => {
            if !samples.is_empty() {
                let other = of.get(samples);
                let taken = other[piece(from.index(other.len() + 1), *length, other.len())].to_vec();
                insert(bytes, at_index(at), taken);
            }
        }
        Edit::Double(at, length) => {
            let taken = bytes[piece(at_index(at), *length, bytes.len())].to_vec();
            insert(bytes, at_index(at), taken);
        }
    }
}

fn piece(from: usize, length: usize, end: usize) -> Range<usize> {
    from.min(end)..(from + length).min(end)
}

fn insert(bytes: &mut Vec<u8>, at: usize, more: Vec<u8>) {
    bytes.splice(at..at, more);
}
