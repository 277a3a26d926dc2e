//! Going through the names of channels in order, in pieces: nobody waits for the whole of it.

use std::ops::Bound;

use super::Error;
use crate::{
    channel::{ChannelName, Pattern},
    limits::NAMES_AT_ONCE,
};

/// The names that a request asks for, as far as they have been found.
#[derive(Debug)]
pub struct Walk<'a> {
    pattern: Option<&'a Pattern>,
    /// How all of them begin.
    prefix: &'a str,
    /// The last name that was looked at, or the one to begin after.
    after: String,
    limit: usize,
    /// The names that were found.
    pub found: Vec<ChannelName>,
    is_over: bool,
}

impl<'a> Walk<'a> {
    /// The lowest `limit` names after `after` that match.
    pub fn new(pattern: Option<&'a Pattern>, after: &str, limit: usize) -> Self {
        let prefix = pattern.map_or("", Pattern::literal_prefix);
        Self { pattern, prefix, after: after.to_owned(), limit, found: Vec::new(), is_over: limit == 0 }
    }

    /// How many names are asked for.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether all was found.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Which names are still to be looked at, where they are in order.
    pub fn rest(&self) -> (Bound<&str>, Bound<&str>) {
        // Every name that begins with the prefix is the prefix or comes after it.
        let from = if self.after.as_str() < self.prefix {
            Bound::Included(self.prefix)
        } else {
            Bound::Excluded(self.after.as_str())
        };
        (from, Bound::Unbounded)
    }

    /// Looks at some more names: those of [`Walk::rest`] in order, each with whether it counts.
    pub fn step<'n>(&mut self, names: impl Iterator<Item = (&'n ChannelName, bool)>) {
        let mut last = None;
        for (count, (name, is_there)) in (1..).zip(names) {
            if !name.as_str().starts_with(self.prefix) {
                break;
            }
            if is_there && self.matches(name.as_str()) {
                self.found.push(name.clone());
                if self.found.len() == self.limit {
                    break;
                }
            }
            if count == NAMES_AT_ONCE {
                last = Some(name);
                break;
            }
        }
        match last {
            Some(name) => name.as_str().clone_into(&mut self.after),
            None => self.is_over = true,
        }
    }

    /// Whether a name is one of those asked for, where they are in no order.
    pub fn wants(&self, name: &str) -> bool {
        name > self.after.as_str() && self.matches(name)
    }

    fn matches(&self, name: &str) -> bool {
        self.pattern.is_none_or(|pattern| pattern.matches(name))
    }
}

/// The error of a request whose turn did not come because too many others list names.
pub fn busy_listing() -> Error {
    Error::Unavailable("many list channels or open streams of patterns now; try again".to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::channel::Names;

    fn all(
        names: &BTreeSet<ChannelName>,
        pattern: Option<&Pattern>,
        after: &str,
        limit: usize,
    ) -> (Vec<String>, usize) {
        let (mut walk, mut looked_at) = (Walk::new(pattern, after, limit), 0);
        while !walk.is_over() {
            let rest: Vec<_> = names.range::<str, _>(walk.rest()).cloned().collect();
            walk.step(rest.iter().map(|name| (name, name.as_str() != "gone")).inspect(|_| looked_at += 1));
        }
        (walk.found.iter().map(ToString::to_string).collect(), looked_at)
    }

    #[test]
    fn a_walk_finds_what_a_filter_would() {
        let known = Names::new("tidings", "").expect("valid");
        let texts =
            (0..2_000).map(|n| format!("{}.{n:04}", ["a", "b", "ü"][n % 3])).chain(["b", "gone"].map(str::to_owned));
        let names: BTreeSet<_> = texts.map(|name| known.parse(&name).expect("valid")).collect();
        for pattern in ["*", "b*", "b", "b.*7", "*7", "ü.*", "c*", "gone*", "a.0000", "?.??0?"] {
            let pattern = Pattern::parse(pattern).expect("valid");
            for after in ["", "a.0999", "b", "b.", "b.1000", "zzz", "ü.1001"] {
                for limit in [0, 1, 7, 256, 10_000] {
                    let is_wanted = |name: &&str| *name > after && *name != "gone" && pattern.matches(name);
                    let expected: Vec<_> = names
                        .iter()
                        .map(ChannelName::as_str)
                        .filter(is_wanted)
                        .take(limit)
                        .map(str::to_owned)
                        .collect();
                    let found = all(&names, Some(&pattern), after, limit).0;
                    assert_eq!(found, expected, "{pattern} after {after:?}, {limit}");
                }
            }
        }
        assert_eq!(all(&names, None, "", 10_000).0.len(), 2_001);
        let literal = Pattern::parse("b.*").expect("valid");
        let (found, looked_at) = all(&names, Some(&literal), "", 10_000);
        assert!(looked_at <= found.len() + 1, "a literal beginning is a range: {looked_at} looked at");
    }
}
