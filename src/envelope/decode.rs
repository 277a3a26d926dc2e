//! Reading an envelope, ours or a stranger's.
//!
//! Nothing that can be on a channel makes this fail, and nothing exact is bent: values are kept as the raw text they
//! had, and no step recurses into them, however deep they are nested. A text that is no envelope by our rules is a
//! payload as a whole.

use std::{borrow::Cow, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use chrono::DateTime;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::check_json;
use crate::{
    limits::{
        ATTRIBUTE_VALUE_BYTES, READ_ATTRIBUTE_KEY_BYTES, READ_ATTRIBUTE_VALUE_BYTES, READ_ATTRIBUTES,
        READ_ORDERING_KEY_BYTES,
    },
    message::{Epoch, MAX_SEQUENCE, Payload},
};

mod fast;

pub use fast::Plain;
pub(super) use fast::{Before, decode as plain};

/// Attributes that begin with this are the service's own: clients may not set them, and those of plain programs are
/// dropped.
pub const RESERVED_ATTRIBUTES: &str = "tidings-";
/// The attribute with the subject of whoever published the message, where callers sign in.
pub const SUBJECT: &str = "tidings-subject";
/// The attribute that keeps an `id` that was no UUID.
pub const ORIGINAL_ID: &str = "tidings-original-id";
/// The attribute that keeps a `date` that was not RFC 3339.
pub const ORIGINAL_DATE: &str = "tidings-original-date";

/// The times that a protobuf timestamp can name: the years 1 to 9999, in ms since 1970.
const TIMES_MS: std::ops::Range<i64> = -62_135_596_800_000..253_402_300_800_000;

/// A message as it was on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Its `id`, or a new one where that was missing or no UUID.
    pub id: Uuid,
    /// What it carries.
    pub payload: Payload,
    /// Those that our rules allow, and the originals of an odd `id` or `date`; by key, each key once.
    pub attributes: Vec<(String, String)>,
    /// Empty for none.
    pub ordering_key: String,
    /// Its `date`, or the time of arrival where that was missing or unreadable; ms since 1970.
    pub time_ms: i64,
    /// The position it says it has. The reader decides whether to believe it; one that does not calls
    /// [`disbelieve`](Envelope::disbelieve).
    pub claim: Option<Claim>,
}

/// A position that an envelope says it has. Only an envelope with a readable `id` and `date` has one, since all that
/// the service numbers have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// `epoch`
    pub epoch: Epoch,
    /// `sequence`, at least 1
    pub sequence: i64,
}

impl Envelope {
    /// Makes it the message of a plain program, whose claim is not true: unnumbered, and without the attributes
    /// that only the service may set. An envelope that claims nothing stays as it is.
    pub fn disbelieve(&mut self) {
        if self.claim.take().is_some() {
            self.attributes.retain(|(key, _)| !key.starts_with(RESERVED_ATTRIBUTES));
        }
    }

    fn bare(payload: Payload, arrival_ms: i64) -> Self {
        Self {
            id: Uuid::now_v7(),
            payload,
            attributes: Vec::new(),
            ordering_key: String::new(),
            time_ms: arrival_ms,
            claim: None,
        }
    }
}

/// Reads any bytes that were on a channel at `arrival_ms`.
pub fn decode(bytes: &[u8], arrival_ms: i64) -> Envelope {
    match fast::decode(bytes, &mut Before::default()) {
        Some(plain) => plain.envelope(),
        None => decode_slowly(bytes, arrival_ms),
    }
}

/// The same for any layout.
pub(super) fn decode_slowly(bytes: &[u8], arrival_ms: i64) -> Envelope {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Envelope::bare(Payload::Data(Bytes::copy_from_slice(bytes)), arrival_ms);
    };
    if let Some(envelope) = Fields::read(text).and_then(|fields| fields.envelope(arrival_ms)) {
        return envelope;
    }
    let payload = match check_json(text) {
        Ok(json) => Payload::Json(json.to_owned()),
        Err(_) => Payload::Text(text.to_owned()),
    };
    Envelope::bare(payload, arrival_ms)
}

/// The eight keys of an envelope with their raw values. Serde refuses any other key, and a key that comes twice.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(borrow)]
    message: &'a RawValue,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    date: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    sequence: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    epoch: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    attributes: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    ordering_key: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    encoding: Option<&'a RawValue>,
}

/// A key that is there, even if its value is `null`: serde alone would take that for a missing key.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Fields<'a> {
    /// `None` where the text is no JSON object of just these keys.
    fn read(text: &'a str) -> Option<Self> {
        // Serde would take an array of eight for a struct as well.
        let is_object = text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{');
        is_object.then(|| serde_json::from_str(text).ok()).flatten()
    }

    /// `None` where one of the values is odd in a way that makes the whole no envelope.
    fn envelope(&self, arrival_ms: i64) -> Option<Envelope> {
        let payload = self.payload()?;
        let ordering_key = match self.ordering_key {
            Some(raw) => text(raw).filter(|key| key.len() <= READ_ORDERING_KEY_BYTES)?.into_owned(),
            None => String::new(),
        };
        let id = self.id.and_then(read_id);
        let time_ms = self.date.and_then(read_date);
        let claim = self.claim().filter(|_| id.is_some() && time_ms.is_some());
        let mut attributes = match self.attributes {
            Some(raw) => read_attributes(raw, claim.is_some())?,
            None => Vec::new(),
        };
        let odd =
            [(ORIGINAL_DATE, self.date.filter(|_| time_ms.is_none())), (ORIGINAL_ID, self.id.filter(|_| id.is_none()))];
        for (key, raw) in odd {
            if let Some(raw) = raw {
                let index = attributes.partition_point(|(other, _)| other.as_str() < key);
                attributes.insert(index, (key.to_owned(), original(raw)));
            }
        }
        Some(Envelope {
            id: id.unwrap_or_else(Uuid::now_v7),
            payload,
            attributes,
            ordering_key,
            time_ms: time_ms.unwrap_or(arrival_ms),
            claim,
        })
    }

    fn payload(&self) -> Option<Payload> {
        let raw = self.message.get();
        let Some(encoding) = self.encoding else {
            return match raw.starts_with('"') {
                true => text(self.message).map(|text| Payload::Text(text.into_owned())),
                false => Some(Payload::Json(raw.to_owned())),
            };
        };
        match &*text(encoding)? {
            "json" => Some(Payload::Json(raw.to_owned())),
            "base64" => STANDARD.decode(&*text(self.message)?).ok().map(|data| Payload::Data(data.into())),
            _ => None,
        }
    }

    fn claim(&self) -> Option<Claim> {
        let sequence = self.sequence?.get().parse().ok().filter(|sequence| (1..=MAX_SEQUENCE).contains(sequence))?;
        Some(Claim { epoch: text(self.epoch?)?.parse().ok()?, sequence })
    }
}

/// The text of a JSON string; `None` for another value, and for one with a lone surrogate, which no text can hold.
fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let json = raw.get();
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    match inner.contains('\\') {
        true => serde_json::from_str(json).ok().map(Cow::Owned),
        false => Some(Cow::Borrowed(inner)),
    }
}

fn read_id(raw: &RawValue) -> Option<Uuid> {
    Uuid::try_parse(&text(raw)?).ok()
}

fn read_date(raw: &RawValue) -> Option<i64> {
    let date = DateTime::parse_from_rfc3339(&text(raw)?).ok()?;
    Some(date.timestamp_millis()).filter(|time_ms| TIMES_MS.contains(time_ms))
}

/// What an odd value was, within the limit of an attribute.
fn original(raw: &RawValue) -> String {
    let mut original = text(raw).unwrap_or(Cow::Borrowed(raw.get())).into_owned();
    let mut end = original.len().min(ATTRIBUTE_VALUE_BYTES);
    while !original.is_char_boundary(end) {
        end -= 1;
    }
    original.truncate(end);
    original
}

/// Attributes by key; `None` where they are not strings, break a limit, or name a key twice. Of those that are the
/// service's own, none stays unless `reserved` ones are allowed.
fn read_attributes(raw: &RawValue, reserved: bool) -> Option<Vec<(String, String)>> {
    let Pairs(mut pairs) = serde_json::from_str(raw.get()).ok()?;
    pairs.sort_unstable();
    if pairs.windows(2).any(|two| two[0].0 == two[1].0) {
        return None;
    }
    if !reserved {
        pairs.retain(|(key, _)| !key.starts_with(RESERVED_ATTRIBUTES));
    }
    let own = pairs.iter().filter(|(key, _)| !key.starts_with(RESERVED_ATTRIBUTES)).count();
    // The service's own have a limit of their own: a message with all attributes that a client may set still gets them.
    let allowed = own <= READ_ATTRIBUTES && pairs.len() - own <= READ_ATTRIBUTES;
    let fits = |(key, value): &(String, String)| {
        (1..=READ_ATTRIBUTE_KEY_BYTES).contains(&key.len()) && value.len() <= READ_ATTRIBUTE_VALUE_BYTES
    };
    (allowed && pairs.iter().all(fits)).then_some(pairs)
}

/// The pairs of a JSON object of strings, as they are written there.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

#[cfg(test)]
mod tests;
