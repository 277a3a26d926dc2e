//! Permissions on channels. Rights are lists of grants; everything else is refused.
//!
//! A grant is a channel's name, or a literal beginning of names followed by one `*`, which covers whatever comes
//! after it, dots too: `orders.*` covers `orders.eu` and `orders.eu.secret`, and neither `orders` nor `order`. There is
//! nothing that takes a grant away again: in lists of both, which one wins is what people get wrong ([NATS
//! CVE-2022-29946]).
//!
//! What an operation does on a channel, it does with an [`Allowed`], which only [`Rights`] make: one that forgets to
//! ask does not compile.
//!
//! [NATS CVE-2022-29946]: https://nvd.nist.gov/vuln/detail/CVE-2022-29946

use std::{fmt, marker::PhantomData, ops::Deref};

use crate::{
    broker::Topic,
    channel::{ChannelName, Pattern},
    limits::{CHANNEL_NAME_BYTES, GRANTS},
};

/// An action on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// To publish on it.
    Publish,
    /// To list its messages, to stream them, and to see that it is there.
    Subscribe,
    /// To manage the state that is kept for its readers.
    Manage,
}

impl Verb {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Publish, Self::Subscribe, Self::Manage];

    /// As policies and tokens write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Manage => "manage",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A channel, or all whose names begin so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Grant {
    /// The channel of this name.
    Exact(String),
    /// The channels whose names begin with this; all where it is empty.
    Prefix(String),
}

/// Why a text is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGrant {
    /// It is empty.
    #[error("it is empty; name a channel, or the beginning of names followed by *")]
    Empty,
    /// Longer than a channel's name can be.
    #[error("it has {0} bytes; no channel's name has more than {CHANNEL_NAME_BYTES}")]
    TooLong(usize),
    /// It looks like a glob, and would not work like one.
    #[error("it contains {0:?}; a grant is a channel's name, or the beginning of names with one * at its end")]
    Character(char),
    /// More than anybody has looked through.
    #[error("there are {0}; at most {GRANTS} are allowed")]
    TooMany(usize),
}

impl Grant {
    /// Reads a grant.
    ///
    /// # Errors
    ///
    /// It is empty, longer than a name, or has characters that no name has.
    pub fn parse(text: &str) -> Result<Self, InvalidGrant> {
        let (name, is_prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        if text.is_empty() {
            return Err(InvalidGrant::Empty);
        }
        if name.len() > CHANNEL_NAME_BYTES {
            return Err(InvalidGrant::TooLong(name.len()));
        }
        if let Some(c) = name.chars().find(|c| c.is_control() || c.is_whitespace() || "{}*?[]\\".contains(*c)) {
            return Err(InvalidGrant::Character(c));
        }
        Ok(if is_prefix { Self::Prefix(name.to_owned()) } else { Self::Exact(name.to_owned()) })
    }

    /// Whether it is about a channel of this name.
    pub fn covers(&self, channel: &str) -> bool {
        match self {
            Self::Exact(name) => name == channel,
            Self::Prefix(prefix) => channel.starts_with(prefix.as_str()),
        }
    }

    /// What both cover, which is what the narrower one does; `None` where that is nothing.
    fn intersect<'a>(&'a self, other: &'a Self) -> Option<&'a Self> {
        match (self, other) {
            (Self::Exact(name), grant) => grant.covers(name).then_some(self),
            (grant, Self::Exact(name)) => grant.covers(name).then_some(other),
            (Self::Prefix(own), Self::Prefix(others)) if own.starts_with(others.as_str()) => Some(self),
            (Self::Prefix(own), Self::Prefix(others)) => others.starts_with(own.as_str()).then_some(other),
        }
    }

    fn covers_pattern(&self, pattern: &Pattern) -> bool {
        match self {
            Self::Exact(_) => false,
            Self::Prefix(prefix) => pattern.literal_prefix().starts_with(prefix.as_str()),
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// A caller's permissions. By default none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    publish: Vec<Grant>,
    subscribe: Vec<Grant>,
    manage: Vec<Grant>,
}

impl Rights {
    /// Everything: where nobody has to sign in.
    pub fn all() -> Self {
        let all = || vec![Grant::Prefix(String::new())];
        Self { publish: all(), subscribe: all(), manage: all() }
    }

    /// Grants something more.
    ///
    /// # Errors
    ///
    /// There are too many grants already.
    pub fn add(&mut self, verb: Verb, grant: Grant) -> Result<(), InvalidGrant> {
        let grants = match verb {
            Verb::Publish => &mut self.publish,
            Verb::Subscribe => &mut self.subscribe,
            Verb::Manage => &mut self.manage,
        };
        if grants.len() == GRANTS {
            return Err(InvalidGrant::TooMany(GRANTS + 1));
        }
        grants.push(grant);
        Ok(())
    }

    /// What both these and those allow. Beyond the limit of grants there is less, never more.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let mut both = Self::default();
        for verb in Verb::ALL {
            for own in self.grants(verb) {
                for grant in other.grants(verb).iter().filter_map(|grant| own.intersect(grant)) {
                    if !both.grants(verb).contains(grant) {
                        let _full = both.add(verb, grant.clone());
                    }
                }
            }
        }
        both
    }

    /// The grants of a verb.
    pub fn grants(&self, verb: Verb) -> &[Grant] {
        match verb {
            Verb::Publish => &self.publish,
            Verb::Subscribe => &self.subscribe,
            Verb::Manage => &self.manage,
        }
    }

    /// Whether nothing is granted at all.
    pub fn is_empty(&self) -> bool {
        Verb::ALL.iter().all(|verb| self.grants(*verb).is_empty())
    }

    /// Whether something may be done with a channel of this name.
    pub fn covers(&self, verb: Verb, channel: &str) -> bool {
        self.grants(verb).iter().any(|grant| grant.covers(channel))
    }

    /// The channel, to publish on.
    pub fn publish(&self, channel: ChannelName) -> Result<Allowed<Publish, ChannelName>, ChannelName> {
        if self.covers(Verb::Publish, channel.as_str()) { Ok(Allowed::new(channel)) } else { Err(channel) }
    }

    /// The channel, to read.
    pub fn read(&self, channel: ChannelName) -> Result<Allowed<Read, ChannelName>, ChannelName> {
        if self.covers(Verb::Subscribe, channel.as_str()) { Ok(Allowed::new(channel)) } else { Err(channel) }
    }

    /// The channel or pattern, to follow. A pattern is allowed where every name with its literal prefix is: the names
    /// that it really matches are not asked.
    pub fn follow(&self, topic: Topic) -> Result<Allowed<Read, Topic>, Topic> {
        let is_allowed = match &topic {
            Topic::Channel(channel) => self.covers(Verb::Subscribe, channel.as_str()),
            Topic::Pattern(pattern) => self.subscribe.iter().any(|grant| grant.covers_pattern(pattern)),
        };
        if is_allowed { Ok(Allowed::new(topic)) } else { Err(topic) }
    }
}

/// To publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {}

/// To read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {}

/// A channel or topic with which its caller may do that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed<V, T> {
    what: T,
    verb: PhantomData<V>,
}

impl<V, T> Allowed<V, T> {
    fn new(what: T) -> Self {
        Self { what, verb: PhantomData }
    }

    /// What it is.
    pub fn into_inner(self) -> T {
        self.what
    }
}

impl<V, T> Deref for Allowed<V, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.what
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Names;

    fn channel(name: &str) -> ChannelName {
        Names::new("tidings", "").and_then(|names| names.parse(name)).expect("a channel")
    }

    fn rights(grants: &[&str]) -> Rights {
        let mut rights = Rights::default();
        for grant in grants {
            rights.add(Verb::Subscribe, Grant::parse(grant).expect("a grant")).expect("room");
        }
        rights
    }

    #[test]
    fn a_grant_is_a_name_or_a_beginning_with_a_star() {
        assert_eq!(Grant::parse("orders"), Ok(Grant::Exact("orders".to_owned())));
        assert_eq!(Grant::parse("orders.*"), Ok(Grant::Prefix("orders.".to_owned())));
        assert_eq!(Grant::parse("*"), Ok(Grant::Prefix(String::new())));
        assert_eq!(Grant::parse(""), Err(InvalidGrant::Empty));
        for (text, c) in [("a*b", '*'), ("a**", '*'), ("a?", '?'), ("[a]*", '['), ("a b", ' '), ("\\*", '\\')] {
            assert_eq!(Grant::parse(text), Err(InvalidGrant::Character(c)), "{text}");
        }
        assert_eq!(Grant::parse(&"n".repeat(256)), Err(InvalidGrant::TooLong(256)));
        for text in ["orders", "orders.*", "*"] {
            assert_eq!(Grant::parse(text).expect("a grant").to_string(), text);
        }
    }

    #[test]
    fn what_is_not_granted_is_refused() {
        let some = rights(&["orders.*", "news"]);
        for name in ["orders.eu", "orders.eu.secret", "orders.", "news"] {
            assert!(some.read(channel(name)).is_ok(), "{name}");
        }
        for name in ["orders", "order", "news.eu", "new", "x", "Orders.eu"] {
            assert!(some.read(channel(name)).is_err(), "{name}");
            assert!(Rights::default().read(channel(name)).is_err());
            assert!(Rights::all().read(channel(name)).is_ok());
        }
        // To read is not to publish.
        assert!(some.publish(channel("news")).is_err());
        assert!(Rights::default().is_empty() && !some.is_empty());
    }

    #[test]
    fn a_pattern_is_allowed_where_all_that_begins_so_is() {
        let some = rights(&["orders.*", "news"]);
        let follow = |pattern: &str| some.follow(Topic::Pattern(Pattern::parse(pattern).expect("a pattern"))).is_ok();
        for pattern in ["orders.*", "orders.e?", "orders.[ab]", "orders.eu", "orders.eu.*"] {
            assert!(follow(pattern), "{pattern}");
        }
        // `news` alone would be covered, but a pattern of that text is asked as a pattern.
        for pattern in ["*", "orders*", "order?.*", "[o]rders.*", "?rders.eu", "news*", "news", "\\orders.*", "o*"] {
            assert!(!follow(pattern), "{pattern}");
        }
    }

    #[test]
    fn what_two_allow_is_what_each_of_them_does() {
        let names = ["a", "a.b", "a.b.c", "b", "ab", "x"];
        let patterns = ["a*", "a.*", "a.b*", "a.b.*", "*", "b*"];
        let sets = [&["*"][..], &["a.*"], &["a.b", "b"], &["a*", "x"], &["a.b.*", "ab"], &["b*"], &[]];
        for (own, others) in sets.iter().flat_map(|own| sets.iter().map(move |others| (rights(own), rights(others)))) {
            let both = own.intersect(&others);
            for name in names {
                let expected = own.covers(Verb::Subscribe, name) && others.covers(Verb::Subscribe, name);
                assert_eq!(both.covers(Verb::Subscribe, name), expected, "{own:?} {others:?} {name}");
                assert!(!both.covers(Verb::Publish, name));
            }
            for pattern in patterns {
                let follow = |rights: &Rights| {
                    rights.follow(Topic::Pattern(Pattern::parse(pattern).expect("a pattern"))).is_ok()
                };
                assert_eq!(follow(&both), follow(&own) && follow(&others), "{own:?} {others:?} {pattern}");
            }
        }
    }

    #[test]
    fn there_is_an_end_to_grants() {
        let mut rights = Rights::default();
        for n in 0..GRANTS {
            rights.add(Verb::Publish, Grant::Exact(n.to_string())).expect("room");
        }
        assert_eq!(rights.add(Verb::Publish, Grant::Exact("x".to_owned())), Err(InvalidGrant::TooMany(GRANTS + 1)));
    }
}
