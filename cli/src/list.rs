//! `tidings list`: what a channel retains, page by page.

use clap::Args;
use tidings::{
    limits::PAGE_MESSAGES,
    pb::{ListMessagesRequest, Order},
    printable::Printable,
};

use crate::{
    client::{Calls, SubscriberAddress},
    error::Error,
    output::{Out, OutputOrJson, note},
    render,
};

/// List the retained messages of a channel
///
/// Prints what the channel's log has, and ends. `tidings tail` continues with what comes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings list orders                            all that is retained, the oldest first
  tidings list orders --newest-first --limit 20  the latest twenty
  tidings list orders --json > orders.jsonl      one JSON object a line, for programs")]
pub(crate) struct List {
    /// The channel; '' is the server's default channel
    #[arg(default_value = "", hide_default_value = true)]
    channel: String,
    /// The newest first
    #[arg(long)]
    newest_first: bool,
    /// At most this many messages; all without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    output: OutputOrJson,
    #[command(flatten)]
    subscriber: SubscriberAddress,
    #[command(flatten)]
    calls: Calls,
}

impl List {
    /// Prints messages until the list or the limit ends.
    pub(crate) async fn run(self, out: &mut Out) -> Result<(), Error> {
        let address = &self.subscriber.address;
        let mut client = self.calls.of(address, self.subscriber.connect(&self.calls)).await?;
        let (palette, is_json) = (out.palette(), self.output.is_json());
        let order = if self.newest_first { Order::NewestFirst } else { Order::OldestFirst };
        let mut remaining = self.limit.unwrap_or(u64::MAX);
        let mut page_token = String::new();
        let mut is_empty = true;
        while remaining > 0 {
            let request = ListMessagesRequest {
                channel: self.channel.clone(),
                page_size: remaining.min(PAGE_MESSAGES as u64) as i32,
                page_token,
                order: order.into(),
            };
            let page = self.calls.of(address, async { Ok(client.list_messages(request).await?) }).await?.into_inner();
            for message in &page.messages {
                out.line(if is_json { render::json(message) } else { render::line(message, &palette) })?;
            }
            out.flush()?;
            is_empty &= page.messages.is_empty();
            remaining = remaining.saturating_sub(page.messages.len() as u64);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if is_empty && !is_json {
            let channel = match self.channel.as_str() {
                "" => "the default channel".to_owned(),
                name => Printable(name).to_string(),
            };
            note(format_args!(
                "{channel} has no messages: nothing was published on it, or nothing of it is kept any more"
            ));
        }
        Ok(())
    }
}
