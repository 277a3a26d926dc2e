//! Ids for messages that come without. To read the clock and to draw random bits takes longer than the rest of reading
//! a small message, so this is done once for all that come together.

use uuid::Uuid;

/// The bits of an id that hold no time, version or variant.
const FREE: u128 = (1 << 62) - 1;

/// Ids of one moment, each greater than the one before. Beyond their first, which is as random as any, they are
/// counted: what others draw in the same millisecond meets one of them no sooner than it would meet as many random
/// ones.
#[derive(Debug, Default)]
pub(crate) struct Ids(Option<u128>);

impl Ids {
    pub(crate) fn next(&mut self) -> Uuid {
        let next = self.0.map(|last| last.wrapping_add(1)).filter(|next| next & FREE != 0);
        let id = next.unwrap_or_else(|| Uuid::now_v7().as_u128());
        self.0 = Some(id);
        Uuid::from_u128(id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_of_version_7_and_in_order_and_differ_from_those_of_others() {
        let mut seen = HashSet::new();
        let mut last = Uuid::nil();
        for _ in 0..500 {
            let mut ids = Ids::default();
            for _ in 0..100 {
                let id = ids.next();
                assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
                assert!(id > last, "{id} after {last}");
                assert!(seen.insert(id));
                last = id;
            }
        }
        let now = Uuid::now_v7();
        assert!(now > last, "later ones are greater");
    }

    #[test]
    fn counting_ends_before_the_variant() {
        let first = Uuid::now_v7().as_u128() | FREE;
        let mut ids = Ids(Some(first - 1));
        assert_eq!(ids.next().as_u128(), first);
        let next = ids.next();
        assert_eq!((next.get_version_num(), next.get_variant()), (7, uuid::Variant::RFC4122));
        assert_ne!(next.as_u128(), first + 1);
    }
}
