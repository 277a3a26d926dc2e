//! What a server keeps: keys, their values, and when they go. A copy of all is cheap, since every write makes one.

use std::{collections::BTreeMap, rc::Rc};

/// A value. Changed in place only where no copy has it.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    Stream(Stream),
    Sorted(BTreeMap<Vec<u8>, f64>),
    Set(std::collections::BTreeSet<Vec<u8>>),
}

/// A Stream's ID.
pub(crate) type Id = (u64, u64);

#[derive(Debug, Clone, Default)]
pub(crate) struct Stream {
    pub(crate) entries: Vec<(Id, Rc<Vec<Vec<u8>>>)>,
    pub(crate) last: Id,
}

#[derive(Debug, Clone)]
struct Kept {
    value: Rc<Value>,
    expires_ms: Option<i64>,
}

/// All keys of a server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys(BTreeMap<Rc<[u8]>, Kept>);

impl Keys {
    /// Removes what has expired.
    pub(crate) fn expire(&mut self, now_ms: i64) {
        if self.0.values().any(|kept| kept.expires_ms.is_some_and(|at| at <= now_ms)) {
            self.0.retain(|_, kept| kept.expires_ms.is_none_or(|at| at > now_ms));
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Value> {
        self.0.get(key).map(|kept| &*kept.value)
    }

    /// The value, to be changed; made where there is none.
    pub(crate) fn get_mut(&mut self, key: &[u8], make: impl FnOnce() -> Value) -> &mut Value {
        if !self.0.contains_key(key) {
            self.0.insert(key.into(), Kept { value: Rc::new(make()), expires_ms: None });
        }
        let kept = self.0.get_mut(key).expect("it has just been made");
        Rc::make_mut(&mut kept.value)
    }

    pub(crate) fn set(&mut self, key: &[u8], value: Value) {
        self.0.insert(key.into(), Kept { value: Rc::new(value), expires_ms: None });
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        self.0.remove(key).is_some()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn expires_ms(&self, key: &[u8]) -> Option<Option<i64>> {
        self.0.get(key).map(|kept| kept.expires_ms)
    }

    pub(crate) fn set_expiry(&mut self, key: &[u8], at_ms: Option<i64>) -> bool {
        self.0.get_mut(key).map(|kept| kept.expires_ms = at_ms).is_some()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.keys().map(|key| &**key)
    }

    /// Takes one key as another copy has it.
    pub(crate) fn restore(&mut self, key: &[u8], from: &Self) {
        match from.0.get(key) {
            Some(kept) => self.0.insert(key.into(), kept.clone()),
            None => self.0.remove(key),
        };
    }
}
