//! Many patterns, and which of them a name matches: asked for each message, so remembered for each name.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::Pattern;
use crate::limits::{REMEMBERED_MATCHES, REMEMBERED_NAMES};

/// Patterns with a value each.
#[derive(Debug)]
pub struct PatternSet<T> {
    patterns: BTreeMap<Pattern, T>,
    /// The values of all that a name matches, as long as nothing changes.
    matches: HashMap<Box<str>, Arc<[T]>>,
    /// How many values stand there.
    remembered: usize,
}

impl<T> Default for PatternSet<T> {
    fn default() -> Self {
        Self { patterns: BTreeMap::new(), matches: HashMap::new(), remembered: 0 }
    }
}

impl<T: Clone> PatternSet<T> {
    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.patterns.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The value of a pattern.
    pub fn get(&self, pattern: &Pattern) -> Option<&T> {
        self.patterns.get(pattern)
    }

    /// Gives a pattern a value. Answers the one it had.
    pub fn insert(&mut self, pattern: Pattern, value: T) -> Option<T> {
        self.forget();
        self.patterns.insert(pattern, value)
    }

    /// Removes a pattern.
    pub fn remove(&mut self, pattern: &Pattern) -> Option<T> {
        self.forget();
        self.patterns.remove(pattern)
    }

    /// Changes all values, and removes those for which that answers false.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        self.forget();
        self.patterns.retain(|_, value| keep(value));
    }

    /// All patterns in order, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&Pattern, &T)> {
        self.patterns.iter()
    }

    /// The values of all patterns that a channel's name matches, in the order of the patterns.
    pub fn matching(&mut self, name: &str) -> Arc<[T]> {
        if let Some(known) = self.matches.get(name) {
            return Arc::clone(known);
        }
        let matching = self.patterns.iter().filter(|(pattern, _)| pattern.matches(name));
        let found: Arc<[T]> = matching.map(|(_, value)| value.clone()).collect();
        if self.remembered + found.len() > REMEMBERED_MATCHES || self.matches.len() >= REMEMBERED_NAMES {
            self.forget();
        }
        self.remembered += found.len();
        self.matches.insert(name.into(), Arc::clone(&found));
        found
    }

    fn forget(&mut self) {
        self.matches.clear();
        self.remembered = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).expect("valid")
    }

    #[test]
    fn what_is_remembered_is_what_matches_now() {
        let mut set = PatternSet::default();
        assert!(set.matching("a.b").is_empty());
        for text in ["a.*", "*", "b*"] {
            set.insert(pattern(text), text);
        }
        assert_eq!(set.matching("a.b")[..], ["*", "a.*"]);
        assert_eq!(set.matching("a.b")[..], ["*", "a.*"]);
        set.remove(&pattern("*"));
        assert_eq!(set.matching("a.b")[..], ["a.*"]);
        set.retain(|value| {
            *value = "changed";
            true
        });
        assert_eq!(set.matching("a.b")[..], ["changed"]);
    }

    #[test]
    fn little_is_remembered_of_however_many_names() {
        let mut set = PatternSet::default();
        for n in 0..50 {
            set.insert(pattern(&format!("{}a", "*".repeat(n + 1))), n);
        }
        for n in 0..2 * REMEMBERED_NAMES {
            assert_eq!(set.matching(&format!("{n}a")).len(), 50);
            assert!(set.remembered <= REMEMBERED_MATCHES && set.matches.len() <= REMEMBERED_NAMES);
        }
    }
}
