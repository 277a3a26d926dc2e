//! `tidings subscription show`.

use clap::Args;
use tidings::pb::GetSubscriptionRequest;

use super::{Asked, print};
use crate::{error::Error, output::Out};

/// Show a subscription: its settings, and what it has to do
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings subscription show bills
  tidings subscription show bills --json | jq .state.backlog_count")]
pub(super) struct Show {
    /// The subscription
    name: String,
    #[command(flatten)]
    asked: Asked,
}

impl Show {
    pub(super) async fn run(self, out: &mut Out) -> Result<(), Error> {
        let request = GetSubscriptionRequest { name: self.name };
        let mut client = self.asked.connect().await?;
        let found = self.asked.of(async { Ok(client.get_subscription(request).await?) }).await?.into_inner();
        print::one(&found.subscription.unwrap_or_default(), self.asked.is_json(), out)
    }
}
