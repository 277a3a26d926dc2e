//! What a sentinel answers, taken out of its replies.

use std::collections::BTreeSet;

use crate::{address::Address, resp::Reply};

/// What one sentinel says of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The sentinel's own id; empty where it does not say.
    pub(super) id: String,
    /// The epoch of its configuration: each promotion has a higher one.
    pub(super) epoch: u64,
    /// Where the primary is in it, or in a later one.
    pub(super) address: Address,
    /// The other sentinels that it knows.
    pub(super) others: Vec<Other>,
}

/// A sentinel that another one knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Other {
    pub(super) id: String,
    pub(super) address: Address,
}

/// The `config-epoch` in what `SENTINEL MASTER` answers.
pub(super) fn epoch(reply: &Reply) -> Option<u64> {
    field(reply, "config-epoch")?.parse().ok()
}

/// The name of a service in the same.
pub(super) fn name(reply: &Reply) -> Option<String> {
    field(reply, "name").filter(|name| !name.is_empty())
}

/// The address in what `SENTINEL GET-MASTER-ADDR-BY-NAME` answers: a host, by name or address, and a port.
pub(super) fn address(reply: &Reply) -> Option<Address> {
    match reply {
        Reply::List(parts) => match &parts[..] {
            [host, port] => of(host.word(), &port.word()),
            _ => None,
        },
        _ => None,
    }
}

/// The others in what `SENTINEL SENTINELS` answers. Of one that the sentinel itself knows no address of yet nothing is
/// said.
pub(super) fn others(reply: &Reply) -> Vec<Other> {
    let Reply::List(entries) = reply else { return Vec::new() };
    let other =
        |entry| Some(Other { id: field(entry, "runid")?, address: of(field(entry, "ip")?, &field(entry, "port")?)? });
    entries.iter().filter_map(other).collect()
}

/// Which services there are instead, as the end of a sentence.
pub(super) fn known(names: BTreeSet<&str>) -> String {
    match names.len() {
        0 => "; they watch nothing".to_owned(),
        _ => format!("; they know: {}", names.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

fn of(host: String, port: &str) -> Option<Address> {
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then_some(Address { host, port })
}

fn field(reply: &Reply, name: &str) -> Option<String> {
    let Reply::List(fields) = reply else { return None };
    fields.chunks_exact(2).find(|pair| pair[0].word() == name).map(|pair| pair[1].word())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Reply {
        Reply::List(words.iter().map(|word| Reply::Text(word.to_string().into())).collect())
    }

    #[test]
    fn what_is_needed_is_found_and_nothing_is_made_up() {
        let master = list(&["name", "mymaster", "ip", "10.0.0.1", "config-epoch", "7", "quorum", "2"]);
        assert_eq!((epoch(&master), name(&master).as_deref()), (Some(7), Some("mymaster")));
        let found = address(&list(&["redis-1.test", "6379"])).expect("an address");
        assert_eq!(found.to_string(), "redis-1.test:6379");
        let known = list(&["name", "x", "ip", "::1", "port", "26379", "runid", "abc"]);
        let unknown = list(&["name", "y", "ip", "", "port", "26379", "runid", "def"]);
        let found = others(&Reply::List(vec![known, unknown, Reply::Null]));
        assert_eq!(found.iter().map(|other| other.address.to_string()).collect::<Vec<_>>(), ["[::1]:26379"]);
        for reply in [Reply::Null, Reply::Int(1), list(&[]), list(&["a", "0"]), list(&["a", "65536"]), list(&["", "1"])]
        {
            assert_eq!((epoch(&reply), address(&reply), others(&reply)), (None, None, Vec::new()), "{reply:?}");
        }
        assert_eq!(epoch(&list(&["config-epoch", "-1"])), None);
    }
}
