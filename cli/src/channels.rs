//! `tidings channels`: the channels that were published on, as a table or as JSON lines.

use clap::Args;
use serde::Serialize;
use tidings::{
    limits::PAGE_MESSAGES,
    pb::{Channel, ListChannelsRequest},
};

use crate::{client::SubscriberAddress, error::Error, output::Out, render};

/// List the channels.
#[derive(Debug, Args)]
pub(crate) struct Channels {
    /// Only the channels that match this Redis glob, such as 'orders.*'.
    #[arg(long, value_name = "GLOB", default_value = "", hide_default_value = true)]
    pattern: String,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    subscriber: SubscriberAddress,
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
        let mut client = self.subscriber.connect().await?;
        let mut page_token = String::new();
        let mut is_first = true;
        loop {
            let request =
                ListChannelsRequest { pattern: self.pattern.clone(), page_size: PAGE_MESSAGES as i32, page_token };
            let page = client.list_channels(request).await?.into_inner();
            if self.json {
                page.channels.iter().try_for_each(|channel| out.line(json(channel)))?;
            } else {
                print(&page.channels, is_first, out)?;
            }
            out.flush()?;
            is_first = false;
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(());
            }
        }
    }
}

/// One page of the table; the column of names is as wide as the page needs.
fn print(channels: &[Channel], with_heading: bool, out: &mut Out) -> std::io::Result<()> {
    let palette = out.palette();
    let width = channels.iter().map(|channel| channel.name.chars().count()).fold(7, usize::max);
    if with_heading && !channels.is_empty() {
        let heading = palette.heading;
        out.line(format_args!(
            "{heading}{:<width$} {:>10} {:>10} {:<24} {:>7}{heading:#}",
            "CHANNEL", "FIRST", "LAST", "LAST PUBLISHED", "STREAMS"
        ))?;
    }
    for channel in channels {
        let style = palette.channel;
        out.line(format_args!(
            "{style}{:<width$}{style:#} {:>10} {:>10} {:<24} {:>7}",
            channel.name,
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
