//! A subscription's settings: checked when they come, kept as the contract's own message, and read again.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tidings::{
    broker::subscriptions::{Books, Hold, Place},
    channel::{ChannelName, Names},
    filter::Filter,
    limits::{
        ACK_DEADLINE_DEFAULT, ACK_DEADLINE_MAX, ACK_DEADLINE_MIN, ATTEMPTS_DEFAULT, ATTEMPTS_MAX, ATTRIBUTE_KEY_BYTES,
        ATTRIBUTE_VALUE_BYTES, BACKOFF_FIRST, BACKOFF_LONGEST, DELAY_MAX, EXPIRE_DEFAULT, EXPIRE_MAX, EXPIRE_MIN,
        HOLD_AGE_DEFAULT, HOLD_AGE_MAX, HOLD_AGE_MIN, LABELS, OUTSTANDING, SETTINGS_BYTES,
    },
    pb,
    status::{self, reason},
    subscription::SubscriptionName,
};
use tonic::Status;
use uuid::Uuid;

use super::retry::RetryPolicy;

/// What a subscription is set to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// As it is kept: with all defaults, without what only an answer has.
    kept: pb::Subscription,
    pub(crate) filter: Option<Filter>,
    pub(crate) ack_deadline: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) max_outstanding: u64,
    pub(crate) expire_after: Duration,
    /// Where dead letters are published as well.
    pub(crate) dead_letter_channel: ChannelName,
    hold_age: Duration,
    /// Which call has created it, where that call said so.
    request_id: Option<Uuid>,
}

/// What is kept beside the contract's message, in a field that it does not have.
#[derive(Clone, PartialEq, prost::Message)]
struct Creation {
    #[prost(bytes = "vec", tag = "1000")]
    request_id: Vec<u8>,
}

/// The path of the message that has them.
const PATH: &str = "subscription";

fn path(field: &str) -> String {
    format!("{PATH}.{field}")
}

impl Settings {
    /// Checks settings that a client sent, and fills in the defaults.
    ///
    /// # Errors
    ///
    /// INVALID_ARGUMENT and RESOURCE_EXHAUSTED, with the field.
    pub(crate) fn new(given: pb::Subscription, place: &Place, names: &Names) -> Result<Self, Status> {
        let retry = given.retry_policy.unwrap_or_default();
        let min = duration(retry.min_backoff, "retry_policy.min_backoff", BACKOFF_FIRST, Duration::ZERO..=DELAY_MAX)?;
        let longest = BACKOFF_LONGEST.max(min);
        let max = duration(retry.max_backoff, "retry_policy.max_backoff", longest, min..=DELAY_MAX)?;
        let ack_deadline =
            duration(given.ack_deadline, "ack_deadline", ACK_DEADLINE_DEFAULT, ACK_DEADLINE_MIN..=ACK_DEADLINE_MAX)?;
        let hold_age =
            duration(given.message_retention, "message_retention", HOLD_AGE_DEFAULT, HOLD_AGE_MIN..=HOLD_AGE_MAX)?;
        let expire_after =
            match duration(given.expire_after, "expire_after", EXPIRE_DEFAULT, Duration::ZERO..=EXPIRE_MAX)? {
                short if short > Duration::ZERO && short < EXPIRE_MIN => {
                    return Err(status::invalid(path("expire_after"), "it is under 1 h; 0 s means never"));
                }
                expire_after => expire_after,
            };
        let attempts = given.max_delivery_attempts.unwrap_or(ATTEMPTS_DEFAULT);
        if !(0..=ATTEMPTS_MAX).contains(&attempts) {
            let text = format!("it must be from 0, for no limit, to {ATTEMPTS_MAX}");
            return Err(status::invalid(path("max_delivery_attempts"), text));
        }
        let outstanding = match given.max_outstanding_messages {
            0 => OUTSTANDING as i32,
            given if (1..=OUTSTANDING as i32).contains(&given) => given,
            _ => {
                let text = format!("it must be from 1 to {OUTSTANDING}; 0 means that");
                return Err(status::invalid(path("max_outstanding_messages"), text));
            }
        };
        check_labels(&given.labels)?;
        let dead_letter_channel = dead_letter_channel(&given.dead_letter_channel, &place.name, &place.channel, names)?;
        let kept = pb::Subscription {
            name: place.name.as_str().to_owned(),
            channel: place.channel.as_str().to_owned(),
            filter: given.filter,
            ordered: given.ordered,
            ack_deadline: Some(proto(ack_deadline)),
            max_delivery_attempts: Some(attempts),
            retry_policy: Some(pb::RetryPolicy { min_backoff: Some(proto(min)), max_backoff: Some(proto(max)) }),
            dead_letter_channel: dead_letter_channel.as_str().to_owned(),
            message_retention: Some(proto(hold_age)),
            max_outstanding_messages: outstanding,
            expire_after: Some(proto(expire_after)),
            paused: given.paused,
            labels: given.labels,
            ..pb::Subscription::default()
        };
        let bytes = kept.encoded_len();
        if bytes > SETTINGS_BYTES {
            return Err(status::too_large(reason::TOO_MANY_LABELS, path("labels"), "bytes", bytes, SETTINGS_BYTES));
        }
        let filter = match kept.filter.as_str() {
            "" => None,
            text => Some(
                Filter::parse(text)
                    .map_err(|error| status::filter_invalid(&path("filter"), error.position, &error.to_string()))?,
            ),
        };
        Ok(Self {
            filter,
            ack_deadline,
            retry: RetryPolicy { min, max, attempts: attempts.unsigned_abs() },
            max_outstanding: u64::from(outstanding.unsigned_abs()),
            expire_after,
            dead_letter_channel,
            hold_age,
            request_id: None,
            kept,
        })
    }

    /// Reads what was kept; `None` where that is no settings.
    pub(crate) fn read(bytes: &Bytes, place: &Place, names: &Names) -> Option<Self> {
        let kept = pb::Subscription::decode(bytes.clone()).ok()?;
        let Creation { request_id } = Creation::decode(bytes.clone()).ok()?;
        Some(Self::new(kept, place, names).ok()?.created_by(Uuid::from_slice(&request_id).ok()))
    }

    /// The same, of a subscription that a call has created.
    pub(crate) fn created_by(self, request_id: Option<Uuid>) -> Self {
        Self { request_id, ..self }
    }

    /// Which call has created it, where that is known.
    pub(crate) fn request_id(&self) -> Option<Uuid> {
        self.request_id
    }

    /// As they are kept. Labels come in the order of their keys, so that equal settings are equal bytes.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut bytes = self.kept.encode_to_vec();
        if let Some(request_id) = self.request_id {
            // Fields that follow are of the same message.
            bytes.extend(Creation { request_id: request_id.as_bytes().to_vec() }.encode_to_vec());
        }
        bytes.into()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.kept.paused
    }

    /// Whether of each ordering key one message is under way at a time.
    pub(crate) fn is_ordered(&self) -> bool {
        self.kept.ordered
    }

    /// How much of the log it holds.
    pub(crate) fn hold(&self, bytes: u64) -> Hold {
        Hold { age: self.hold_age, bytes }
    }

    /// The same settings with those fields of others that a mask names.
    pub(crate) fn merged(&self, given: &pb::Subscription, mask: &[String]) -> Result<pb::Subscription, Status> {
        let mut merged = self.kept.clone();
        for field in mask {
            match field.as_str() {
                "ack_deadline" => merged.ack_deadline = given.ack_deadline,
                "max_delivery_attempts" => merged.max_delivery_attempts = given.max_delivery_attempts,
                "retry_policy" => merged.retry_policy = given.retry_policy,
                "message_retention" => merged.message_retention = given.message_retention,
                "max_outstanding_messages" => merged.max_outstanding_messages = given.max_outstanding_messages,
                "expire_after" => merged.expire_after = given.expire_after,
                "paused" => merged.paused = given.paused,
                "labels" => merged.labels.clone_from(&given.labels),
                "name" | "channel" | "filter" | "ordered" | "dead_letter_channel" => {
                    let text = format!("{field} can't be changed; create another subscription");
                    return Err(status::invalid("update_mask", text));
                }
                _ => {
                    let text = format!("{:?} is no field that can be changed", short(field));
                    return Err(status::invalid("update_mask", text));
                }
            }
        }
        Ok(merged)
    }

    /// As it is answered, without its state.
    pub(crate) fn answer(&self, books: &Books) -> pb::Subscription {
        pb::Subscription { etag: etag(books), create_time: Some(pb::timestamp(books.create_ms)), ..self.kept.clone() }
    }
}

/// What changes with the settings, and is another in each life of a name.
pub(super) fn etag(books: &Books) -> String {
    format!("{:x}-{}", books.create_ms, books.state.revision)
}

/// The channel on which a subscription's dead letters are published: the one that is given, or its own.
///
/// # Errors
///
/// INVALID_ARGUMENT, with the field.
pub(crate) fn dead_letter_channel(
    given: &str,
    name: &SubscriptionName,
    channel: &ChannelName,
    names: &Names,
) -> Result<ChannelName, Status> {
    let text = if given.is_empty() { format!("dead-letter.{name}") } else { given.to_owned() };
    let found = names.parse(&text).map_err(|error| status::invalid_channel(path("dead_letter_channel"), &error))?;
    if found == *channel {
        let text = format!("{found} is the subscription's own channel: its dead letters would come back to it");
        return Err(status::invalid_because(reason::INVALID_CHANNEL, path("dead_letter_channel"), text));
    }
    Ok(found)
}

/// The fields of given settings that are set, where no mask says which to change.
pub(crate) fn set_fields(given: &pb::Subscription) -> Vec<String> {
    let set = [
        ("ack_deadline", given.ack_deadline.is_some()),
        ("max_delivery_attempts", given.max_delivery_attempts.is_some()),
        ("retry_policy", given.retry_policy.is_some()),
        ("message_retention", given.message_retention.is_some()),
        ("max_outstanding_messages", given.max_outstanding_messages != 0),
        ("expire_after", given.expire_after.is_some()),
        ("paused", given.paused),
        ("labels", !given.labels.is_empty()),
    ];
    set.into_iter().filter(|(_, is_set)| *is_set).map(|(field, _)| field.to_owned()).collect()
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

fn check_labels(labels: &std::collections::BTreeMap<String, String>) -> Result<(), Status> {
    if labels.len() > LABELS {
        return Err(status::too_many_labels(labels.len()));
    }
    for (key, value) in labels {
        if key.is_empty() || key.len() > ATTRIBUTE_KEY_BYTES || value.len() > ATTRIBUTE_VALUE_BYTES {
            let text = format!("a key has 1 to {ATTRIBUTE_KEY_BYTES} bytes, a value at most {ATTRIBUTE_VALUE_BYTES}");
            return Err(status::invalid(path("labels"), text));
        }
    }
    Ok(())
}

/// Reads a duration within bounds; unset is a default.
fn duration(
    given: Option<prost_types::Duration>,
    field: &str,
    default: Duration,
    bounds: std::ops::RangeInclusive<Duration>,
) -> Result<Duration, Status> {
    let Some(given) = given else { return Ok(default) };
    within(given, bounds).map_err(|text| status::invalid(path(field), text))
}

/// A duration of a request, within bounds; the error says what is wrong with it.
pub(crate) fn within(
    given: prost_types::Duration,
    bounds: std::ops::RangeInclusive<Duration>,
) -> Result<Duration, String> {
    let read = || {
        let (seconds, nanos) = (u64::try_from(given.seconds).ok()?, u32::try_from(given.nanos).ok()?);
        (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
    };
    let duration = read().ok_or("it must not be negative, and have less than a second of nanos")?;
    match bounds.contains(&duration) {
        true => Ok(duration),
        false => Err(format!(
            "it must be from {} to {}",
            humantime::format_duration(*bounds.start()),
            humantime::format_duration(*bounds.end())
        )),
    }
}

fn proto(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: duration.subsec_nanos() as i32,
    }
}

#[cfg(test)]
mod tests {
    use tidings::channel::Names;

    use super::*;

    fn names() -> Names {
        Names::new("tidings", "").expect("names")
    }

    fn place() -> Place {
        let name = SubscriptionName::parse("mail", &names()).expect("a name");
        Place { channel: names().parse("orders").expect("a channel"), name }
    }

    fn settings(given: pb::Subscription) -> Result<Settings, Status> {
        Settings::new(given, &place(), &names())
    }

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    #[test]
    fn defaults_are_filled_in_and_what_is_kept_is_read_again() {
        let labels = [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into_iter().collect();
        let given = pb::Subscription { filter: r#"attributes.k = "v""#.to_owned(), labels, ..Default::default() };
        let made = settings(given).expect("settings");
        assert_eq!(made.ack_deadline, ACK_DEADLINE_DEFAULT);
        assert_eq!(made.retry, RetryPolicy { min: BACKOFF_FIRST, max: BACKOFF_LONGEST, attempts: 10 });
        assert_eq!((made.max_outstanding, made.expire_after), (OUTSTANDING as u64, EXPIRE_DEFAULT));
        assert_eq!(made.dead_letter_channel.as_str(), "dead-letter.mail");
        assert_eq!(Settings::read(&made.to_bytes(), &place(), &names()), Some(made.clone()));
        let by_call = made.created_by(Some(Uuid::from_u128(7)));
        assert_eq!(Settings::read(&by_call.to_bytes(), &place(), &names()), Some(by_call));
        assert_eq!(Settings::read(&Bytes::from_static(b"\xff\xff"), &place(), &names()), None);
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_its_field() {
        let none = pb::Subscription::default;
        let backoff = |min, max| Some(pb::RetryPolicy { min_backoff: min, max_backoff: max });
        let labels = |key: usize, value: usize| [("k".repeat(key), "v".repeat(value))].into_iter().collect();
        for (field, given) in [
            ("ack_deadline", pb::Subscription { ack_deadline: seconds(0), ..none() }),
            ("ack_deadline", pb::Subscription { ack_deadline: seconds(601), ..none() }),
            ("ack_deadline", pb::Subscription { ack_deadline: seconds(-1), ..none() }),
            ("max_delivery_attempts", pb::Subscription { max_delivery_attempts: Some(-1), ..none() }),
            ("max_delivery_attempts", pb::Subscription { max_delivery_attempts: Some(1_001), ..none() }),
            ("retry_policy.min_backoff", pb::Subscription { retry_policy: backoff(seconds(86_401), None), ..none() }),
            ("retry_policy.max_backoff", pb::Subscription { retry_policy: backoff(seconds(9), seconds(8)), ..none() }),
            ("message_retention", pb::Subscription { message_retention: seconds(5), ..none() }),
            ("max_outstanding_messages", pb::Subscription { max_outstanding_messages: -1, ..none() }),
            ("max_outstanding_messages", pb::Subscription { max_outstanding_messages: 10_001, ..none() }),
            ("expire_after", pb::Subscription { expire_after: seconds(60), ..none() }),
            ("labels", pb::Subscription { labels: labels(0, 1), ..none() }),
            ("labels", pb::Subscription { labels: labels(129, 1), ..none() }),
            ("labels", pb::Subscription { labels: labels(1, 1_025), ..none() }),
            ("filter", pb::Subscription { filter: "attributes.k =".to_owned(), ..none() }),
            ("dead_letter_channel", pb::Subscription { dead_letter_channel: "orders".to_owned(), ..none() }),
            ("dead_letter_channel", pb::Subscription { dead_letter_channel: "a b".to_owned(), ..none() }),
            ("dead_letter_channel", pb::Subscription { dead_letter_channel: "tidings:x".to_owned(), ..none() }),
        ] {
            let refused = settings(given).expect_err(field);
            assert!(refused.message().contains(&path(field)), "{field}: {refused:?}");
        }
        let endless = pb::Subscription { expire_after: seconds(0), max_delivery_attempts: Some(0), ..none() };
        let endless = settings(endless).expect("settings");
        assert_eq!((endless.expire_after, endless.retry.attempts), (Duration::ZERO, 0));
    }

    #[test]
    fn a_mask_says_what_is_changed() {
        let old = settings(pb::Subscription { ack_deadline: seconds(60), ..Default::default() }).expect("settings");
        let given = pb::Subscription { ack_deadline: seconds(5), paused: true, ..Default::default() };
        let merged =
            |mask: &[&str]| old.merged(&given, &mask.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>());
        let one = merged(&["paused"]).expect("merged");
        assert_eq!((one.paused, one.ack_deadline), (true, seconds(60)));
        assert_eq!(set_fields(&given), ["ack_deadline", "paused"]);
        // What is named and unset goes back to its default.
        let reset = old.merged(&pb::Subscription::default(), &["ack_deadline".to_owned()]).expect("merged");
        assert_eq!(settings(reset).expect("settings").ack_deadline, ACK_DEADLINE_DEFAULT);
        for field in ["filter", "ordered", "channel", "name", "dead_letter_channel", "state", "etag", "nothing"] {
            assert!(merged(&[field]).is_err(), "{field}");
        }
    }
}
