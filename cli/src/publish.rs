//! `tidings publish`: one message, and its receipt as rows of a name and a value; or many over one call.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use tidings::{
    limits::{COMMAND_COUNT, MESSAGE_BYTES},
    pb::{PublishRequest, PublishResponse, publish_request::Payload},
    printable::Printable,
};

use crate::{
    client::{Calls, PublisherAddress},
    error::Error,
    output::{Out, Output},
    render,
};

mod many;
mod source;

use many::Many;
use source::{Lines, Pace, Source};

/// Publish a message and print its receipt, or publish many
///
/// A receipt means that the message is in the channel's log. When the command fails it says whether the message may
/// have been published; with an --id of your own it can be repeated safely.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings publish orders hello
  tidings publish orders '{\"total\": 1.10}' --json     JSON, passed on byte for byte
  tidings publish orders -5                             a negative number is a message
  tidings publish orders -- --dry-run                   after -- everything is
  date | tidings publish orders -                       all of standard input as one message
  tidings publish orders --lines < orders.txt           a message for each line
  tidings publish orders ping --count 600 --rate 10     ten a second, for a minute")]
pub(crate) struct Publish {
    /// The channel; '' is the server's default channel
    channel: String,
    /// The message; - reads it from standard input, exactly as it comes. After -- it may begin with a dash
    #[arg(required_unless_present_any = ["data", "lines"], conflicts_with = "data", allow_negative_numbers = true)]
    message: Option<String>,
    /// The message (with --lines, each of them) is a JSON text, passed on byte for byte. For the receipt see --output
    #[arg(long, conflicts_with = "data")]
    json: bool,
    /// Publish a file's bytes; - is standard input
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Each line of standard input is a message, but for empty ones. Stops at the first failure; messages in flight
    /// are still sent
    #[arg(long, group = "many", conflicts_with_all = ["data", "id"])]
    lines: bool,
    /// Publish the message so many times
    #[arg(long, value_name = "N", group = "many", conflicts_with = "id",
        value_parser = clap::value_parser!(u64).range(1..=COMMAND_COUNT))]
    count: Option<u64>,
    /// With --lines or --count: at most so many messages a second
    #[arg(long, value_name = "N", requires = "many", value_parser = clap::value_parser!(u64).range(1..=COMMAND_COUNT))]
    rate: Option<u64>,
    /// A UUID of your own: a repeat with it is answered with the first receipt and not published again
    #[arg(long, value_name = "UUID")]
    id: Option<String>,
    /// An attribute (repeatable)
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = parse_attribute)]
    attributes: Vec<(String, String)>,
    /// Messages with the same key belong together
    #[arg(long, value_name = "KEY")]
    ordering_key: Option<String>,
    /// Redis replicas that must have the message before it is acknowledged
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_replicas: i32,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    publisher: PublisherAddress,
    #[command(flatten)]
    calls: Calls,
}

impl Publish {
    /// Publishes and prints what came of it.
    pub(crate) async fn run(self, out: &mut Out) -> Result<(), Error> {
        let template = PublishRequest {
            channel: self.channel,
            payload: None,
            attributes: self.attributes.into_iter().collect(),
            ordering_key: self.ordering_key.unwrap_or_default(),
            message_id: self.id.unwrap_or_default(),
            min_replicas: self.min_replicas,
        };
        if self.lines && self.message.as_deref().is_some_and(|message| message != "-") {
            return Err(Error::Usage("--lines reads the messages from standard input; leave the message out"));
        }
        let is_json = self.output.is_json();
        let (source, total) = match (self.lines, self.count) {
            (true, _) => (Source::Lines(Lines::of_stdin(self.json)), None),
            (false, Some(count)) => {
                (Source::Again(payload(self.message, self.json, self.data.as_deref())?, count), Some(count))
            }
            (false, None) => {
                let payload = Some(payload(self.message, self.json, self.data.as_deref())?);
                let request = PublishRequest { payload, ..template };
                let receipt = publish(request, &self.publisher, self.calls.clone()).await?;
                print(&receipt, is_json, out)?;
                return Ok(out.flush()?);
            }
        };
        let pace = Pace::new(self.rate);
        let (publisher, calls) = (&self.publisher, self.calls.clone());
        Many { template, source, pace, total, is_json, publisher, calls }.run(out).await
    }
}

async fn publish(
    request: PublishRequest,
    publisher: &PublisherAddress,
    calls: Calls,
) -> Result<PublishResponse, Error> {
    let mut client = calls.of(&publisher.address, publisher.connect(&calls)).await?;
    let answer = calls.of(&publisher.address, async { Ok(client.publish(request).await?) }).await;
    match answer {
        Ok(receipt) => Ok(receipt.into_inner()),
        Err(error @ Error::TimedOut { .. }) => Err(Error::Unanswered(Box::new(error))),
        Err(error) => Err(error),
    }
}

fn print(receipt: &PublishResponse, is_json: bool, out: &mut Out) -> io::Result<()> {
    if is_json {
        return out.line(render::receipt_json(receipt));
    }
    row(out, "channel", &receipt.channel)?;
    row(out, "sequence", &receipt.sequence.to_string())?;
    row(out, "message_id", &receipt.message_id)?;
    row(out, "publish_time", &render::time(receipt.publish_time.as_ref()))?;
    row(out, "epoch", &receipt.epoch)?;
    row(out, "cursor", &receipt.cursor)?;
    if receipt.duplicate {
        row(out, "duplicate", "true (it had been published before; this is its first receipt)")?;
    }
    if receipt.replicas > 0 {
        row(out, "replicas", &receipt.replicas.to_string())?;
    }
    Ok(())
}

/// Prints a name and its value.
fn row(out: &mut Out, name: &str, value: &str) -> io::Result<()> {
    let faint = out.palette().faint;
    out.line(format_args!("{faint}{name:<12}{faint:#} {}", Printable(value)))
}

fn payload(message: Option<String>, json: bool, data: Option<&Path>) -> Result<Payload, Error> {
    let text = match (data, message) {
        (Some(path), _) => return read_data(path).map(|data| Payload::Data(data.into())),
        (None, Some(message)) if message == "-" => read_text()?,
        (None, message) => message.unwrap_or_default(),
    };
    Ok(if json { Payload::Json(text) } else { Payload::Text(text) })
}

fn read_text() -> Result<String, Error> {
    let text = read(io::stdin().lock()).and_then(|bytes| {
        String::from_utf8(bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text; --data - sends any bytes"))
    });
    text.map_err(|cause| Error::Input { name: "standard input".to_owned(), cause })
}

fn read_data(path: &Path) -> Result<Vec<u8>, Error> {
    if path.as_os_str() == "-" {
        return read(io::stdin().lock()).map_err(|cause| Error::Input { name: "standard input".to_owned(), cause });
    }
    let name = path.display().to_string();
    File::open(path).and_then(read).map_err(|cause| Error::Input { name, cause })
}

/// Reads to the end, unless that is surely more than a message may have.
fn read(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MESSAGE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MESSAGE_BYTES {
        return Err(too_large());
    }
    Ok(bytes)
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("a message is at most {MESSAGE_BYTES} bytes of JSON"))
}

fn parse_attribute(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("an attribute is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
