//! The message as which a dead letter is published: the original, and what became of it.

use std::collections::BTreeMap;

use tidings::{
    broker::subscriptions::{Letter, LetterId, Place},
    envelope::{self, Envelope, RESERVED_ATTRIBUTES, format_time},
    limits::{DEAD_LETTER_HOPS, READ_ATTRIBUTE_VALUE_BYTES, READ_MESSAGE_BYTES},
    message::{DedupKey, Draft, Sender},
};

/// Why a letter can't be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    /// It went from one dead-letter channel to the next too often.
    #[error("it was published as a dead letter {DEAD_LETTER_HOPS} times already")]
    TooFar,
    /// The original does not fit any more, which no message does that was published under the present limits.
    #[error("the message has {0} bytes as JSON with its new attributes; at most {READ_MESSAGE_BYTES} are allowed")]
    TooLarge(usize),
}

fn key(what: &str) -> String {
    format!("{RESERVED_ATTRIBUTES}dead-letter-{what}")
}

/// Whether a message is a dead letter of a subscription, as the service published it.
pub(super) fn is_of(envelope: &Envelope, place: &Place) -> bool {
    let key = key("subscription");
    let found = envelope.attributes.iter().find(|(other, _)| *other == key);
    envelope.claim.is_some() && found.is_some_and(|(_, name)| name == place.name.as_str())
}

/// Makes it.
pub(super) fn make(place: &Place, id: &LetterId, letter: &Letter) -> Result<Draft, Unfit> {
    let mut original = envelope::decode(&letter.json, letter.attempts.first_ms);
    if original.claim.is_some_and(|claim| (claim.epoch, claim.sequence) != (letter.epoch, letter.sequence)) {
        original.disbelieve();
    }
    let mut attributes: BTreeMap<String, String> = original.attributes.into_iter().collect();
    let hops: u32 = attributes.get(&key("hops")).and_then(|hops| hops.parse().ok()).unwrap_or(0);
    if hops >= DEAD_LETTER_HOPS {
        return Err(Unfit::TooFar);
    }
    let added = [
        ("subscription", place.name.as_str().to_owned()),
        ("channel", place.channel.as_str().to_owned()),
        ("message-id", original.id.to_string()),
        ("sequence", letter.sequence.to_string()),
        ("epoch", letter.epoch.to_string()),
        ("reason", cut(&letter.reason).to_owned()),
        ("attempts", letter.attempts.count.to_string()),
        ("first-time", format_time(letter.attempts.first_ms)),
        ("time", format_time(id.dead_ms)),
        ("hops", (hops + 1).to_string()),
    ];
    attributes.extend(added.map(|(what, value)| (key(what), value)));
    let (id, ordering_key) = (letter.copy_id(place, id.dead_ms), original.ordering_key);
    // Where callers sign in, no caller's ids are compared as they are.
    let dedup = Some(DedupKey::new(Sender::Unasked, id));
    let attributes = attributes.into_iter().collect();
    let mut draft = Draft { id, dedup, payload: original.payload, attributes, ordering_key };
    if envelope::len(&draft) > READ_MESSAGE_BYTES {
        // Best for people, and the only one of any size.
        let reason = key("reason");
        draft.attributes.retain(|(other, _)| *other != reason);
    }
    match envelope::len(&draft) {
        bytes if bytes > READ_MESSAGE_BYTES => Err(Unfit::TooLarge(bytes)),
        _ => Ok(draft),
    }
}

/// As much of a reason as an attribute may have.
fn cut(reason: &str) -> &str {
    let mut end = reason.len().min(READ_ATTRIBUTE_VALUE_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidings::{
        channel::Names,
        limits::{ATTRIBUTES, MESSAGE_BYTES, REASON_BYTES},
        message::{Epoch, Payload},
        subscription::{Attempts, SubscriptionName},
    };
    use uuid::Uuid;

    use super::*;

    fn place(channel: &str, name: &str) -> Place {
        let names = Names::new("tidings", "").expect("valid");
        let name = SubscriptionName::parse(name, &names).expect("valid");
        Place { channel: names.parse(channel).expect("valid"), name }
    }

    fn epoch() -> Epoch {
        Epoch::from_u64(10).expect("not 0")
    }

    fn original(text: &str, attributes: &[(&str, &str)]) -> Draft {
        Draft {
            id: Uuid::from_u128(7),
            dedup: None,
            payload: Payload::Text(text.to_owned()),
            attributes: attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ordering_key: "order".to_owned(),
        }
    }

    fn letter(original: &Draft, reason: &str) -> (LetterId, Letter) {
        let json = Bytes::from(envelope::encode(original).stamp(1_700_000_000_000, 42, epoch()));
        let attempts = Attempts { count: 3, first_ms: 1_700_000_001_000, redrives: 0 };
        let id = LetterId { dead_ms: 1_700_000_002_000, sequence: 42, epoch: epoch() };
        (id, Letter { epoch: epoch(), sequence: 42, attempts, reason: reason.to_owned(), key: None, json })
    }

    fn made(original: &Draft, reason: &str) -> Result<Draft, Unfit> {
        let (id, letter) = letter(original, reason);
        make(&place("orders", "mail"), &id, &letter)
    }

    /// What comes after the next death.
    fn next(draft: &Draft) -> Result<Draft, Unfit> {
        made(draft, "again")
    }

    fn attribute<'a>(draft: &'a Draft, what: &str) -> Option<&'a str> {
        let key = key(what);
        draft.attributes.iter().find(|(other, _)| *other == key).map(|(_, value)| value.as_str())
    }

    #[test]
    fn it_is_the_original_with_what_became_of_it() {
        let original = original("hello", &[("region", "eu"), ("tidings-subject", "alice")]);
        let draft = made(&original, "broken").expect("it fits");
        assert_eq!((&draft.payload, draft.ordering_key.as_str()), (&original.payload, "order"));
        let own: Vec<_> = draft.attributes.iter().filter(|(key, _)| !key.contains("dead-letter")).cloned().collect();
        assert_eq!(own, original.attributes);
        for (what, value) in [
            ("subscription", "mail"),
            ("channel", "orders"),
            ("message-id", "00000000-0000-0000-0000-000000000007"),
            ("sequence", "42"),
            ("epoch", "000000000000000a"),
            ("reason", "broken"),
            ("attempts", "3"),
            ("first-time", "2023-11-14T22:13:21.000Z"),
            ("time", "2023-11-14T22:13:22.000Z"),
            ("hops", "1"),
        ] {
            assert_eq!(attribute(&draft, what), Some(value), "{what}");
        }
        assert_eq!(draft.attributes.len(), 12);
        assert!(draft.attributes.is_sorted());
        let (_, letter) = letter(&original, "broken");
        assert_eq!(
            (draft.id, draft.dedup.is_some()),
            (letter.copy_id(&place("orders", "mail"), 1_700_000_002_000), true)
        );
        // As it is read again.
        let read = envelope::decode(envelope::encode(&draft).stamp(1, 2, epoch()).as_bytes(), 0);
        assert_eq!(read.attributes, draft.attributes);
        assert!(is_of(&read, &place("orders", "mail")) && !is_of(&read, &place("orders", "other")));
    }

    #[test]
    fn a_dead_letter_of_a_dead_letter_has_an_end() {
        let mut draft = made(&original("hello", &[]), "").expect("the first");
        for hops in 2..=DEAD_LETTER_HOPS {
            draft = next(&draft).expect("one more");
            assert_eq!(attribute(&draft, "hops"), Some(hops.to_string().as_str()));
            assert_eq!(draft.attributes.len(), 10);
        }
        assert_eq!(next(&draft), Err(Unfit::TooFar));
    }

    #[test]
    fn the_largest_message_fits_with_the_longest_reason() {
        let names: Vec<String> = (0..ATTRIBUTES).map(|n| format!("key {n}")).collect();
        let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), "v")).collect();
        let frame = envelope::len(&original("", &pairs));
        let largest = original(&"x".repeat(MESSAGE_BYTES - frame), &pairs);
        assert_eq!(envelope::len(&largest), MESSAGE_BYTES);
        let place = place(&"\"".repeat(255), &"\"".repeat(100));
        for reason in ["\u{1}".repeat(REASON_BYTES), format!("{}\u{1F4A5}", "\u{1}".repeat(REASON_BYTES - 1))] {
            let (id, letter) = letter(&largest, &reason);
            let draft = make(&place, &id, &letter).expect("it fits");
            let kept = attribute(&draft, "reason").expect("all of it");
            assert!(reason.starts_with(kept) && kept.len() >= REASON_BYTES - 1);
            let json = envelope::encode(&draft).stamp(1, 2, epoch());
            let read = envelope::decode(json.as_bytes(), 0);
            assert_eq!((read.payload == largest.payload, read.attributes), (true, draft.attributes));
        }
        // One that was written under other limits.
        let larger = original(&"x".repeat(READ_MESSAGE_BYTES - frame), &pairs);
        assert!(matches!(made(&larger, ""), Err(Unfit::TooLarge(_))));
        let without_reason = original(&"x".repeat(READ_MESSAGE_BYTES - frame - 1_000), &pairs);
        let draft = made(&without_reason, &"r".repeat(REASON_BYTES)).expect("without its reason");
        assert_eq!((attribute(&draft, "reason"), attribute(&draft, "sequence")), (None, Some("42")));
    }

    #[test]
    fn what_claims_to_be_another_message_has_no_attributes_of_the_service() {
        let (id, letter) = letter(&original("x", &[("tidings-subject", "alice"), ("k", "v")]), "");
        let draft = make(&place("orders", "mail"), &id, &Letter { sequence: 43, ..letter }).expect("it fits");
        assert!(draft.attributes.iter().all(|(key, _)| key != "tidings-subject"));
        assert!(draft.attributes.iter().any(|(key, _)| key == "k"));
    }
}
