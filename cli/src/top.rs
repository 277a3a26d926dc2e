//! `tidings top`: the channels and how busy they are, over and over. Rates are differences of last sequences, so they
//! are those of all publishers.

use std::time::{Duration, Instant};

use chrono::{Local, SecondsFormat, Utc};
use clap::Args;
use serde::Serialize;
use tidings::limits::{COMMAND_TIMEOUT_MAX, TOP_CHANNELS, TOP_INTERVAL, TOP_INTERVAL_MIN};
use tokio_util::sync::CancellationToken;

use crate::{
    channels::page,
    client::{Calls, SubscriberAddress, SubscriberClient},
    error::Error,
    output::{Out, OutputOrJson, note, reader_gone},
    render::{self, Cell},
};

mod sample;
mod screen;

use sample::{Row, Sample, rows};
use screen::Screen;

/// Watch the channels: which are busy, how many messages a second they have, and who follows them
///
/// The busiest come first. On a terminal it shows them live, until Ctrl-C; elsewhere it prints a table at each look.
/// Streams are those of the asked subscriber alone. Each look costs Redis a short read of every channel, so it looks at
/// 10,000 of them at most; --pattern chooses which.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings top
  tidings top --pattern 'orders.*' --interval 10s
  tidings top --once                        one table, of what happens within one interval
  tidings top --once --json | jq .channels  the same for programs")]
pub(crate) struct Top {
    /// Only the channels that match this Redis glob, such as 'orders.*'
    #[arg(long, value_name = "GLOB", default_value = "", hide_default_value = true)]
    pattern: String,
    /// How long to wait between two looks; rates are those of this time
    #[arg(long, value_name = "DURATION", default_value_t = TOP_INTERVAL.into(), value_parser = interval)]
    interval: humantime::Duration,
    /// Look for one interval, print what happened, and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    output: OutputOrJson,
    #[command(flatten)]
    subscriber: SubscriberAddress,
    #[command(flatten)]
    calls: Calls,
}

/// A look as JSON.
#[derive(Serialize)]
struct JsonLook<'a> {
    time: String,
    /// Of all channels together.
    messages_per_second: f64,
    /// There were more channels than were looked at.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_cut: bool,
    channels: Vec<JsonRow<'a>>,
}

#[derive(Serialize)]
struct JsonRow<'a> {
    name: &'a str,
    messages_per_second: f64,
    last_sequence: i64,
    last_publish_time: String,
    subscriber_count: i64,
}

impl Top {
    /// Shows what there is until `stop` is cancelled or nobody looks any more.
    pub(crate) async fn run(self, out: &mut Out, stop: CancellationToken) -> Result<(), Error> {
        tokio::select! {
            done = self.watch(out) => done,
            () = stop.cancelled() => Ok(()),
            () = reader_gone() => Ok(()),
        }
    }

    async fn watch(&self, out: &mut Out) -> Result<(), Error> {
        let address = &self.subscriber.address;
        let mut client = self.calls.of(address, self.subscriber.connect(&self.calls)).await?;
        let first = (self.look(&mut client).await?, Instant::now());
        let is_live = out.is_terminal() && !self.once && !self.output.is_json();
        match is_live {
            true => self.live(first, &mut client, out).await,
            false => self.tables(first, &mut client, out).await,
        }
    }

    /// All channels, as they are now.
    async fn look(&self, client: &mut SubscriberClient) -> Result<Sample, Error> {
        let mut sample = Sample::default();
        let mut page_token = String::new();
        loop {
            let asked = self.calls.of(&self.subscriber.address, page(client, &self.pattern, page_token));
            let page = asked.await?;
            sample.channels.extend(page.channels);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(sample);
            }
            if sample.channels.len() >= TOP_CHANNELS {
                sample.is_cut = true;
                return Ok(sample);
            }
        }
    }

    /// Draws over and over. When the services are away it says so and continues.
    async fn live(
        &self,
        (mut before, mut at): (Sample, Instant),
        client: &mut SubscriberClient,
        out: &mut Out,
    ) -> Result<(), Error> {
        let mut screen = Screen::enter(out)?;
        let mut table = self.table(&before, &rows(&before, None));
        let mut trouble: Option<String> = None;
        loop {
            let mut lines = table.clone();
            if let Some(trouble) = &trouble {
                lines.insert(1, trouble.clone());
            }
            screen.draw(&lines)?;
            tokio::time::sleep(self.interval.into()).await;
            match self.look(client).await {
                Ok(now) => {
                    let elapsed = at.elapsed();
                    at = Instant::now();
                    table = self.table(&now, &rows(&now, Some((&before, elapsed))));
                    before = now;
                    trouble = None;
                }
                Err(error) => trouble = error.to_string().lines().next().map(str::to_owned),
            }
        }
    }

    /// Prints a table, or a line of JSON, at each look.
    async fn tables(
        &self,
        (mut before, mut at): (Sample, Instant),
        client: &mut SubscriberClient,
        out: &mut Out,
    ) -> Result<(), Error> {
        loop {
            tokio::time::sleep(self.interval.into()).await;
            let now = match self.look(client).await {
                Ok(now) => now,
                Err(error) if self.once => return Err(error),
                Err(error) => {
                    note(format_args!("trying again: {error}"));
                    continue;
                }
            };
            let elapsed = at.elapsed();
            at = Instant::now();
            let rows = rows(&now, Some((&before, elapsed)));
            if self.output.is_json() {
                out.line(json(&now, &rows))?;
            } else {
                self.table(&now, &rows).iter().try_for_each(|line| out.line(line))?;
                if !self.once {
                    out.line("")?;
                }
            }
            out.flush()?;
            if self.once {
                return Ok(());
            }
            before = now;
        }
    }

    /// A heading, the names of the columns, and a line for each channel.
    fn table(&self, sample: &Sample, rows: &[Row<'_>]) -> Vec<String> {
        let names: Vec<_> = rows.iter().map(|row| Cell::new(&row.channel.name)).collect();
        let width = names.iter().map(Cell::width).fold(7, usize::max);
        let more = if sample.is_cut { " (there are more; --pattern chooses)" } else { "" };
        let mut lines = vec![
            format!(
                "{}  {}  {} channels{more}  {:.1} messages a second",
                self.subscriber.address,
                Local::now().format("%H:%M:%S"),
                rows.len(),
                total(rows)
            ),
            format!("{:<width$} {:>10} {:>10} {:>7}  LAST PUBLISHED", "CHANNEL", "PER SECOND", "LAST", "STREAMS"),
        ];
        lines.extend(rows.iter().zip(&names).map(|(row, name)| {
            let rate = row.rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
            let last = row.channel.last_publish_time.as_ref();
            format!(
                "{} {rate:>10} {:>10} {:>7}  {}",
                name.padded(width),
                row.channel.last_sequence,
                row.channel.subscriber_count,
                render::time(last)
            )
        }));
        if rows.is_empty() {
            lines.push("no channels".to_owned());
        }
        lines
    }
}

fn total(rows: &[Row<'_>]) -> f64 {
    // The sum of none would be -0.
    rows.iter().filter_map(|row| row.rate).fold(0.0, |sum, rate| sum + rate)
}

fn json(sample: &Sample, rows: &[Row<'_>]) -> String {
    render::to_json(&JsonLook {
        time: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
        messages_per_second: total(rows),
        is_cut: sample.is_cut,
        channels: rows
            .iter()
            .map(|row| JsonRow {
                name: &row.channel.name,
                messages_per_second: row.rate.unwrap_or_default(),
                last_sequence: row.channel.last_sequence,
                last_publish_time: render::time(row.channel.last_publish_time.as_ref()),
                subscriber_count: row.channel.subscriber_count,
            })
            .collect(),
    })
}

/// Reads how often to look.
fn interval(text: &str) -> Result<humantime::Duration, String> {
    let interval: humantime::Duration =
        text.parse().map_err(|error| format!("{error}; write a number and a unit, such as 500ms, 2s or 1m"))?;
    let range = TOP_INTERVAL_MIN..=COMMAND_TIMEOUT_MAX;
    match range.contains::<Duration>(&interval) {
        true => Ok(interval),
        false => Err(format!("it must be at least {}", humantime::format_duration(TOP_INTERVAL_MIN))),
    }
}
