//! `tidings channels`: the channels that were published on, as a table or as JSON lines.

use clap::Args;
use serde::Serialize;
use tidings::{
    limits::PAGE_MESSAGES,
    pb::{Channel, ListChannelsRequest, ListChannelsResponse},
    printable::Printable,
};

use crate::{
    client::{Calls, SubscriberAddress, SubscriberClient},
    error::Error,
    output::{Out, OutputOrJson, note},
    render::{self, Cell},
};

/// List the channels
///
/// Prints each channel with its first retained and its last message, and how many streams of the asked subscriber
/// follow it. A channel is there from its first publish on. `tidings top` shows the same with rates, live.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings channels
  tidings channels --pattern 'orders.*'
  tidings channels --json | jq -r .name   one JSON object a line, for programs")]
pub(crate) struct Channels {
    /// Only the channels that match this Redis glob, such as 'orders.*'
    #[arg(long, value_name = "GLOB", default_value = "", hide_default_value = true)]
    pattern: String,
    #[command(flatten)]
    output: OutputOrJson,
    #[command(flatten)]
    subscriber: SubscriberAddress,
    #[command(flatten)]
    calls: Calls,
}

#[derive(Serialize)]
struct JsonChannel<'a> {
    name: &'a str,
    epoch: &'a str,
    first_sequence: i64,
    last_sequence: i64,
    last_publish_time: String,
    subscriber_count: i64,
}

impl Channels {
    /// Prints all channels, in name order.
    pub(crate) async fn run(self, out: &mut Out) -> Result<(), Error> {
        let address = &self.subscriber.address;
        let mut client = self.calls.of(address, self.subscriber.connect(&self.calls)).await?;
        let is_json = self.output.is_json();
        let mut page_token = String::new();
        let mut is_first = true;
        loop {
            let page = self.calls.of(address, page(&mut client, &self.pattern, page_token)).await?;
            if is_json {
                page.channels.iter().try_for_each(|channel| out.line(json(channel)))?;
            } else {
                print(&page.channels, is_first, out)?;
            }
            out.flush()?;
            is_first &= page.channels.is_empty();
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if is_first && !is_json {
            match self.pattern.as_str() {
                "" => note("there are no channels yet: the first publish on one makes it"),
                pattern => note(format_args!("no channel matches {}", Printable(pattern))),
            }
        }
        Ok(())
    }
}

/// Asks for one page.
pub(crate) async fn page(
    client: &mut SubscriberClient,
    pattern: &str,
    page_token: String,
) -> Result<ListChannelsResponse, Error> {
    let request = ListChannelsRequest { pattern: pattern.to_owned(), page_size: PAGE_MESSAGES as i32, page_token };
    Ok(client.list_channels(request).await?.into_inner())
}

/// One page of the table; the column of names is as wide as the page needs.
fn print(channels: &[Channel], with_heading: bool, out: &mut Out) -> std::io::Result<()> {
    let palette = out.palette();
    let names: Vec<_> = channels.iter().map(|channel| Cell::new(&channel.name)).collect();
    let width = names.iter().map(Cell::width).fold(7, usize::max);
    if with_heading && !channels.is_empty() {
        let heading = palette.heading;
        out.line(format_args!(
            "{heading}{:<width$} {:>10} {:>10} {:<24} {:>7}{heading:#}",
            "CHANNEL", "FIRST", "LAST", "LAST PUBLISHED", "STREAMS"
        ))?;
    }
    for (channel, name) in channels.iter().zip(&names) {
        let style = palette.channel;
        out.line(format_args!(
            "{style}{}{style:#} {:>10} {:>10} {:<24} {:>7}",
            name.padded(width),
            channel.first_sequence,
            channel.last_sequence,
            render::time(channel.last_publish_time.as_ref()),
            channel.subscriber_count
        ))?;
    }
    Ok(())
}

fn json(channel: &Channel) -> String {
    render::to_json(&JsonChannel {
        name: &channel.name,
        epoch: &channel.epoch,
        first_sequence: channel.first_sequence,
        last_sequence: channel.last_sequence,
        last_publish_time: render::time(channel.last_publish_time.as_ref()),
        subscriber_count: channel.subscriber_count,
    })
}
