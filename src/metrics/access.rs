//! Metrics of access: refused callers, and limits that they met.

use std::sync::LazyLock;

use ::metrics::{Counter, counter};

use super::{FILES, KEY_FETCHES, LIMITED, REFUSED};

pub(super) struct Access {
    refused: [Counter; 5],
    key_fetches: [Counter; 2],
    files: [[Counter; 2]; 3],
    limited: [Counter; LIMITS.len()],
}

pub(super) static ACCESS: LazyLock<Access> = LazyLock::new(|| Access {
    refused: ["unauthenticated", "expired", "denied", "certificate", "no_keys"]
        .map(|reason| counter!(REFUSED, "reason" => reason)),
    key_fetches: ["ok", "failed"].map(|result| counter!(KEY_FETCHES, "result" => result)),
    files: ["keys", "policy", "certificate"]
        .map(|file| ["ok", "failed"].map(|result| counter!(FILES, "file" => file, "result" => result))),
    limited: LIMITS.map(|(_, limit)| counter!(LIMITED, "limit" => limit)),
});

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Nobody who may call.
    Unauthenticated = 0,
    /// The token or certificate was good.
    Expired = 1,
    /// Not with this channel.
    Denied = 2,
    /// A client certificate that names nobody, or several.
    Certificate = 3,
    /// There are no keys to check the token with.
    NoKeys = 4,
}

/// A call was refused, or a message of one.
pub fn refused(why: Refused) {
    ACCESS.refused[why as usize].increment(1);
}

/// A file that is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// What tokens are checked with.
    Keys = 0,
    /// Who may do what.
    Policy = 1,
    /// A certificate and its key.
    Certificate = 2,
}

/// A file had changed, and was taken up or not.
pub fn read_again(file: File, is_ok: bool) {
    ACCESS.files[file as usize][usize::from(!is_ok)].increment(1);
}

/// A key server was asked for its keys.
pub fn keys_fetched(is_ok: bool) {
    ACCESS.key_fetches[usize::from(!is_ok)].increment(1);
}

/// A limit of a connection, an address or a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Connections of an address.
    Connections = 0,
    /// Open streams of an address or a subject.
    Streams = 1,
    /// Different patterns that it follows.
    Patterns = 2,
    /// Channels that its pattern streams follow.
    Positions = 11,
    /// Messages that it publishes.
    Publishes = 3,
    /// Bytes of them.
    BytesIn = 4,
    /// Lists that it asks for.
    Lists = 5,
    /// Bytes of answers.
    BytesOut = 6,
    /// Channels that it creates.
    NewChannels = 7,
    /// Frames of HTTP/2 that carry no call.
    ControlFrames = 8,
    /// Answers that are not read.
    UnreadAnswers = 9,
    /// Bytes of requests that come.
    Uploads = 12,
    /// Requests that do not come at once.
    SlowRequests = 13,
    /// Requests that come and that no call reads.
    Backlog = 14,
    /// PROXY headers that are missing, or none.
    ProxyHeaders = 10,
    /// Requests of one connection that come at once.
    ConnectionRequests = 15,
    /// How long a request may take to come whole.
    RequestTime = 16,
    /// How long a connection may take until its first request.
    GreetingTime = 17,
    /// Channels that one pattern may cover.
    WidePatterns = 18,
}

/// Each at the position of its number, by its label.
const LIMITS: [(Limit, &str); 19] = [
    (Limit::Connections, "connections"),
    (Limit::Streams, "streams"),
    (Limit::Patterns, "patterns"),
    (Limit::Publishes, "publishes"),
    (Limit::BytesIn, "bytes_in"),
    (Limit::Lists, "lists"),
    (Limit::BytesOut, "bytes_out"),
    (Limit::NewChannels, "new_channels"),
    (Limit::ControlFrames, "control_frames"),
    (Limit::UnreadAnswers, "unread_answers"),
    (Limit::ProxyHeaders, "proxy_headers"),
    (Limit::Positions, "positions"),
    (Limit::Uploads, "uploads"),
    (Limit::SlowRequests, "slow_requests"),
    (Limit::Backlog, "backlog"),
    (Limit::ConnectionRequests, "connection_requests"),
    (Limit::RequestTime, "request_time"),
    (Limit::GreetingTime, "greeting_time"),
    (Limit::WidePatterns, "wide_patterns"),
];

impl Limit {
    /// How it is called in metrics and errors.
    pub fn name(self) -> &'static str {
        LIMITS[self as usize].1
    }
}

/// A peer has met a limit.
pub fn limited(limit: Limit) {
    ACCESS.limited[limit as usize].increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_stand_at_their_numbers() {
        assert!(LIMITS.iter().enumerate().all(|(at, (limit, _))| *limit as usize == at));
    }
}
