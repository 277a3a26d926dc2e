//! What a policy says to a question, for people.

use std::fmt;

use tidings::{access::Grant, limits::GRANTS};

/// What a policy says to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is allowed: to its token, to its certificate, or, where it has both, to each of them.
    Yes(Vec<Allowing>),
    /// It is not.
    No {
        /// Which of the two is not allowed it.
        of: Part,
        /// The roles that this one has.
        roles: Vec<String>,
        /// Whether they grant more than is looked at, which may have allowed it.
        is_cut: bool,
    },
}

/// What allows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowing {
    /// To which part of the identity.
    pub of: Part,
    /// The line, from 1.
    pub line: usize,
    /// The role that it belongs to.
    pub role: String,
    /// The grant there.
    pub grant: Grant,
}

/// A part of an identity, which has roles of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Nobody has signed in.
    Anonymous,
    /// A token, with its subject and groups.
    Token,
    /// A client certificate.
    Certificate,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes(all) => {
                f.write_str("yes: ")?;
                for (index, Allowing { of, line, role, grant }) in all.iter().enumerate() {
                    let before = if index > 0 { ", and " } else { "" };
                    let whose = if all.len() > 1 { format!(" of the {of}") } else { String::new() };
                    write!(f, "{before}line {line}, {grant} in role {role}{whose}")?;
                }
                Ok(())
            }
            Self::No { of, roles, .. } if roles.is_empty() => write!(f, "no: the {of} has no role"),
            Self::No { of, roles, is_cut } => {
                write!(f, "no: nothing in the roles of the {of} grants it ({})", roles.join(", "))?;
                match is_cut {
                    true => write!(f, "; they have more than {GRANTS} grants of a kind, and no more are looked at"),
                    false => Ok(()),
                }
            }
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "anonymous caller",
            Self::Token => "token",
            Self::Certificate => "certificate",
        })
    }
}
