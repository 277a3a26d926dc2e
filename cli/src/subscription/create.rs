//! `tidings subscription create`.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use clap::Args;
use tidings::pb::{CreateSubscriptionRequest, Subscription};

use super::{Asked, print, settings::Settings};
use crate::{error::Error, output::Out, tail::parse_since};

/// Create a subscription
///
/// Without one of --earliest, --since, --last and --after it starts with what is published from now on. The channel,
/// the filter, the order and the dead-letter channel can't be changed later.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings subscription create bills --channel orders
  tidings subscription create bills --channel orders --earliest --ack-deadline 2m --max-attempts 5
  tidings subscription create ledger --channel payments --ordered
  tidings subscription create eu --channel orders --filter 'attributes.region = \"eu\"' --label team=billing")]
pub(super) struct Create {
    /// Its name, unique over all channels
    name: String,
    /// The channel; '' is the server's default channel
    #[arg(long, value_name = "CHANNEL", default_value = "", hide_default_value = true)]
    channel: String,
    /// Only messages whose attributes match, such as 'attributes.region = \"eu\" AND NOT attributes:test'
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    filter: String,
    /// Deliver messages with the same ordering key one after the other, in their order
    #[arg(long)]
    ordered: bool,
    /// Where dead letters are published as well; otherwise dead-letter.NAME
    #[arg(long, value_name = "CHANNEL", default_value = "", hide_default_value = true)]
    dead_letter_channel: String,
    #[command(flatten)]
    start: Start,
    #[command(flatten)]
    settings: Settings,
    /// Deliver nothing until `tidings subscription update --resume`
    #[arg(long)]
    paused: bool,
    #[command(flatten)]
    asked: Asked,
}

/// The starts, at most one of them.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Start {
    /// From the oldest retained message
    #[arg(long)]
    earliest: bool,
    /// From this time: how long ago (10m, '2h 30m'), or RFC 3339 (2026-11-24T12:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<DateTime<Utc>>,
    /// From the last N messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    last: Option<i32>,
    /// After a cursor
    #[arg(long, value_name = "CURSOR", default_value = "", hide_default_value = true)]
    after: String,
}

impl Create {
    pub(super) async fn run(self, out: &mut Out) -> Result<(), Error> {
        let subscription = Subscription {
            name: self.name,
            channel: self.channel,
            filter: self.filter,
            ordered: self.ordered,
            dead_letter_channel: self.dead_letter_channel,
            paused: self.paused,
            ..self.settings.to_message()
        };
        let request = CreateSubscriptionRequest {
            subscription: Some(subscription),
            earliest: self.start.earliest,
            since: self.start.since.map(SystemTime::from).map(prost_types::Timestamp::from),
            last: self.start.last.unwrap_or(0),
            after: self.start.after,
            // One call, which is not repeated.
            request_id: String::new(),
        };
        let mut client = self.asked.connect().await?;
        let created = self.asked.of(async { Ok(client.create_subscription(request).await?) }).await?.into_inner();
        print::one(&created.subscription.unwrap_or_default(), self.asked.is_json(), out)
    }
}
