//! Which certificates have which roles.
//!
//! A certificate is named by its SPIFFE ID or its DNS name, whole; or, with a `*` behind a `/`, by the beginning of
//! SPIFFE IDs: `spiffe://prod.example/ns/shop/*` is every workload below that path, since a SPIFFE ID says first who
//! issued it and then, part by part, where it runs. A DNS name says so from its end, where a beginning says nothing:
//! `orders.*` would be anybody's host. `*` alone is every certificate that `--tls-client-ca` lets in.

use std::collections::BTreeMap;

use crate::certificate::{is_host_name, is_spiffe_id, is_spiffe_prefix};

/// The table `[certificates]`.
#[derive(Debug, Clone, Default)]
pub(super) struct Certificates {
    whole: BTreeMap<String, Vec<String>>,
    /// Beginnings; an empty one is that of all.
    beginnings: BTreeMap<String, Vec<String>>,
}

impl Certificates {
    /// Gives roles to the certificates of a name; answers whether it is one.
    #[must_use]
    pub(super) fn add(&mut self, name: &str, roles: Vec<String>) -> bool {
        let (table, name) = match name.strip_suffix('*') {
            Some(beginning) if beginning.is_empty() || is_spiffe_prefix(beginning) => {
                (&mut self.beginnings, beginning.to_owned())
            }
            None if is_spiffe_id(name) => (&mut self.whole, name.to_owned()),
            None if is_host_name(name) => (&mut self.whole, name.to_ascii_lowercase()),
            _ => return false,
        };
        table.entry(name).or_default().extend(roles);
        true
    }

    /// The roles of a certificate.
    pub(super) fn roles_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a String> {
        let by_beginning = self.beginnings.iter().filter(move |(beginning, _)| name.starts_with(beginning.as_str()));
        self.whole.get(name).into_iter().chain(by_beginning.map(|(_, roles)| roles)).flatten()
    }
}
