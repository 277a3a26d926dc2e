//! Where `tidings tail` starts: now, or what one of the flags says.

use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use tidings::pb::StreamMessagesRequest;

/// The starts, at most one of them.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Start {
    /// From the oldest retained message
    #[arg(long)]
    earliest: bool,
    /// From this time: how long ago (10m, '2h 30m'), or RFC 3339 (2026-11-24T12:00:00Z, 2026-11-24T13:00:00.5+01:00)
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<DateTime<Utc>>,
    /// From the last N messages; on a pattern the last N of each channel
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    last: Option<i32>,
    /// After a cursor; on a pattern one of the whole stream (repeatable: then cursors of messages received since)
    #[arg(long, value_name = "CURSOR")]
    after: Vec<String>,
}

impl Start {
    /// The request without what it asks for.
    pub(crate) fn into_request(self) -> StreamMessagesRequest {
        StreamMessagesRequest {
            earliest: self.earliest,
            since: self.since.map(SystemTime::from).map(prost_types::Timestamp::from),
            last: self.last.unwrap_or(0),
            after: self.after,
            ..StreamMessagesRequest::default()
        }
    }

    /// Where that is, in words.
    pub(crate) fn describe(&self) -> String {
        match (self.since, self.last) {
            (Some(since), _) => format!("since {}", since.to_rfc3339_opts(SecondsFormat::Millis, true)),
            (_, Some(1)) => "from the last message on".to_owned(),
            (_, Some(last)) => format!("from the last {last} messages on"),
            _ if self.earliest => "from the oldest retained message on".to_owned(),
            _ if !self.after.is_empty() => "from the cursor on".to_owned(),
            _ => "from now on".to_owned(),
        }
    }
}

/// Reads a time, or how long ago it was.
pub(crate) fn parse_since(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let ago = humantime::parse_duration(text).map_err(|_| {
        "it is neither a duration such as 10m nor a time such as 2026-11-24T12:00:00Z or 2026-11-24T13:00:00+01:00"
            .to_owned()
    })?;
    SystemTime::now().checked_sub(ago).map(DateTime::from).ok_or_else(|| "it is too long ago".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_how_long_ago() {
        for (text, time) in [
            ("2026-11-24T12:00:00Z", "2026-11-24T12:00:00.000Z"),
            ("2026-11-24t12:00:00z", "2026-11-24T12:00:00.000Z"),
            ("2026-11-24T12:00:00.123456789Z", "2026-11-24T12:00:00.123Z"),
            ("2026-11-24T13:00:00.5+01:00", "2026-11-24T12:00:00.500Z"),
            ("2026-11-24T00:30:00-23:30", "2026-11-25T00:00:00.000Z"),
            ("2026-12-31T23:59:60Z", "2026-12-31T23:59:60.000Z"),
        ] {
            let since = parse_since(text).expect(text);
            assert_eq!(since.to_rfc3339_opts(SecondsFormat::Millis, true), time);
        }
        let now = SystemTime::now();
        let ago = now.duration_since(parse_since("10m").expect("a duration").into()).expect("in the past").as_secs();
        assert!((598..=600).contains(&ago), "{ago}");
        for bad in ["yesterday", "", "2026-11-24", "2026-11-24T12:00:00", "2026-13-24T12:00:00Z"] {
            assert!(parse_since(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fraction_of_a_second_is_asked_for_as_it_is() {
        let since = Some(parse_since("2026-11-24T13:00:00.25+01:00").expect("a time"));
        let request = Start { earliest: false, since, last: None, after: Vec::new() }.into_request();
        assert_eq!(request.since, Some(prost_types::Timestamp { seconds: 1_795_521_600, nanos: 250_000_000 }));
    }
}
