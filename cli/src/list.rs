//! `tidings list`: what a channel retains, page by page.

use clap::Args;
use tidings::{
    limits::PAGE_MESSAGES,
    pb::{ListMessagesRequest, Order},
};

use crate::{client::SubscriberAddress, error::Error, output::Out, render};

/// List the retained messages of a channel.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// The channel; '' is the server's default channel.
    #[arg(default_value = "")]
    channel: String,
    /// The newest first.
    #[arg(long)]
    newest_first: bool,
    /// At most this many messages; all without it.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    subscriber: SubscriberAddress,
}

impl List {
    /// Prints messages until the list or the limit ends.
    pub(crate) async fn run(self, out: &mut Out) -> Result<(), Error> {
        let mut client = self.subscriber.connect().await?;
        let palette = out.palette();
        let order = if self.newest_first { Order::NewestFirst } else { Order::OldestFirst };
        let mut remaining = self.limit.unwrap_or(usize::MAX);
        let mut page_token = String::new();
        while remaining > 0 {
            let request = ListMessagesRequest {
                channel: self.channel.clone(),
                page_size: remaining.min(PAGE_MESSAGES) as i32,
                page_token,
                order: order.into(),
            };
            let page = client.list_messages(request).await?.into_inner();
            for message in &page.messages {
                out.line(if self.json { render::json(message) } else { render::line(message, &palette) })?;
            }
            out.flush()?;
            remaining = remaining.saturating_sub(page.messages.len());
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        Ok(())
    }
}
