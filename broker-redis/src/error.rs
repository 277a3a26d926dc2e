//! What Redis's errors mean for a call: whether it may have been carried out, and what to do about it, in words.

use std::{fmt, time::Duration};

use redis::RedisError;
use tidings::broker::Error;

use super::role;

/// Codes that Redis gives before it carries anything out, and the remedy.
const REFUSALS: [(&str, &str); 12] = [
    ("READONLY", role::READ_ONLY),
    ("LOADING", "Redis is loading its data into memory; it can be used when that is done"),
    ("BUSY", "Redis is busy with another client's script; wait for its end, or send SCRIPT KILL"),
    ("CLUSTERDOWN", "the Redis cluster is down"),
    ("MASTERDOWN", "Redis has lost its primary"),
    ("NOREPLICAS", "Redis has too few replicas for its min-replicas-to-write"),
    ("MISCONF", "Redis can't write to its disk (MISCONF): see its log, and free or mend the disk"),
    ("NOAUTH", "Redis needs a password: set --redis-password-file or --redis-url"),
    ("WRONGPASS", "Redis refuses the user or password (--redis-url, --redis-password-file)"),
    ("NOPERM", NO_RIGHT),
    ("TIDINGS_REPLICAS", "fewer Redis replicas are connected than min_replicas asks for"),
    ("MOVED", "this is a Redis Cluster, which is not supported yet; give one server"),
];

const NO_RIGHT: &str = "the Redis user in --redis-url may not do this; see its ACL";

/// A sentinel's words for what Redis calls WRONGPASS.
pub(super) const SENTINEL_LOGIN: &str =
    "the sentinel refuses the user or password (--sentinel-user, --sentinel-password-file)";
/// For NOPERM.
pub(super) const SENTINEL_RIGHT: &str = "the user of the sentinel may not do this (--sentinel-user); see its ACL";
/// And for NOAUTH.
pub(super) const SENTINEL_PASSWORD: &str = "the sentinel needs a password: set --sentinel-password-file";

/// Refused as well, with a kind of its own.
const OUT_OF_MEMORY: &str = "OOM";

/// Our scripts' error for a channel that they do not touch; the reason follows it.
const NOT_OURS: &str = "TIDINGS_CHANNEL";
const NEWER_FORMAT: &str = "TIDINGS_FORMAT";
/// Their error for a server that they can't work with; the reason follows it.
const UNFIT_SERVER: &str = "TIDINGS_SERVER";
/// Redis's error for a key of another type.
const WRONG_TYPE: &str = "WRONGTYPE";
/// How Redis 7.0 begins to say that a script's user lacks a right.
const MAY_NOT: &str = "The user executing the script can't";

/// It speaks an older protocol.
pub(super) const NO_RESP3: &str = "this server is not supported: it lacks RESP3 (HELLO 3), which needs Redis 6.0";

/// The channel's keys are of a version that is not understood here.
pub(super) const NEWER: &str = "the channel was written by a newer version of Tidings; upgrade this one";
/// The channel's keys are of no version at all.
pub(super) const DAMAGED: &str = "what is on Redis for the channel was not written by Tidings, or is damaged";

/// The error of a call that was handed over to a connection.
pub(super) fn of_call(error: &RedisError) -> Error {
    match first(error) {
        Some(said) => of_writing(&said),
        None if error.is_connection_refusal() => Error::Unavailable("Redis refuses connections".to_owned()),
        None if error.is_timeout() || error.is_io_error() || error.is_connection_dropped() => lost(),
        None => Error::OutcomeUnknown(format!("Redis answered in a way that is not understood: {error}")),
    }
}

/// An error that Redis answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) code: String,
    detail: String,
}

impl Said {
    /// As it came over a connection, without its first sign.
    pub(super) fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let (code, detail) = text.split_once(' ').unwrap_or((&text, ""));
        Self { code: code.to_owned(), detail: without_script(detail).to_owned() }
    }

    /// Its meaning in words, or Redis's own text where that is not known.
    pub(super) fn words(&self) -> String {
        match (self.code.as_str(), self.detail.as_str()) {
            (NEWER_FORMAT, _) => NEWER.to_owned(),
            (NOT_OURS, detail) => match detail.split(' ').next() {
                Some(what @ ("head" | "log" | "ids" | "subscription")) => format!("{DAMAGED} (its {what})"),
                _ => DAMAGED.to_owned(),
            },
            (WRONG_TYPE, _) => format!("{DAMAGED} (a key of another type)"),
            (UNFIT_SERVER, detail) => format!("this server can't be worked with: {detail}"),
            // Redis, or the script, says what.
            ("NOPERM", detail) => format!("{NO_RIGHT} ({detail})"),
            ("ERR", detail) if detail.starts_with(MAY_NOT) => format!("{NO_RIGHT} ({detail})"),
            (code, detail) => match (refusal(code), self.unknown_command()) {
                (Some(text), _) => text.to_owned(),
                (None, Some(command)) => {
                    format!(
                        "this server does not know {command}, which Tidings needs; it may be renamed or forbidden there"
                    )
                }
                (None, None) => format!("it answered {code} {detail}"),
            },
        }
    }

    /// The channel that our scripts refuse.
    pub(super) fn channel(&self) -> Option<&str> {
        let is_of_channel = [NOT_OURS, NEWER_FORMAT].contains(&self.code.as_str());
        self.detail.split_once(" of ").filter(|_| is_of_channel).map(|(_, channel)| channel)
    }

    /// The command that the server does not know, or not under this name.
    pub(super) fn unknown_command(&self) -> Option<&str> {
        // In quotes of one kind or the other, followed by the arguments, which are not for others.
        let rest = self.detail.strip_prefix("unknown command ").filter(|_| self.code == "ERR")?;
        let quote = rest.chars().next()?;
        Some(rest[quote.len_utf8()..].split([quote, ',', ' ']).next().unwrap_or_default())
    }

    /// Whether it concerns one channel, and says nothing of the others.
    fn is_of_channel(&self) -> bool {
        let of_server =
            refusal(&self.code).is_some() || [OUT_OF_MEMORY, UNFIT_SERVER, NO_SCRIPT].contains(&self.code.as_str());
        // A user may be kept from some keys only, or from a command.
        self.code == "NOPERM" && !self.detail.contains("to run the") || !(of_server || self.unknown_command().is_some())
    }
}

/// Redis's own text.
impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.detail)
    }
}

/// A server that was given no script yet, or has forgotten it.
const NO_SCRIPT: &str = "NOSCRIPT";

/// What Redis answered; the first error where several calls went together.
pub(super) fn first(error: &RedisError) -> Option<Said> {
    let errors = error.clone().into_server_errors()?;
    let (_, error) = errors.first()?;
    let detail = without_script(error.details().unwrap_or_default()).to_owned();
    Some(Said { code: error.code().to_owned(), detail })
}

/// An error's text without the script's hash and line, which Redis adds where a command failed within one.
fn without_script(detail: &str) -> &str {
    let text = detail.rsplit_once(" script: ").map_or(detail, |(text, _)| text);
    let line = text.strip_prefix("user_script:").and_then(|rest| rest.split_once(": "));
    line.map_or(text, |(_, text)| text).trim_end()
}

/// The error of a writing call.
fn of_writing(said: &Said) -> Error {
    let words = said.words();
    match said.code.as_str() {
        OUT_OF_MEMORY => Error::OutOfMemory,
        NOT_OURS | NEWER_FORMAT => Error::Channel(words),
        NO_SCRIPT | UNFIT_SERVER => Error::Unavailable(words),
        code if refusal(code).is_some() || said.unknown_command().is_some() => Error::Unavailable(words),
        // A script may have failed after a write: scripts do not roll back.
        _ => Error::OutcomeUnknown(format!("Redis could not finish: {words}")),
    }
}

/// What the error of one answer means that was asked about one channel: reading it changes nothing, so that no answer
/// is like no connection.
pub(super) fn of_reading(said: &Said) -> Error {
    match said.is_of_channel() {
        true => Error::Channel(said.words()),
        false if said.code == OUT_OF_MEMORY => Error::OutOfMemory,
        false => Error::Unavailable(said.words()),
    }
}

/// The error of a call of a subscription's script, which has read all its keys before it writes any: the types of keys
/// and the rights to read are known by then. `None` for what any call may meet.
pub(super) fn of_subscription(error: &RedisError) -> Option<Error> {
    let said = first(error)?;
    match said.code.as_str() {
        WRONG_TYPE => Some(Error::Channel(said.words())),
        "ERR" if said.detail.starts_with(MAY_NOT) => Some(Error::Unavailable(said.words())),
        _ => None,
    }
}

/// Why a connection could not be made, in words.
pub(super) fn of_connecting(error: &RedisError) -> String {
    match first(error) {
        Some(said) => said.words(),
        None if error.is_connection_refusal() => "it refuses connections".to_owned(),
        None if error.is_timeout() => "it does not answer".to_owned(),
        None => match error.kind() {
            redis::ErrorKind::RESP3NotSupported => NO_RESP3.to_owned(),
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
    let ours = [OUT_OF_MEMORY, NOT_OURS, NEWER_FORMAT, UNFIT_SERVER, WRONG_TYPE];
    let codes = REFUSALS.iter().map(|(known, _)| *known).chain(ours);
    codes.into_iter().find(|known| *known == code)
}

/// Nothing was written, since the broker is closed.
pub(super) fn closed() -> Error {
    Error::Unavailable("the broker is closed".to_owned())
}

/// The text for such a call.
pub(super) const LOST: &str = "the connection to Redis was lost before it answered";

/// A call was handed over, and its connection was lost.
pub(super) fn lost() -> Error {
    Error::OutcomeUnknown(LOST.to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(line: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("an answer");
        value.extract_error().expect_err("an error")
    }

    #[test]
    fn refusals_without_effect_are_distinguished_from_unknown_outcomes() {
        for (line, words) in [
            ("READONLY You can't write against a read only replica.", "read-only replica"),
            ("ERR unknown command 'EVALSHA', with args beginning with: 'x' 'secret' ", "does not know EVALSHA,"),
            ("ERR unknown command `SCRIPT`, with args beginning with: ", "does not know SCRIPT,"),
            ("NOSCRIPT No matching script. Please use EVAL.", "NOSCRIPT"),
            ("TIDINGS_SERVER it does not report its replication id", "replication id"),
        ] {
            let error = of_call(&answered(line));
            assert!(matches!(&error, Error::Unavailable(text) if text.contains(words)), "{line}: {error:?}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        for (line, words) in
            [("TIDINGS_CHANNEL log of orders", "(its log)"), ("TIDINGS_FORMAT 2 of orders", "newer version of Tidings")]
        {
            let error = of_call(&answered(line));
            assert!(matches!(&error, Error::Channel(text) if text.contains(words)), "{line}: {error:?}");
        }
        assert_eq!(of_call(&answered("OOM command not allowed")), Error::OutOfMemory);
        for line in [
            "WRONGTYPE Operation against a key script: 8aa84aa10d62a17edb4e9cd405ed56db2d52eacb, on @user_script:2.",
            "ERR user_script:3: attempt to call nil script: 8aa84aa10d62a17edb4e9cd405ed56db2d52eacb, on @user_script:3.",
        ] {
            let error = of_call(&answered(line));
            assert!(matches!(&error, Error::OutcomeUnknown(text) if !text.contains("script")), "{line}: {error:?}");
        }
    }

    #[test]
    fn errors_of_one_channel_are_distinguished_from_errors_of_all() {
        for line in ["WRONGTYPE Operation against a key", "NOPERM No permissions to access a key", "ERR something"] {
            assert!(matches!(of_reading(&Said::parse(line.as_bytes())), Error::Channel(_)), "{line}");
        }
        for line in ["LOADING Redis is loading", "BUSY Redis is busy", "ERR unknown command 'EVAL', with", "NOSCRIPT x"]
        {
            assert!(matches!(of_reading(&Said::parse(line.as_bytes())), Error::Unavailable(_)), "{line}");
        }
    }
}
