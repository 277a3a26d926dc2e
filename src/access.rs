//! Permissions on channels and on durable subscriptions. Rights are lists of grants; everything else is refused.
//!
//! A grant is a name, or a literal beginning of names followed by one `*`, which covers whatever comes
//! after it, dots too: `orders.*` covers `orders.eu` and `orders.eu.secret`, and neither `orders` nor `order`. There is
//! nothing that takes a grant away again: in lists of both, which one wins is what people get wrong ([NATS
//! CVE-2022-29946]).
//!
//! Grants to publish and to subscribe are about channels, those to consume and to manage about subscriptions. The name
//! alone decides, whether there is such a channel or subscription or not.
//!
//! What an operation does on a channel or a subscription, it does with an [`Allowed`], which only [`Rights`] make: one
//! that forgets to ask does not compile.
//!
//! [NATS CVE-2022-29946]: https://nvd.nist.gov/vuln/detail/CVE-2022-29946

use std::{fmt, marker::PhantomData, ops::Deref};

use crate::{
    broker::Topic,
    channel::{ChannelName, Pattern},
    limits::{CHANNEL_NAME_BYTES, GRANTS},
    subscription::SubscriptionName,
};

/// An action on a channel or on a durable subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// To publish on a channel.
    Publish,
    /// To list a channel's messages, to stream them, and to see that it is there.
    Subscribe,
    /// To take a subscription's messages and to settle them: to pull, stream, acknowledge, reject and extend.
    Consume,
    /// To create, change, seek and delete a subscription, and to list and redrive its dead letters.
    Manage,
}

impl Verb {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Publish, Self::Subscribe, Self::Consume, Self::Manage];

    /// As policies and tokens write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Consume => "consume",
            Self::Manage => "manage",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A channel or subscription, or all whose names begin so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Grant {
    /// The one of this name.
    Exact(String),
    /// Those whose names begin with this; all where it is empty.
    Prefix(String),
}

/// Why a text is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGrant {
    /// It is empty.
    #[error("it is empty; give a name, or the beginning of names followed by *")]
    Empty,
    /// Longer than a name can be.
    #[error("it has {0} bytes; no name has more than {CHANNEL_NAME_BYTES}")]
    TooLong(usize),
    /// It looks like a glob, and would not work like one.
    #[error("it contains {0:?}; a grant is a name, or the beginning of names with one * at its end")]
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

    /// Whether it is about a channel or subscription of this name.
    pub fn covers(&self, name: &str) -> bool {
        match self {
            Self::Exact(own) => own == name,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
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
    consume: Vec<Grant>,
    manage: Vec<Grant>,
}

impl Rights {
    /// Everything: where nobody has to sign in.
    pub fn all() -> Self {
        let all = || vec![Grant::Prefix(String::new())];
        Self { publish: all(), subscribe: all(), consume: all(), manage: all() }
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
            Verb::Consume => &mut self.consume,
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
            Verb::Consume => &self.consume,
            Verb::Manage => &self.manage,
        }
    }

    /// Whether nothing is granted at all.
    pub fn is_empty(&self) -> bool {
        Verb::ALL.iter().all(|verb| self.grants(*verb).is_empty())
    }

    /// Whether something may be done with a channel or subscription of this name.
    pub fn covers(&self, verb: Verb, name: &str) -> bool {
        self.grants(verb).iter().any(|grant| grant.covers(name))
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

    /// The subscription, to consume from.
    pub fn consume(&self, name: SubscriptionName) -> Result<Allowed<Consume, SubscriptionName>, SubscriptionName> {
        if self.covers(Verb::Consume, name.as_str()) { Ok(Allowed::new(name)) } else { Err(name) }
    }

    /// The subscription, to manage. Whoever creates it must be allowed to read its channel as well.
    pub fn manage(&self, name: SubscriptionName) -> Result<Allowed<Manage, SubscriptionName>, SubscriptionName> {
        if self.covers(Verb::Manage, name.as_str()) { Ok(Allowed::new(name)) } else { Err(name) }
    }

    /// Whether it may be said that there is a subscription of this name, or none: to those who may consume from it, and
    /// to those who may manage it.
    pub fn may_see(&self, name: &SubscriptionName) -> bool {
        [Verb::Consume, Verb::Manage].into_iter().any(|verb| self.covers(verb, name.as_str()))
    }
}

/// To publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {}

/// To read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {}

/// To consume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consume {}

/// To manage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manage {}

/// A channel, topic or subscription with which its caller may do that.
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

    fn subscription(name: &str) -> SubscriptionName {
        let names = Names::new("tidings", "").expect("names");
        SubscriptionName::parse(name, &names).expect("a subscription's name")
    }

    fn rights(grants: &[&str]) -> Rights {
        rights_to(Verb::Subscribe, grants)
    }

    fn rights_to(verb: Verb, grants: &[&str]) -> Rights {
        let mut rights = Rights::default();
        for grant in grants {
            rights.add(verb, Grant::parse(grant).expect("a grant")).expect("room");
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
    fn a_right_is_to_one_verb_and_no_other() {
        assert_eq!(Verb::ALL.map(Verb::as_str), ["publish", "subscribe", "consume", "manage"]);
        for granted in Verb::ALL {
            let rights = rights_to(granted, &["mail.*"]);
            assert!(!rights.is_empty());
            for verb in Verb::ALL {
                assert_eq!(rights.covers(verb, "mail.a"), verb == granted, "{granted} {verb}");
                assert_eq!(rights.grants(verb).len(), usize::from(verb == granted), "{granted} {verb}");
                assert!(Rights::all().covers(verb, "mail.a") && !Rights::default().covers(verb, "mail.a"));
            }
            let is = |verb| granted == verb;
            assert_eq!(rights.publish(channel("mail.a")).is_ok(), is(Verb::Publish), "{granted}");
            assert_eq!(rights.read(channel("mail.a")).is_ok(), is(Verb::Subscribe), "{granted}");
            assert_eq!(rights.consume(subscription("mail.a")).is_ok(), is(Verb::Consume), "{granted}");
            assert_eq!(rights.manage(subscription("mail.a")).is_ok(), is(Verb::Manage), "{granted}");
            assert_eq!(rights.may_see(&subscription("mail.a")), is(Verb::Consume) || is(Verb::Manage), "{granted}");
        }
    }

    #[test]
    fn a_subscription_is_covered_by_its_name_alone() {
        let (consume, manage) = (rights_to(Verb::Consume, &["mail.*", "bills"]), rights_to(Verb::Manage, &["mail.*"]));
        for name in ["mail.eu", "mail.eu.late", "mail.", "bills"] {
            let allowed = consume.consume(subscription(name)).expect("it is granted");
            assert_eq!(allowed.as_str(), name);
            assert_eq!(allowed.into_inner(), subscription(name));
            assert!(consume.may_see(&subscription(name)) && Rights::all().may_see(&subscription(name)), "{name}");
        }
        for name in ["mail", "mai", "bills.eu", "bill", "x", "Mail.eu"] {
            assert_eq!(consume.consume(subscription(name)), Err(subscription(name)));
            assert_eq!(manage.manage(subscription(name)), Err(subscription(name)));
            assert!(!consume.may_see(&subscription(name)) && !manage.may_see(&subscription(name)), "{name}");
            assert!(
                Rights::all().consume(subscription(name)).is_ok() && Rights::all().manage(subscription(name)).is_ok()
            );
            assert!(!Rights::default().may_see(&subscription(name)), "{name}");
        }
        let allowed = manage.manage(subscription("mail.eu")).expect("it is granted");
        assert_eq!(allowed.into_inner(), subscription("mail.eu"));
        assert!(manage.may_see(&subscription("mail.eu")));
    }

    #[test]
    fn what_two_allow_is_the_same_verb() {
        for own in Verb::ALL {
            for others in Verb::ALL {
                let both = rights_to(own, &["mail.*", "x"]).intersect(&rights_to(others, &["mail.eu", "y"]));
                for verb in Verb::ALL {
                    let expected = own == others && own == verb;
                    assert_eq!(both.covers(verb, "mail.eu"), expected, "{own} {others} {verb}");
                    assert!(["mail.us", "x", "y"].iter().all(|name| !both.covers(verb, name)), "{own} {others} {verb}");
                }
            }
            let whole = rights_to(own, &["mail.*"]);
            assert_eq!((whole.intersect(&Rights::all()), Rights::all().intersect(&whole)), (whole.clone(), whole));
        }
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
        for verb in Verb::ALL {
            for n in 0..GRANTS {
                rights.add(verb, Grant::Exact(n.to_string())).expect("room");
            }
            let one_more = rights.add(verb, Grant::Exact("x".to_owned()));
            assert_eq!(one_more, Err(InvalidGrant::TooMany(GRANTS + 1)), "{verb}");
        }
    }
}
