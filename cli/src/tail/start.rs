//! Where `tidings tail` starts: now, or what one of the flags says.

use std::time::{Duration, SystemTime};

use clap::Args;
use tidings::pb::StreamMessagesRequest;

/// The starts, at most one of them.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Start {
    /// From the oldest retained message.
    #[arg(long)]
    earliest: bool,
    /// From this time: how long ago (`10m`, `2h 30m`), or RFC 3339 (`2026-11-24T12:00:00Z`).
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<SystemTime>,
    /// From the last N messages; on a pattern the last N of each channel.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    last: Option<i32>,
    /// After a cursor; on a pattern one of the whole stream (repeatable: then cursors of messages received since).
    #[arg(long, value_name = "CURSOR")]
    after: Vec<String>,
}

impl Start {
    /// The request without what it asks for.
    pub(crate) fn into_request(self) -> StreamMessagesRequest {
        StreamMessagesRequest {
            earliest: self.earliest,
            since: self.since.map(prost_types::Timestamp::from),
            last: self.last.unwrap_or(0),
            after: self.after,
            ..StreamMessagesRequest::default()
        }
    }
}

fn parse_since(text: &str) -> Result<SystemTime, String> {
    if let Ok(time) = humantime::parse_rfc3339(text) {
        return Ok(time);
    }
    let ago: Duration = humantime::parse_duration(text)
        .map_err(|_| "it is neither a duration such as 10m nor a time such as 2026-11-24T12:00:00Z".to_owned())?;
    SystemTime::now().checked_sub(ago).ok_or_else(|| "it is too long ago".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_how_long_ago() {
        let time = parse_since("2026-11-24T12:00:00Z").expect("a time");
        assert_eq!(humantime::format_rfc3339(time).to_string(), "2026-11-24T12:00:00Z");
        let ago = parse_since("10m").expect("a duration").elapsed().expect("in the past");
        assert!(ago >= Duration::from_secs(600) && ago < Duration::from_secs(660), "{ago:?}");
        assert!(parse_since("yesterday").is_err());
        assert!(parse_since("").is_err());
    }
}
