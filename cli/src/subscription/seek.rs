//! `tidings subscription seek`.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use clap::Args;
use tidings::pb::SeekSubscriptionRequest;

use super::{Asked, print};
use crate::{error::Error, output::Out, tail::parse_since};

/// Move a subscription to another position of its channel
///
/// What is out or waits for another attempt is given up: it comes again only where it lies after the new position. Dead
/// letters stay.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings subscription seek bills --latest      all is done: go on with what is published from now on
  tidings subscription seek bills --since 2h    the last two hours again
  tidings subscription seek bills --earliest    all that is retained again")]
pub(super) struct Seek {
    /// The subscription
    name: String,
    #[command(flatten)]
    to: To,
    #[command(flatten)]
    asked: Asked,
}

/// The positions, exactly one of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct To {
    /// Before the oldest retained message
    #[arg(long)]
    earliest: bool,
    /// After the last message
    #[arg(long)]
    latest: bool,
    /// Before what was published since: how long ago (10m, '2h 30m'), or RFC 3339 (2026-11-24T12:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<DateTime<Utc>>,
    /// After a cursor of its channel
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

impl Seek {
    pub(super) async fn run(self, out: &mut Out) -> Result<(), Error> {
        let request = SeekSubscriptionRequest {
            name: self.name,
            earliest: self.to.earliest,
            latest: self.to.latest,
            since: self.to.since.map(SystemTime::from).map(prost_types::Timestamp::from),
            after: self.to.after.unwrap_or_default(),
        };
        let mut client = self.asked.connect().await?;
        let sought = self.asked.of(async { Ok(client.seek_subscription(request).await?) }).await?.into_inner();
        print::one(&sought.subscription.unwrap_or_default(), self.asked.is_json(), out)
    }
}
