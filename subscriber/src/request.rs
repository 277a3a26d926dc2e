//! What a request asks for, checked. Every refusal names its field.

use std::time::Duration;

use tidings::{
    access::{Allowed, Read, Rights, Verb},
    broker::Topic,
    channel::{ChannelName, Names, Pattern},
    cursor::{self, Cursor, InvalidCursor, Owner, StreamCursor},
    limits::{AFTER_CURSORS, HEARTBEAT_MAX, HEARTBEAT_MIN, HEARTBEAT_PATTERN, PAGE_DEFAULT, PAGE_MESSAGES},
    message::Mark,
    metrics::{self, Refused},
    pb,
    status::{self, reason},
};
use tonic::Status;

/// What is asked of every request.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// Which channels there may be.
    pub(crate) names: &'a Names,
    /// What the caller may do.
    pub(crate) rights: &'a Rights,
}

/// What is asked of a stream.
#[derive(Debug)]
pub(crate) struct StreamOptions {
    /// What the caller may follow.
    pub(crate) topic: Allowed<Read, Topic>,
    pub(crate) start: Start,
    pub(crate) fail_on_gap: bool,
    pub(crate) heartbeat: Option<Duration>,
}

/// Where a stream starts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With what is published from now on.
    Now,
    /// With the oldest retained message.
    Earliest,
    /// Milliseconds since 1970.
    Since(i64),
    /// That many messages, of each channel.
    Last(i64),
    /// A position in the one channel.
    After(Mark),
    /// A whole pattern stream, and positions of channels that are newer.
    AfterStream(StreamCursor, Vec<(Owner, Mark)>),
}

/// Checks a `StreamMessagesRequest`.
pub(crate) fn stream_options(request: &pb::StreamMessagesRequest, terms: Terms<'_>) -> Result<StreamOptions, Status> {
    let topic = topic(request, terms)?;
    let start = start(request, &topic, terms.names)?;
    let fail_on_gap = match pb::OnGap::try_from(request.on_gap) {
        Ok(pb::OnGap::Unspecified | pb::OnGap::Report) => false,
        Ok(pb::OnGap::Fail) => true,
        Err(_) => return Err(status::invalid("on_gap", "it is no value that this server knows")),
    };
    let heartbeat = heartbeat(request.heartbeat_interval.as_ref(), &topic)?;
    Ok(StreamOptions { topic, start, fail_on_gap, heartbeat })
}

fn topic(request: &pb::StreamMessagesRequest, terms: Terms<'_>) -> Result<Allowed<Read, Topic>, Status> {
    let (topic, field) = match (request.pattern.as_str(), request.channel.as_str()) {
        ("", channel) => (Topic::Channel(resolve(channel, terms.names)?), "channel"),
        (pattern, "") => {
            let pattern = Pattern::parse(pattern).map_err(|error| status::invalid_pattern("pattern", &error))?;
            (Topic::Pattern(pattern), "pattern")
        }
        _ => return Err(status::invalid("pattern", "give a channel or a pattern, not both")),
    };
    terms.rights.follow(topic).map_err(|topic| denied(&topic, field))
}

/// Who follows this topic may not, or no longer.
pub(crate) fn denied(topic: &Topic, field: &str) -> Status {
    let what = match topic {
        Topic::Channel(channel) => channel.as_str(),
        Topic::Pattern(pattern) => pattern.as_str(),
    };
    metrics::refused(Refused::Denied);
    status::permission_denied(Verb::Subscribe, field, what)
}

/// Reads the channel of a request; empty is the default channel.
pub(crate) fn channel(name: &str, terms: Terms<'_>) -> Result<Allowed<Read, ChannelName>, Status> {
    let denied = |channel| denied(&Topic::Channel(channel), "channel");
    terms.rights.read(resolve(name, terms.names)?).map_err(denied)
}

fn resolve(name: &str, names: &Names) -> Result<ChannelName, Status> {
    names.resolve(name).map_err(|error| status::invalid_channel("channel", &error))
}

fn start(request: &pb::StreamMessagesRequest, topic: &Topic, names: &Names) -> Result<Start, Status> {
    let given = [
        ("earliest", request.earliest),
        ("since", request.since.is_some()),
        ("last", request.last != 0),
        ("after", !request.after.is_empty()),
    ];
    if request.after.len() > 1 + AFTER_CURSORS {
        return Err(status::too_many_cursors(request.after.len()));
    }
    let mut given = given.into_iter().filter_map(|(field, is_set)| is_set.then_some(field));
    let first = given.next();
    if let (Some(first), Some(second)) = (first, given.next()) {
        let description = format!("a stream has one start at most; {first} is set as well");
        return Err(status::invalid_because(reason::SEVERAL_STARTS, second, description));
    }
    if request.earliest {
        return Ok(Start::Earliest);
    }
    if let Some(since) = &request.since {
        return since_ms(since).map(Start::Since);
    }
    match request.last {
        0 => {}
        1.. => return Ok(Start::Last(request.last.into())),
        _ => return Err(status::invalid("last", "it must not be negative")),
    }
    match topic {
        _ if request.after.is_empty() => Ok(Start::Now),
        Topic::Channel(channel) => after_channel(&request.after, channel),
        Topic::Pattern(pattern) => after_stream(&request.after, pattern, names),
    }
}

/// The first whole millisecond that is not before the time; messages carry whole milliseconds.
pub(crate) fn since_ms(since: &prost_types::Timestamp) -> Result<i64, Status> {
    let invalid = || status::invalid("since", "it is no time between the years 1 and 9999");
    // The bounds of google.protobuf.Timestamp.
    let in_range = (-62_135_596_800..=253_402_300_799).contains(&since.seconds);
    if !in_range || !(0..1_000_000_000).contains(&since.nanos) {
        return Err(invalid());
    }
    let nanos = i64::from(since.nanos);
    Ok(since.seconds * 1000 + (nanos + 999_999) / 1_000_000)
}

fn after_channel(after: &[String], channel: &ChannelName) -> Result<Start, Status> {
    let [text] = after else {
        return Err(status::invalid("after", "a channel resumes after exactly one cursor"));
    };
    let mark = cursor::decode_for(text, channel).map_err(|error| status::invalid_cursor("after[0]", error))?;
    Ok(Start::After(mark))
}

fn after_stream(after: &[String], pattern: &Pattern, names: &Names) -> Result<Start, Status> {
    let invalid_at = |index: usize, error| status::invalid_cursor(format!("after[{index}]"), error);
    let mut whole = None;
    let mut newer = Vec::new();
    for (index, text) in after.iter().enumerate() {
        match cursor::decode(text, names).map_err(|error| invalid_at(index, error))? {
            Cursor::Stream(owner, stream) if index == 0 => {
                let is_own = |(channel, _): &(ChannelName, _)| pattern.matches(channel.as_str());
                if !owner.is(pattern.as_str()) || !stream.channels.iter().all(is_own) {
                    return Err(invalid_at(0, InvalidCursor::Foreign));
                }
                whole = Some(stream);
            }
            Cursor::Channel(owner, mark) if index > 0 => newer.push((owner, mark)),
            // The whole-stream cursor (of started, caught_up or heartbeat) comes first, and only there.
            Cursor::Stream(..) | Cursor::Channel(..) => return Err(invalid_at(index, InvalidCursor::Kind)),
        }
    }
    Ok(Start::AfterStream(whole.unwrap_or_default(), newer))
}

fn heartbeat(interval: Option<&prost_types::Duration>, topic: &Topic) -> Result<Option<Duration>, Status> {
    let Some(interval) = interval else {
        return Ok(matches!(topic, Topic::Pattern(_)).then_some(HEARTBEAT_PATTERN));
    };
    let invalid = |text: &str| Err(status::invalid("heartbeat_interval", text));
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(interval.seconds), u32::try_from(interval.nanos)) else {
        return invalid("it must not be negative");
    };
    if nanos >= 1_000_000_000 {
        return invalid("its nanos are a second or more");
    }
    match Duration::new(seconds, nanos) {
        Duration::ZERO => Ok(None),
        interval if interval < HEARTBEAT_MIN => invalid("it is under 100 ms"),
        interval if interval > HEARTBEAT_MAX => invalid("it is over 24 h"),
        interval => Ok(Some(interval)),
    }
}

/// Reads a page size: 0 is the default, more than the most is the most.
pub(crate) fn page_size(page_size: i32) -> Result<usize, Status> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(PAGE_DEFAULT),
        Ok(size) => Ok(size.min(PAGE_MESSAGES)),
        Err(_) => Err(status::invalid("page_size", "it must not be negative")),
    }
}

/// Reads an order.
pub(crate) fn newest_first(order: i32) -> Result<bool, Status> {
    match pb::Order::try_from(order) {
        Ok(pb::Order::Unspecified | pb::Order::OldestFirst) => Ok(false),
        Ok(pb::Order::NewestFirst) => Ok(true),
        Err(_) => Err(status::invalid("order", "it is no value that this server knows")),
    }
}

#[cfg(test)]
mod tests;
