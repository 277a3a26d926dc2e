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
//!
//! [certificates]
//! "spiffe://prod.example/ns/shop/*" = ["clerk"]
//! "orders.shop.example" = ["clerk"]
//! ```
//!
//! Who calls with a token and a certificate may do what both may. What it does not grant is refused; an empty one
//! grants nothing. There is nothing in it that takes rights away.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidings::access::{Grant, InvalidGrant, Rights, Verb};
use toml::Spanned;

use self::certificates::Certificates;
pub use self::decision::{Allowing, Decision, Part};
pub(crate) use self::in_force::Current;
use crate::Identity;

mod certificates;
mod decision;
mod in_force;

/// What a file says, checked.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    roles: BTreeMap<String, Role>,
    anonymous: Vec<String>,
    subjects: BTreeMap<String, Vec<String>>,
    groups: BTreeMap<String, Vec<String>>,
    certificates: Certificates,
}

/// A role's grants, each with its line.
#[derive(Debug, Clone, Default)]
struct Role {
    grants: Vec<(Verb, Grant, usize)>,
}

/// Why a text is no policy.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPolicy {
    /// It is not written as one. What is there instead is not repeated: it may be a secret, where the wrong file is
    /// read.
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
    /// A certificate can't have this name.
    #[error(
        "line {line}: {name:?} is the name of no certificate: give a SPIFFE ID, the beginning of some with /* at its end, \
         a host's name, or * for all"
    )]
    Certificate {
        /// From 1.
        line: usize,
        /// What was named.
        name: String,
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
    #[serde(default)]
    certificates: BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
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
    /// It is no TOML, has a key that policies don't have, a grant that is none, a certificate's name that is none, or
    /// names a role that there is not.
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
        let mut certificates = Certificates::default();
        for (name, roles) in file.certificates {
            if !certificates.add(name.get_ref(), known(roles)?) {
                return Err(InvalidPolicy::Certificate { line: line(&name), name: name.into_inner() });
            }
        }
        Ok(Self { roles, anonymous, subjects, groups, certificates })
    }

    /// Whether a caller without a token may do anything.
    pub(crate) fn has_anonymous(&self) -> bool {
        !self.anonymous.is_empty()
    }

    /// The parts of an identity, with the names of the roles that each has. What they may all do is allowed.
    fn parts_of<'a>(&'a self, identity: &'a Identity) -> Vec<(Part, Vec<&'a String>)> {
        let mut parts = Vec::new();
        if let Some(subject) = &identity.subject {
            let of_groups = identity.groups.iter().filter_map(|group| self.groups.get(group)).flatten();
            parts.push((Part::Token, self.subjects.get(subject).into_iter().flatten().chain(of_groups).collect()));
        }
        if let Some(name) = &identity.certificate {
            parts.push((Part::Certificate, self.certificates.roles_of(name).collect()));
        }
        if parts.is_empty() {
            parts.push((Part::Anonymous, self.anonymous.iter().collect()));
        }
        parts
    }

    /// What somebody may do.
    pub(crate) fn rights(&self, identity: &Identity) -> Rights {
        let parts = self.parts_of(identity).into_iter().map(|(_, roles)| self.rights_of(identity, &roles));
        parts.reduce(|own, others| own.intersect(&others)).unwrap_or_default()
    }

    fn rights_of(&self, identity: &Identity, roles: &[&String]) -> Rights {
        let mut rights = Rights::default();
        for role in roles.iter().filter_map(|role| self.roles.get(*role)) {
            for (verb, grant, _) in &role.grants {
                if rights.grants(*verb).contains(grant) {
                    continue;
                }
                // Beyond the limit there is less, never more.
                if let Err(error) = rights.add(*verb, grant.clone()) {
                    let subject = identity.acts_as();
                    tracing::warn!(subject, %error, "a caller has more grants than are looked at");
                    return rights;
                }
            }
        }
        rights
    }

    /// Whether somebody may do something with a channel, and why.
    pub fn decide(&self, identity: &Identity, verb: Verb, channel: &str) -> Decision {
        let mut allowing = Vec::new();
        for (of, roles) in self.parts_of(identity) {
            match self.allowing(of, &roles, verb, channel) {
                Some(allowed) => allowing.push(allowed),
                None => return Decision::No { of, roles: roles.into_iter().cloned().collect() },
            }
        }
        Decision::Yes(allowing)
    }

    /// The first grant of these roles that allows it.
    fn allowing(&self, of: Part, roles: &[&String], verb: Verb, channel: &str) -> Option<Allowing> {
        let grants = roles.iter().flat_map(|role| {
            let grants = self.roles.get(*role).map(|role| &role.grants[..]).unwrap_or_default();
            grants.iter().map(move |grant| (role, grant))
        });
        let mut allowing = grants.filter(|(_, (of, grant, _))| {
            let mut rights = Rights::default();
            rights.add(*of, grant.clone()).is_ok() && rights.covers(verb, channel)
        });
        let (role, (_, grant, line)) = allowing.next()?;
        Some(Allowing { of, line: *line, role: (*role).clone(), grant: grant.clone() })
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
mod tests;
