//! `tidings subscription update`: changes what is given, and nothing else.

use clap::Args;
use tidings::pb::{GetSubscriptionRequest, Subscription, UpdateSubscriptionRequest};

use super::{Asked, print, settings::Settings};
use crate::{client::SubscriptionClient, error::Error, output::Out};

/// Change settings of a subscription
///
/// Only what is given is changed; labels are replaced as a whole. Consumers that are connected continue.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings subscription update bills --ack-deadline 2m --max-attempts 20
  tidings subscription update bills --paused
  tidings subscription update bills --resume")]
pub(super) struct Update {
    /// The subscription
    name: String,
    #[command(flatten)]
    settings: Settings,
    /// Remove all labels
    #[arg(long, conflicts_with = "labels")]
    no_labels: bool,
    /// Deliver nothing from now on
    #[arg(long, conflicts_with = "resume")]
    paused: bool,
    /// Deliver again
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    asked: Asked,
}

impl Update {
    pub(super) async fn run(self, out: &mut Out) -> Result<(), Error> {
        let mut paths = self.settings.fields();
        if self.no_labels {
            paths.push("labels".to_owned());
        }
        if self.paused || self.resume {
            paths.push("paused".to_owned());
        }
        if paths.is_empty() {
            return Err(Error::Usage("nothing to change; give a setting, such as --ack-deadline 2m"));
        }
        let mut subscription =
            Subscription { name: self.name.clone(), paused: self.paused, ..self.settings.to_message() };
        let mut client = self.asked.connect().await?;
        if self.settings.is_half_a_policy() {
            // The policy is one field. The etag has it fail where somebody else changes it meanwhile.
            let present = self.present(&mut client).await?;
            subscription.retry_policy = self.settings.retry_policy(present.retry_policy);
            subscription.etag = present.etag;
        }
        let update_mask = Some(prost_types::FieldMask { paths });
        let request = UpdateSubscriptionRequest { subscription: Some(subscription), update_mask };
        let updated = self.asked.of(async { Ok(client.update_subscription(request).await?) }).await?.into_inner();
        print::one(&updated.subscription.unwrap_or_default(), self.asked.is_json(), out)
    }

    async fn present(&self, client: &mut SubscriptionClient) -> Result<Subscription, Error> {
        let request = GetSubscriptionRequest { name: self.name.clone() };
        let found = self.asked.of(async { Ok(client.get_subscription(request).await?) }).await?.into_inner();
        Ok(found.subscription.unwrap_or_default())
    }
}
