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
//! consume = ["mail.*"]
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
use tidings::{
    access::{Grant, InvalidGrant, Rights, Verb},
    limits::GRANTS,
};
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
    /// The same, bounded.
    rights: Rights,
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
    /// More grants than are looked at.
    #[error(
        "line {line}: role {role:?} has more than {GRANTS} grants to {verb}; have a grant that ends in * cover some"
    )]
    TooMany {
        /// From 1.
        line: usize,
        /// Which role has them.
        role: String,
        /// To do what.
        verb: Verb,
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
    consume: Vec<Spanned<String>>,
    #[serde(default)]
    manage: Vec<Spanned<String>>,
}

impl RoleInFile {
    fn grants(&self, verb: Verb) -> &[Spanned<String>] {
        match verb {
            Verb::Publish => &self.publish,
            Verb::Subscribe => &self.subscribe,
            Verb::Consume => &self.consume,
            Verb::Manage => &self.manage,
        }
    }
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    ///
    /// It is not TOML, or has an unknown key, an invalid grant, an invalid name of a certificate, or
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
            for verb in Verb::ALL {
                for spanned in in_file.grants(verb) {
                    let grant = Grant::parse(spanned.get_ref()).map_err(|error| InvalidPolicy::Grant {
                        line: line(spanned),
                        role: name.clone(),
                        text: spanned.get_ref().clone(),
                        error,
                    })?;
                    // Once is enough, and the first one's line decides.
                    if role.rights.grants(verb).contains(&grant) {
                        continue;
                    }
                    if role.rights.add(verb, grant.clone()).is_err() {
                        return Err(InvalidPolicy::TooMany { line: line(spanned), role: name, verb });
                    }
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
        let Granted { rights, cut, .. } = self.granted(roles);
        // Beyond the limit there is less, never more.
        if let Some(error) = cut {
            let subject = identity.acts_as();
            tracing::warn!(subject, %error, "a caller has more grants than are looked at");
        }
        rights
    }

    /// What these roles grant, in their order, as far as it is looked at.
    fn granted<'a>(&'a self, roles: &[&'a String]) -> Granted<'a> {
        let (mut rights, mut lines) = (Rights::default(), Vec::new());
        for name in roles {
            let Some(role) = self.roles.get(*name) else { continue };
            for (verb, grant, line) in &role.grants {
                if rights.grants(*verb).contains(grant) {
                    continue;
                }
                if let Err(error) = rights.add(*verb, grant.clone()) {
                    return Granted { rights, lines, cut: Some(error) };
                }
                lines.push((*name, *verb, grant, *line));
            }
        }
        Granted { rights, lines, cut: None }
    }

    /// Whether somebody may do something with a channel or subscription, and why: the same that services say.
    pub fn decide(&self, identity: &Identity, verb: Verb, name: &str) -> Decision {
        let mut allowing = Vec::new();
        for (of, roles) in self.parts_of(identity) {
            let granted = self.granted(&roles);
            match granted.lines.iter().find(|(_, own, grant, _)| *own == verb && grant.covers(name)) {
                Some((role, _, grant, line)) => {
                    let (role, grant) = ((*role).clone(), (*grant).clone());
                    allowing.push(Allowing { of, line: *line, role, grant });
                }
                None => {
                    let roles = roles.into_iter().cloned().collect();
                    return Decision::No { of, roles, is_cut: granted.cut.is_some() };
                }
            }
        }
        // What a token and a certificate have in common is bounded as well.
        match allowing.first() {
            Some(first) if !self.rights(identity).covers(verb, name) => {
                Decision::No { of: first.of, roles: vec![first.role.clone()], is_cut: true }
            }
            _ => Decision::Yes(allowing),
        }
    }
}

/// What some roles grant.
struct Granted<'a> {
    rights: Rights,
    /// Each grant with its role and its line.
    lines: Vec<(&'a String, Verb, &'a Grant, usize)>,
    /// Why the rest is not looked at, where there is more.
    cut: Option<InvalidGrant>,
}

/// A message without what it quotes of the file, which may be a secret where the wrong file is read: values stand in
/// double quotes, keys and numbers in backticks.
fn without_values(message: &str) -> String {
    let Some(at) = message.find(['"', '`']) else { return message.to_owned() };
    // These end in words of our own: what was expected instead.
    let ends_in_ours = ["unknown field", "invalid type", "invalid value"].iter().any(|kind| message.starts_with(kind));
    let end = message.rfind(", expected ").filter(|_| ends_in_ours);
    format!("{}…{}", &message[..at], end.map_or("", |end| &message[end..]))
}

#[cfg(test)]
mod tests;
