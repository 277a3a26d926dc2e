//! What Redis's errors mean for a call: whether it may have been carried out, and what to do about it, in words.

use std::time::Duration;

use redis::RedisError;

use crate::broker::Error;

/// Codes that Redis gives before it carries anything out, and the remedy.
const REFUSALS: [(&str, &str); 13] = [
    ("READONLY", "Redis is a read-only replica; point --redis-url at the primary"),
    ("LOADING", "Redis is loading its data into memory; it can be used when that is done"),
    ("BUSY", "Redis is busy with another client's script; wait for its end, or send SCRIPT KILL"),
    ("CLUSTERDOWN", "the Redis cluster is down"),
    ("MASTERDOWN", "Redis has lost its primary"),
    ("NOREPLICAS", "Redis has too few replicas for its min-replicas-to-write"),
    ("MISCONF", "Redis can't write to its disk (MISCONF): see its log, and free or mend the disk"),
    ("NOAUTH", "Redis wants a password; give it in --redis-url"),
    ("WRONGPASS", "Redis refuses the user or password in --redis-url"),
    ("NOPERM", "the Redis user in --redis-url may not do this; see its ACL"),
    ("TIDINGS_FORMAT", "the channel was written by a newer version of Tidings; upgrade this one"),
    ("TIDINGS_REPLICAS", "fewer Redis replicas are connected than min_replicas asks for"),
    ("MOVED", "this is a Redis Cluster, which is not supported yet; give one server"),
];

/// Refused as well, with a kind of its own.
const OUT_OF_MEMORY: &str = "OOM";

/// The error of a call that was handed over to a connection.
pub(super) fn of_call(error: &RedisError) -> Error {
    match code(error).as_deref() {
        Some(OUT_OF_MEMORY) => Error::OutOfMemory,
        Some(code) => match refusal(code) {
            Some(text) => Error::Unavailable(text.to_owned()),
            // A script may have failed behind a write: scripts do not roll back.
            None => Error::OutcomeUnknown(format!("Redis answered {error}")),
        },
        None if error.is_connection_refusal() => Error::Unavailable("Redis refuses connections".to_owned()),
        None if error.is_timeout() || error.is_io_error() || error.is_connection_dropped() => lost(),
        None => Error::OutcomeUnknown(format!("Redis answered in a way that is not understood: {error}")),
    }
}

/// The code of what Redis answered; of the first error where several calls went together, which the client library
/// does not tell.
pub(super) fn code(error: &RedisError) -> Option<String> {
    let first = || error.clone().into_server_errors()?.first().map(|(_, error)| error.code().to_owned());
    first().or_else(|| error.code().map(str::to_owned))
}

/// Why a connection could not be made, in words.
pub(super) fn of_connecting(error: &RedisError) -> String {
    match error.code().and_then(refusal) {
        Some(text) => text.to_owned(),
        None if error.is_connection_refusal() => "it refuses connections".to_owned(),
        None if error.is_timeout() => "it does not answer".to_owned(),
        None => match error.kind() {
            // The client library hides the code behind the kind here.
            redis::ErrorKind::AuthenticationFailed => "it refuses the user or password in --redis-url".to_owned(),
            _ => error.to_string(),
        },
    }
}

/// Nothing was handed over within the time.
pub(super) fn away(timeout: Duration, reason: &str) -> Error {
    Error::Unavailable(format!("Redis could not be reached within {} ms: {reason}", timeout.as_millis()))
}

/// The code, where it is a refusal that we know.
pub(super) fn known(code: &str) -> Option<&'static str> {
    let codes = REFUSALS.iter().map(|(known, _)| *known).chain([OUT_OF_MEMORY]);
    codes.into_iter().find(|known| *known == code)
}

/// Nothing was written, since the broker is closed.
pub(super) fn closed() -> Error {
    Error::Unavailable("the broker is closed".to_owned())
}

/// A call was handed over, and its connection was lost.
pub(super) fn lost() -> Error {
    Error::OutcomeUnknown("the connection to Redis was lost before it answered".to_owned())
}

/// The broker was closed while a call was under way.
pub(super) fn cut() -> Error {
    Error::OutcomeUnknown("the broker was closed before Redis answered".to_owned())
}

/// A call was handed over and no answer came.
pub(super) fn slow() -> Error {
    Error::OutcomeUnknown("Redis did not answer in time".to_owned())
}

pub(super) fn refusal(code: &str) -> Option<&'static str> {
    REFUSALS.iter().find(|(known, _)| *known == code).map(|(_, text)| *text)
}
