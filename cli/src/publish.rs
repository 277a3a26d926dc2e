//! `tidings publish`: one message, and its receipt as rows of a name and a value.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use tidings::{
    limits::MESSAGE_BYTES,
    pb::{PublishRequest, PublishResponse, publish_request::Payload},
};

use crate::{client::PublisherAddress, error::Error, output::Out, render};

/// Publish one message and print its receipt.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The channel; '' is the server's default channel.
    channel: String,
    /// The message; `-` reads it from standard input, exactly as it comes.
    #[arg(required_unless_present = "data", conflicts_with = "data", allow_hyphen_values = true)]
    message: Option<String>,
    /// The message is a JSON text, passed on byte for byte.
    #[arg(long, conflicts_with = "data")]
    json: bool,
    /// Publish a file's bytes; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// A UUID of your own: a repeat with it is answered with the first receipt and not published again.
    #[arg(long, value_name = "UUID")]
    id: Option<String>,
    /// An attribute (repeatable).
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = parse_attribute)]
    attributes: Vec<(String, String)>,
    /// Messages with the same key belong together.
    #[arg(long, value_name = "KEY")]
    ordering_key: Option<String>,
    /// Redis replicas that must have the message before it is acknowledged.
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_replicas: i32,
    #[command(flatten)]
    publisher: PublisherAddress,
}

impl Publish {
    /// Publishes and prints the receipt.
    pub(crate) async fn run(self, out: &mut Out) -> Result<(), Error> {
        let request = PublishRequest {
            channel: self.channel,
            payload: Some(payload(self.message, self.json, self.data.as_deref())?),
            attributes: self.attributes.into_iter().collect(),
            ordering_key: self.ordering_key.unwrap_or_default(),
            message_id: self.id.unwrap_or_default(),
            min_replicas: self.min_replicas,
        };
        let receipt = self.publisher.connect().await?.publish(request).await?.into_inner();
        print(&receipt, out)?;
        Ok(out.flush()?)
    }
}

fn print(receipt: &PublishResponse, out: &mut Out) -> io::Result<()> {
    let faint = out.palette().faint;
    let mut row = |name: &str, value: &str| out.line(format_args!("{faint}{name:<12}{faint:#} {value}"));
    row("channel", &receipt.channel)?;
    row("sequence", &receipt.sequence.to_string())?;
    row("message_id", &receipt.message_id)?;
    row("publish_time", &render::time(receipt.publish_time.as_ref()))?;
    row("epoch", &receipt.epoch)?;
    row("cursor", &receipt.cursor)?;
    if receipt.duplicate {
        row("duplicate", "true (it had been published before; this is its first receipt)")?;
    }
    if receipt.replicas > 0 {
        row("replicas", &receipt.replicas.to_string())?;
    }
    Ok(())
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
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a message is at most 1 MiB of JSON"));
    }
    Ok(bytes)
}

fn parse_attribute(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("an attribute is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
