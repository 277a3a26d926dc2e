//! What a client sent, checked and turned into drafts. Whatever is refused is named by its field's path. Pure but for
//! the [`ids`] it makes.

use std::collections::HashMap;

use tidings::{
    access::{Allowed, Publish, Rights, Verb},
    channel::{ChannelName, Names},
    envelope::{self, RESERVED_ATTRIBUTES, SUBJECT},
    limits,
    message::{DedupKey, Draft, Payload, Sender},
    metrics::{self, Refused},
    pb::{PublishBatchRequest, PublishRequest, publish_request},
    status::{self, extract, reason},
};
use tonic::Status;
use uuid::Uuid;

mod ids;

pub(crate) use ids::Ids;

/// More than an envelope has beside the client's own texts.
const ENVELOPE_BYTES: usize = 256;

/// A channel on which the caller may publish.
pub(crate) type AllowedChannel = Allowed<Publish, ChannelName>;

/// What is asked of every request.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// Which channels there may be.
    pub(crate) names: &'a Names,
    /// What the caller may do.
    pub(crate) rights: &'a Rights,
    /// As whom it publishes.
    pub(crate) sender: Sender<'a>,
}

/// Messages of one channel that are published by one call of the broker: all of them, or none.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Their channel, on which the caller may publish.
    pub(crate) channel: AllowedChannel,
    /// The messages.
    pub(crate) drafts: Vec<Draft>,
    /// Replicas that must have them.
    pub(crate) min_replicas: u32,
}

/// Where a `PublishRequest` is within the message that was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RequestPath {
    /// It is the request.
    Whole,
    /// `request` of a `PublishStreamRequest`.
    Stream,
    /// One of a batch's `requests`.
    Batch(usize),
}

impl RequestPath {
    /// The path of one of its fields.
    fn field(self, name: &str) -> String {
        match self {
            Self::Whole => name.to_owned(),
            Self::Stream => format!("request.{name}"),
            Self::Batch(index) => format!("requests[{index}].{name}"),
        }
    }
}

/// Reads one message.
pub(crate) fn single(request: PublishRequest, terms: Terms<'_>, path: RequestPath) -> Result<Batch, Status> {
    let (channel, draft, min_replicas) = one(request, terms, path, None, &mut Ids::default())?;
    Ok(Batch { channel, drafts: vec![draft], min_replicas })
}

/// The same in its parts, for a caller that joins them. `known` is a channel that is likely the same.
pub(crate) fn one(
    request: PublishRequest,
    terms: Terms<'_>,
    path: RequestPath,
    known: Option<&AllowedChannel>,
    ids: &mut Ids,
) -> Result<(AllowedChannel, Draft, u32), Status> {
    let channel = match known.filter(|known| known.as_str() == request.channel) {
        Some(known) => known.clone(),
        None => channel(&request.channel, terms, || path.field("channel"))?,
    };
    let min_replicas = min_replicas(request.min_replicas, path)?;
    Ok((channel, draft(request, terms.sender, path, ids)?, min_replicas))
}

/// Reads a batch: one channel, at most so many messages and bytes, and the greatest of their `min_replicas`.
pub(crate) fn batch(batch: PublishBatchRequest, terms: Terms<'_>) -> Result<Batch, Status> {
    let count = batch.requests.len();
    if count == 0 {
        return Err(status::invalid_because(reason::BATCH_EMPTY, "requests", "it has no messages"));
    }
    if count > limits::BATCH_MESSAGES {
        return Err(status::batch_too_long(count));
    }
    let channel = channel(&batch.channel, terms, || "channel".to_owned())?;
    let mut checked = Batch { channel, drafts: Vec::with_capacity(count), min_replicas: 0 };
    let mut ids = Ids::default();
    for (index, request) in batch.requests.into_iter().enumerate() {
        let path = RequestPath::Batch(index);
        if !request.channel.is_empty() && request.channel != checked.channel.as_str() {
            let text = "it differs from the batch's channel; a batch has one channel";
            return Err(status::invalid_because(reason::CHANNELS_DIFFER, path.field("channel"), text));
        }
        checked.min_replicas = checked.min_replicas.max(min_replicas(request.min_replicas, path)?);
        checked.drafts.push(draft(request, terms.sender, path, &mut ids)?);
    }
    check_batch_size(&checked.drafts)?;
    Ok(checked)
}

fn channel(name: &str, terms: Terms<'_>, field: impl Fn() -> String) -> Result<AllowedChannel, Status> {
    let channel = terms.names.resolve(name).map_err(|error| status::invalid_channel(field(), &error))?;
    let denied = |channel: ChannelName| {
        metrics::refused(Refused::Denied);
        status::permission_denied(Verb::Publish, field(), channel.as_str())
    };
    terms.rights.publish(channel).map_err(denied)
}

fn min_replicas(wanted: i32, path: RequestPath) -> Result<u32, Status> {
    let number = u32::try_from(wanted).ok().filter(|_| wanted <= limits::MIN_REPLICAS);
    number.ok_or_else(|| {
        let text = format!("it is {wanted}; it must be between 0 and {}", limits::MIN_REPLICAS);
        status::invalid_because(reason::INVALID_MIN_REPLICAS, path.field("min_replicas"), text)
    })
}

fn draft(request: PublishRequest, sender: Sender<'_>, path: RequestPath, ids: &mut Ids) -> Result<Draft, Status> {
    let (payload, field) = payload(request.payload, path)?;
    let ordering_key = request.ordering_key;
    if ordering_key.len() > limits::ORDERING_KEY_BYTES {
        return Err(status::too_large(
            reason::ORDERING_KEY_TOO_LONG,
            path.field("ordering_key"),
            "bytes",
            ordering_key.len(),
            limits::ORDERING_KEY_BYTES,
        ));
    }
    let (id, is_given) = id(&request.message_id, path, ids)?;
    let dedup = is_given.then(|| DedupKey::new(sender, id));
    let mut attributes = attributes(request.attributes, path)?;
    if let Some(subject) = sender.subject() {
        // Only the service can say so: clients' own keys do not begin like this one.
        let position = attributes.partition_point(|(key, _)| key.as_str() < SUBJECT);
        // Mostly it is the only one: room for more would be asked for with each message.
        attributes.reserve_exact(1);
        attributes.insert(position, (SUBJECT.to_owned(), subject.to_owned()));
    }
    let draft = Draft { id, dedup, payload, attributes, ordering_key };
    let size = json_bytes(&draft, limits::MESSAGE_BYTES);
    if size > limits::MESSAGE_BYTES {
        let field = path.field(field);
        return Err(status::too_large(
            reason::MESSAGE_TOO_LARGE,
            field,
            "bytes as JSON, envelope included",
            size,
            limits::MESSAGE_BYTES,
        ));
    }
    Ok(draft)
}

/// The payload, and the name of its field.
fn payload(payload: Option<publish_request::Payload>, path: RequestPath) -> Result<(Payload, &'static str), Status> {
    use publish_request::Payload as P;
    let refuse = |field: &str, reason, text: &str| Err(status::invalid_because(reason, path.field(field), text));
    match payload {
        None => Err(status::message_missing(path.field("payload"))),
        Some(P::Text(text)) if text.is_empty() => refuse("text", reason::MESSAGE_EMPTY, "it is empty"),
        Some(P::Text(text)) => Ok((Payload::Text(text), "text")),
        Some(P::Json(json)) if json.trim_matches([' ', '\t', '\n', '\r']).is_empty() => {
            refuse("json", reason::MESSAGE_EMPTY, "it is empty; nothing is null in JSON, or \"\", {} or []")
        }
        Some(P::Json(json)) => match envelope::check_json(&json) {
            // Mostly there is nothing around it, and nothing to copy.
            Ok(trimmed) if trimmed.len() == json.len() => Ok((Payload::Json(json), "json")),
            Ok(trimmed) => Ok((Payload::Json(trimmed.to_owned()), "json")),
            Err(error) => refuse("json", reason::INVALID_JSON, &error.to_string()),
        },
        Some(P::Data(data)) => Ok((Payload::Data(data), "data")),
    }
}

/// The client's id, which makes repeats known, or a new one.
fn id(text: &str, path: RequestPath, ids: &mut Ids) -> Result<(Uuid, bool), Status> {
    if text.is_empty() {
        return Ok((ids.next(), false));
    }
    // Only the form with hyphens: ids are compared as texts by people and programs.
    match Uuid::try_parse(text) {
        Ok(id) if text.len() == uuid::fmt::Hyphenated::LENGTH => Ok((id, true)),
        _ => {
            let text = format!(
                "{} is no UUID of the form 0192f0c1-2a3b-7c4d-8e5f-0123456789ab; leave it empty to get one",
                extract(text)
            );
            Err(status::invalid_because(reason::INVALID_MESSAGE_ID, path.field("message_id"), text))
        }
    }
}

fn attributes(attributes: HashMap<String, String>, path: RequestPath) -> Result<Vec<(String, String)>, Status> {
    let field = || path.field("attributes");
    if attributes.len() > limits::ATTRIBUTES {
        return Err(status::too_many_attributes(field(), attributes.len()));
    }
    let mut attributes: Vec<_> = attributes.into_iter().collect();
    attributes.sort_unstable();
    for (key, value) in &attributes {
        if key.is_empty() {
            return Err(status::invalid_because(reason::INVALID_ATTRIBUTE, field(), "a key is empty"));
        }
        // Keys become names elsewhere: of headers, of columns, of fields in a line of a log.
        if key.chars().any(char::is_control) {
            let text = format!("{}: a key has no control characters", extract(key));
            return Err(status::invalid_because(reason::INVALID_ATTRIBUTE, field(), text));
        }
        let prefix = key.get(..RESERVED_ATTRIBUTES.len());
        if prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(RESERVED_ATTRIBUTES)) {
            let text = format!("{}: keys that begin with {RESERVED_ATTRIBUTES:?} are reserved", extract(key));
            return Err(status::invalid_because(reason::RESERVED_ATTRIBUTE, field(), text));
        }
        let too_long = |what: &str, size, limit| {
            Err(status::too_large(
                reason::ATTRIBUTE_TOO_LONG,
                format!("{}[{}]", field(), extract(key)),
                what,
                size,
                limit,
            ))
        };
        if key.len() > limits::ATTRIBUTE_KEY_BYTES {
            return too_long("bytes in its key", key.len(), limits::ATTRIBUTE_KEY_BYTES);
        }
        if value.len() > limits::ATTRIBUTE_VALUE_BYTES {
            return too_long("bytes in its value", value.len(), limits::ATTRIBUTE_VALUE_BYTES);
        }
    }
    Ok(attributes)
}

fn check_batch_size(drafts: &[Draft]) -> Result<(), Status> {
    let most: usize = drafts.iter().map(json_bytes_at_most).sum();
    if most <= limits::BATCH_BYTES {
        return Ok(());
    }
    let size: usize = drafts.iter().map(envelope::len).sum();
    if size <= limits::BATCH_BYTES {
        return Ok(());
    }
    let what = "bytes as JSON, envelopes included";
    Err(status::too_large(reason::BATCH_TOO_LARGE, "requests", what, size, limits::BATCH_BYTES))
}

/// The size of a draft's JSON: exact where it may be above `limit`, otherwise anything up to it.
fn json_bytes(draft: &Draft, limit: usize) -> usize {
    match json_bytes_at_most(draft) {
        most if most <= limit => most,
        _ => envelope::len(draft),
    }
}

/// An upper bound that costs nothing, so that small messages need not be encoded to be measured: a byte of text becomes
/// at most six (`\u0000`).
fn json_bytes_at_most(draft: &Draft) -> usize {
    let escaped = |text: &str| 6 * text.len() + 4;
    let payload = match &draft.payload {
        Payload::Text(text) => escaped(text),
        Payload::Json(json) => json.len(),
        Payload::Data(data) => data.len().div_ceil(3) * 4 + 2,
    };
    let attributes: usize = draft.attributes.iter().map(|(key, value)| escaped(key) + escaped(value)).sum();
    ENVELOPE_BYTES + payload + attributes + escaped(&draft.ordering_key)
}

#[cfg(test)]
mod tests;
