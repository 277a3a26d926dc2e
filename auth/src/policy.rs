//! A policy: which roles there are, and who has them.
//!
//! ```toml
//! anonymous = ["visitor"]
//!
//! [roles.visitor]
//! subscribe = ["news.*"]
//!
//! [roles.clerk]
//! publish = ["orders.*"]
//! subscribe = ["orders.*", "news.*"]
//!
//! [subjects]
//! "alice" = ["clerk"]
//!
//! [groups]
//! "sales" = ["clerk"]
//! ```
//!
//! What it does not grant is refused; an empty one grants nothing. There is nothing in it that takes rights away.

use std::{collections::BTreeMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use serde::Deserialize;
use tidings::access::{Grant, InvalidGrant, Rights, Verb};
use tokio::sync::watch;
use toml::Spanned;

/// What a file says, checked.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    roles: BTreeMap<String, Role>,
    anonymous: Vec<String>,
    subjects: BTreeMap<String, Vec<String>>,
    groups: BTreeMap<String, Vec<String>>,
}

/// A role's grants, each with its line.
#[derive(Debug, Clone, Default)]
struct Role {
    grants: Vec<(Verb, Grant, usize)>,
}

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Named {
    /// `None` where nobody has signed in.
    pub(crate) subject: Option<String>,
    pub(crate) groups: Vec<String>,
}

/// Why a text is no policy.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPolicy {
    /// It is not written as one. What is there instead is not repeated: it may be a secret, where the wrong file is read.
    #[error("line {line}: {what}")]
    Syntax {
        /// From 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A grant can't be one.
    #[error("line {line}: {text:?} in role {role:?}: {error}")]
    Grant {
        /// From 1.
        line: usize,
        /// Which role has it.
        role: String,
        /// The grant.
        text: String,
        /// What is wrong with it.
        error: InvalidGrant,
    },
    /// Somebody has a role that there is not.
    #[error("line {line}: there is no role {role:?}")]
    UnknownRole {
        /// From 1.
        line: usize,
        /// What was named.
        role: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    roles: BTreeMap<String, RoleInFile>,
    #[serde(default)]
    anonymous: Vec<Spanned<String>>,
    #[serde(default)]
    subjects: BTreeMap<String, Vec<Spanned<String>>>,
    #[serde(default)]
    groups: BTreeMap<String, Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleInFile {
    #[serde(default)]
    publish: Vec<Spanned<String>>,
    #[serde(default)]
    subscribe: Vec<Spanned<String>>,
    #[serde(default)]
    manage: Vec<Spanned<String>>,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    ///
    /// It is no TOML, has a key that policies don't have, a grant that is none, or names a role that there is not.
    pub fn parse(text: &str) -> Result<Self, InvalidPolicy> {
        let file: File = toml::from_str(text).map_err(|error| InvalidPolicy::Syntax {
            line: error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count()),
            what: without_values(error.message()),
        })?;
        let line = |spanned: &Spanned<String>| 1 + text[..spanned.span().start].matches('\n').count();
        let mut roles = BTreeMap::new();
        for (name, in_file) in file.roles {
            let mut role = Role::default();
            for (verb, grants) in Verb::ALL.into_iter().zip([&in_file.publish, &in_file.subscribe, &in_file.manage]) {
                for spanned in grants {
                    let grant = Grant::parse(spanned.get_ref()).map_err(|error| InvalidPolicy::Grant {
                        line: line(spanned),
                        role: name.clone(),
                        text: spanned.get_ref().clone(),
                        error,
                    })?;
                    role.grants.push((verb, grant, line(spanned)));
                }
            }
            roles.insert(name, role);
        }
        let known = |named: Vec<Spanned<String>>| {
            let check = |role: Spanned<String>| match roles.contains_key(role.get_ref()) {
                true => Ok(role.into_inner()),
                false => Err(InvalidPolicy::UnknownRole { line: line(&role), role: role.into_inner() }),
            };
            named.into_iter().map(check).collect::<Result<Vec<_>, _>>()
        };
        let all_known = |all: BTreeMap<String, Vec<Spanned<String>>>| {
            all.into_iter().map(|(name, roles)| Ok((name, known(roles)?))).collect::<Result<_, InvalidPolicy>>()
        };
        let (anonymous, subjects, groups) =
            (known(file.anonymous)?, all_known(file.subjects)?, all_known(file.groups)?);
        Ok(Self { roles, anonymous, subjects, groups })
    }

    /// Whether a caller without a token may do anything.
    pub(crate) fn has_anonymous(&self) -> bool {
        !self.anonymous.is_empty()
    }

    /// The names of the roles that somebody has.
    fn roles_of<'a>(&'a self, named: &'a Named) -> impl Iterator<Item = &'a str> {
        let own: Box<dyn Iterator<Item = &String>> = match &named.subject {
            None => Box::new(self.anonymous.iter()),
            Some(subject) => {
                let of_groups = named.groups.iter().filter_map(|group| self.groups.get(group)).flatten();
                Box::new(self.subjects.get(subject).into_iter().flatten().chain(of_groups))
            }
        };
        own.map(String::as_str)
    }

    /// What somebody may do.
    pub(crate) fn rights(&self, named: &Named) -> Rights {
        let mut rights = Rights::default();
        for role in self.roles_of(named).filter_map(|role| self.roles.get(role)) {
            for (verb, grant, _) in &role.grants {
                if rights.grants(*verb).contains(grant) {
                    continue;
                }
                // Beyond the limit there is less, never more.
                if let Err(error) = rights.add(*verb, grant.clone()) {
                    tracing::warn!(subject = named.subject, %error, "a caller has more grants than are looked at");
                    return rights;
                }
            }
        }
        rights
    }

    /// Whether somebody may do something with a channel, and why.
    pub fn decide(&self, subject: Option<&str>, groups: &[String], verb: Verb, channel: &str) -> Decision {
        let named = Named { subject: subject.map(str::to_owned), groups: groups.to_vec() };
        for role in self.roles_of(&named) {
            for (of, grant, line) in self.roles.get(role).map(|role| &role.grants[..]).unwrap_or_default() {
                let mut rights = Rights::default();
                let is_it = rights.add(*of, grant.clone()).is_ok() && rights.covers(verb, channel);
                if is_it {
                    return Decision::Yes { line: *line, role: role.to_owned(), grant: grant.clone() };
                }
            }
        }
        Decision::No { roles: self.roles_of(&named).map(str::to_owned).collect() }
    }
}

/// What a policy says to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is allowed.
    Yes {
        /// The line that allows it, from 1.
        line: usize,
        /// The role that it belongs to.
        role: String,
        /// The grant there.
        grant: Grant,
    },
    /// It is not.
    No {
        /// The roles that the caller has.
        roles: Vec<String>,
    },
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes { line, role, grant } => write!(f, "yes: line {line}, {grant} in role {role}"),
            Self::No { roles } if roles.is_empty() => f.write_str("no: it has no role"),
            Self::No { roles } => write!(f, "no: nothing in its roles grants it ({})", roles.join(", ")),
        }
    }
}

/// The policy in force, which others look at while it is replaced.
#[derive(Debug, Clone)]
pub(crate) struct Current(Arc<State>);

#[derive(Debug)]
struct State {
    in_force: ArcSwap<Numbered>,
    changes: watch::Sender<u64>,
}

/// A policy, and how many there were before it.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub(crate) policy: Policy,
    pub(crate) generation: u64,
}

impl Current {
    pub(crate) fn new(policy: Policy) -> Self {
        let in_force = ArcSwap::from_pointee(Numbered { policy, generation: 0 });
        Self(Arc::new(State { in_force, changes: watch::Sender::new(0) }))
    }

    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<Numbered>> {
        self.0.in_force.load()
    }

    pub(crate) fn replace(&self, policy: Policy) {
        let generation = self.load().generation + 1;
        self.0.in_force.store(Arc::new(Numbered { policy, generation }));
        self.0.changes.send_replace(generation);
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }
}

/// A message without the values that it quotes.
fn without_values(message: &str) -> String {
    let mut pieces = message.split('"');
    let first = pieces.next().unwrap_or_default();
    // What has quotes within is cut off there.
    if pieces.next().is_some() {
        format!("{first}…{}", pieces.next_back().unwrap_or_default())
    } else {
        first.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
anonymous = ["visitor"]

[roles.visitor]
subscribe = ["news.*"]

[roles.clerk]
publish = [
    "orders.*",
    "audit",
]
subscribe = ["orders.*"]

[subjects]
"alice" = ["clerk"]

[groups]
"sales" = ["clerk", "visitor"]
"#;

    fn named(subject: &str, groups: &[&str]) -> Named {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Named { subject: Some(subject.to_owned()), groups }
    }

    #[test]
    fn roles_come_by_name_and_by_group() {
        let policy = Policy::parse(TEXT).expect("a policy");
        let may = |named: &Named, verb, channel| policy.rights(named).covers(verb, channel);
        let alice = named("alice", &[]);
        assert!(may(&alice, Verb::Publish, "orders.eu") && may(&alice, Verb::Publish, "audit"));
        assert!(may(&alice, Verb::Subscribe, "orders.eu") && !may(&alice, Verb::Subscribe, "news.a"));
        assert!(may(&named("bob", &["x", "sales"]), Verb::Subscribe, "news.a"));
        for nobody in [named("bob", &[]), named("sales", &["alice"]), named("", &[]), named("Alice", &["Sales"])] {
            assert!(policy.rights(&nobody).is_empty(), "{nobody:?}");
        }
        let anonymous = Named::default();
        assert!(may(&anonymous, Verb::Subscribe, "news.a") && !may(&anonymous, Verb::Publish, "news.a"));
        assert!(policy.has_anonymous());
    }

    #[test]
    fn what_is_no_policy_is_not_repeated() {
        for text in
            ["roles = \"s3cret\"", "s3cret", "anonymous = [\"a\"]\n\"s3cret", "[roles.a]\npublish = \"s3\\\"cret\""]
        {
            let error = Policy::parse(text).expect_err("no policy").to_string();
            assert!(error.starts_with("line ") && !error.contains("s3") && !error.contains("cret"), "{error}");
        }
    }

    #[test]
    fn an_empty_policy_grants_nothing() {
        let policy = Policy::parse("").expect("a policy");
        assert!(policy.rights(&named("alice", &["sales"])).is_empty() && policy.rights(&Named::default()).is_empty());
        assert!(!policy.has_anonymous());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, words) in [
            ("[roles.a]\npublish = [\"a*b\"]", "line 2"),
            ("[roles.a]\npublish = [\n\"ok\",\n\"\"]", "line 4"),
            ("[roles.a]\n[subjects]\n\"x\" = [\"b\"]", "line 3: there is no role \"b\""),
            ("anonymous = [\"b\"]", "line 1"),
            ("[roles.a]\npubish = []", "unknown field `pubish`"),
            ("[role.a]\npublish = []", "unknown field `role`"),
            ("[roles.a]\npublish = \"a\"", "line 2"),
            ("[roles", "line 1"),
        ] {
            let error = Policy::parse(text).expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_decision_names_its_line() {
        let policy = Policy::parse(TEXT).expect("a policy");
        let decide = |subject, verb, channel| policy.decide(subject, &[], verb, channel).to_string();
        assert_eq!(decide(Some("alice"), Verb::Publish, "audit"), "yes: line 10, audit in role clerk");
        assert_eq!(decide(Some("alice"), Verb::Publish, "orders.eu"), "yes: line 9, orders.* in role clerk");
        assert_eq!(decide(Some("alice"), Verb::Manage, "audit"), "no: nothing in its roles grants it (clerk)");
        assert_eq!(decide(Some("bob"), Verb::Publish, "audit"), "no: it has no role");
        assert_eq!(decide(None, Verb::Subscribe, "news.a"), "yes: line 5, news.* in role visitor");
    }

    #[test]
    fn a_right_is_valid_as_long_as_the_policy_grants_it() {
        let current = Current::new(Policy::parse(TEXT).expect("a policy"));
        let caller = crate::Caller::of_policy(named("alice", &[]), current.clone(), None);
        let changes = caller.changes().expect("a policy can change");
        assert!(caller.rights().covers(Verb::Publish, "audit"));
        current.replace(Policy::default());
        assert!(changes.has_changed().expect("open") && !caller.rights().covers(Verb::Publish, "audit"));
    }
}
