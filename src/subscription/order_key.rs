//! Ordering keys, as subscriptions know them.

use std::fmt;

/// Stands for an ordering key: 16 bytes of its hash, so that a long one costs no more than a short one. Written as 32
/// hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderKey(u128);

impl OrderKey {
    /// That of a message; `None` where it has no ordering key.
    pub fn of(ordering_key: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        blake3::Hasher::new_derive_key("tidings 2026-11 ordering key of a subscription")
            .update(ordering_key.as_bytes())
            .finalize_xof()
            .fill(&mut bytes);
        (!ordering_key.is_empty()).then_some(Self(u128::from_be_bytes(bytes)))
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        let is_whole = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_whole.then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_hash() {
        assert_eq!(OrderKey::of(""), None);
        let key = OrderKey::of("customer-7").expect("a key");
        assert_eq!(OrderKey::of("customer-7"), Some(key));
        assert_ne!(OrderKey::of("customer-8"), Some(key));
        assert_eq!(OrderKey::parse(&key.to_string()), Some(key));
        for text in ["", "0", &"g".repeat(32), &"0".repeat(33), &"A".repeat(32), &"+".repeat(32)] {
            assert_eq!(OrderKey::parse(text), None, "{text}");
        }
    }
}
