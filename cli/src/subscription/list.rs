//! `tidings subscription list`: as a table, or as JSON lines.

use std::io;

use clap::Args;
use tidings::{
    limits::PAGE_MESSAGES,
    pb::{ListSubscriptionsRequest, Subscription},
    printable::Printable,
};

use super::{Asked, print};
use crate::{
    error::Error,
    output::{Out, note},
    render::{self, Cell},
};

/// List the subscriptions
///
/// Prints each with its backlog: how many messages are not acknowledged, how many of those are out at consumers, and
/// how many wait for another attempt.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings subscription list
  tidings subscription list --channel orders
  tidings subscription list --json | jq -r .name   one JSON object a line, for programs")]
pub(super) struct List {
    /// Only those of this channel
    #[arg(long, value_name = "CHANNEL", default_value = "", hide_default_value = true)]
    channel: String,
    #[command(flatten)]
    asked: Asked,
}

impl List {
    pub(super) async fn run(self, out: &mut Out) -> Result<(), Error> {
        let mut client = self.asked.connect().await?;
        let is_json = self.asked.is_json();
        let mut page_token = String::new();
        let mut is_first = true;
        loop {
            let request =
                ListSubscriptionsRequest { channel: self.channel.clone(), page_size: PAGE_MESSAGES as i32, page_token };
            let page = self.asked.of(async { Ok(client.list_subscriptions(request).await?) }).await?.into_inner();
            if is_json {
                page.subscriptions.iter().try_for_each(|subscription| out.line(print::json(subscription)))?;
            } else {
                table(&page.subscriptions, is_first, out)?;
            }
            out.flush()?;
            is_first &= page.subscriptions.is_empty();
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if is_first && !is_json {
            match self.channel.as_str() {
                "" => note("there are no subscriptions: `tidings subscription create` makes one"),
                channel => note(format_args!("{} has no subscriptions", Printable(channel))),
            }
        }
        Ok(())
    }
}

/// One page of the table; the columns of names are as wide as the page needs.
fn table(subscriptions: &[Subscription], with_heading: bool, out: &mut Out) -> io::Result<()> {
    let palette = out.palette();
    let cells = |name: fn(&Subscription) -> &str| -> (Vec<Cell>, usize) {
        let cells: Vec<_> = subscriptions.iter().map(|subscription| Cell::new(name(subscription))).collect();
        let width = cells.iter().map(Cell::width).fold(12, usize::max);
        (cells, width)
    };
    let (names, name_width) = cells(|subscription| &subscription.name);
    let (channels, channel_width) = cells(|subscription| &subscription.channel);
    if with_heading && !subscriptions.is_empty() {
        let heading = palette.heading;
        out.line(format_args!(
            "{heading}{:<name_width$} {:<channel_width$} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} OLDEST{heading:#}",
            "SUBSCRIPTION", "CHANNEL", "BACKLOG", "OUT", "WAITING", "DEAD", "LOST", "CONSUMERS"
        ))?;
    }
    for ((subscription, name), channel) in subscriptions.iter().zip(&names).zip(&channels) {
        let state = subscription.state.clone().unwrap_or_default();
        let oldest = match render::time(state.oldest_unacknowledged_time.as_ref()) {
            none if none.is_empty() => "-".to_owned(),
            time => time,
        };
        out.line(format_args!(
            "{}{}{:#} {}{}{:#} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {oldest}{}",
            palette.sequence,
            name.padded(name_width),
            palette.sequence,
            palette.channel,
            channel.padded(channel_width),
            palette.channel,
            state.backlog_count,
            state.outstanding_count,
            state.waiting_count,
            state.dead_letter_count,
            state.lost_count,
            state.consumer_count,
            if subscription.paused { " (paused)" } else { "" },
        ))?;
    }
    Ok(())
}
