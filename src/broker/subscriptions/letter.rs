//! Dead letters: messages that are put aside.

use bytes::Bytes;
use uuid::Uuid;

use super::Place;
use crate::{
    message::Epoch,
    subscription::{Attempts, OrderKey},
};

/// Names a dead letter. They are ordered by when they died.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LetterId {
    /// When it died.
    pub dead_ms: i64,
    /// The message's sequence.
    pub sequence: i64,
    /// The message's epoch.
    pub epoch: Epoch,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The message's epoch.
    pub epoch: Epoch,
    /// The message's sequence.
    pub sequence: i64,
    /// Its deliveries.
    pub attempts: Attempts,
    /// Why it died.
    pub reason: String,
    /// Its key, where it counts.
    pub key: Option<OrderKey>,
    /// The JSON as it was published.
    pub json: Bytes,
}

impl Letter {
    /// The id of the message as which it is published, where it died then. It is the same each time, so that a repeat
    /// is known by it; one that has died again has another.
    pub fn copy_id(&self, place: &Place, dead_ms: i64) -> Uuid {
        let mut hasher = blake3::Hasher::new_derive_key("tidings 2026-11 message_id of a dead letter");
        // Names have no control characters.
        hasher.update(place.name.as_str().as_bytes()).update(&[0]);
        hasher.update(place.channel.as_str().as_bytes()).update(&[0]);
        hasher.update(&self.epoch.as_u64().to_be_bytes()).update(&self.sequence.to_be_bytes());
        hasher.update(&self.attempts.redrives.to_be_bytes()).update(&dead_ms.to_be_bytes());
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{channel::Names, subscription::SubscriptionName};

    #[test]
    fn a_letters_copy_has_an_id_of_its_own() {
        let names = Names::new("tidings", "").expect("valid");
        let place = |channel, name| Place {
            channel: names.parse(channel).expect("valid"),
            name: SubscriptionName::parse(name, &names).expect("valid"),
        };
        let letter = |epoch, sequence, redrives| Letter {
            epoch: Epoch::from_u64(epoch).expect("not 0"),
            sequence,
            attempts: Attempts { count: 3, first_ms: 5, redrives },
            reason: String::new(),
            key: None,
            json: Bytes::new(),
        };
        let of = [
            letter(1, 2, 3).copy_id(&place("a", "b"), 5),
            letter(1, 2, 3).copy_id(&place("a", "b"), 6),
            letter(2, 2, 3).copy_id(&place("a", "b"), 5),
            letter(1, 1, 3).copy_id(&place("a", "b"), 5),
            letter(1, 2, 4).copy_id(&place("a", "b"), 5),
            letter(1, 2, 3).copy_id(&place("b", "a"), 5),
        ];
        let distinct: std::collections::HashSet<_> = of.iter().collect();
        assert_eq!(distinct.len(), of.len());
        let again = Letter { reason: "another".to_owned(), ..letter(1, 2, 3) };
        assert_eq!((again.copy_id(&place("a", "b"), 5), of[0].get_version_num()), (of[0], 8));
    }
}
