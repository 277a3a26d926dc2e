//! `tidings subscription delete`.

use clap::Args;
use tidings::pb::DeleteSubscriptionRequest;

use super::Asked;
use crate::error::Error;

/// Delete a subscription, with its dead letters
///
/// It asks nothing and prints nothing. The channel and its messages stay.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings subscription delete bills
  tidings subscription delete bills --allow-missing   succeeds where there is none")]
pub(super) struct Delete {
    /// The subscription
    name: String,
    /// Succeed where there is no such subscription
    #[arg(long)]
    allow_missing: bool,
    #[command(flatten)]
    asked: Asked,
}

impl Delete {
    pub(super) async fn run(self) -> Result<(), Error> {
        let (name, allow_missing) = (self.name, self.allow_missing);
        let request = DeleteSubscriptionRequest { name, allow_missing, etag: String::new() };
        let mut client = self.asked.connect().await?;
        self.asked.of(async { Ok(client.delete_subscription(request).await?) }).await?;
        Ok(())
    }
}
