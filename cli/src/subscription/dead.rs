//! `tidings subscription dead`: what was put aside.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;
use tidings::{
    limits::PAGE_MESSAGES,
    pb::{DeadLetter, ListDeadLettersRequest, message::Payload},
    printable::Printable,
};

use super::Asked;
use crate::{
    error::Error,
    output::{Out, Palette, note},
    render::{self, JsonMessage},
};

/// Characters of a payload that are shown to people.
const SHOWN: usize = 60;

/// List the dead letters of a subscription
///
/// The oldest first: its id, when it was put aside, its message's number, how often it was delivered, why it was put
/// aside, and how its payload begins. As JSON it has the whole message.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings subscription dead bills
  tidings subscription dead bills --json | jq -r .message.text
  tidings subscription redrive bills --all   delivers them again")]
pub(super) struct Dead {
    /// The subscription
    name: String,
    #[command(flatten)]
    asked: Asked,
}

#[derive(Serialize)]
struct JsonDeadLetter<'a> {
    dead_letter_id: &'a str,
    reason: &'a str,
    delivery_attempts: i32,
    dead_time: String,
    redrive_count: i32,
    message: Option<JsonMessage<'a>>,
}

impl Dead {
    pub(super) async fn run(self, out: &mut Out) -> Result<(), Error> {
        let mut client = self.asked.connect().await?;
        let (is_json, palette) = (self.asked.is_json(), out.palette());
        let mut page_token = String::new();
        let mut is_empty = true;
        loop {
            let request =
                ListDeadLettersRequest { name: self.name.clone(), page_size: PAGE_MESSAGES as i32, page_token };
            let page = self.asked.of(async { Ok(client.list_dead_letters(request).await?) }).await?.into_inner();
            for dead in &page.dead_letters {
                out.line(if is_json { json(dead) } else { line(dead, &palette) })?;
            }
            out.flush()?;
            is_empty &= page.dead_letters.is_empty();
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if is_empty && !is_json {
            note(format_args!("{} has no dead letters", Printable(&self.name)));
        }
        Ok(())
    }
}

fn json(dead: &DeadLetter) -> String {
    render::to_json(&JsonDeadLetter {
        dead_letter_id: &dead.dead_letter_id,
        reason: &dead.reason,
        delivery_attempts: dead.delivery_attempts,
        dead_time: render::time(dead.dead_time.as_ref()),
        redrive_count: dead.redrive_count,
        message: dead.message.as_ref().map(JsonMessage::new),
    })
}

fn line(dead: &DeadLetter, palette: &Palette) -> String {
    let Palette { faint, sequence, warning, .. } = *palette;
    let id = Printable(&dead.dead_letter_id);
    let mut line = format!("{id} {faint}{}{faint:#}", render::time(dead.dead_time.as_ref()));
    let message = dead.message.as_ref();
    let _ = write!(line, " {sequence}#{}{sequence:#}", message.map_or(0, |message| message.sequence));
    let _ = match dead.delivery_attempts {
        1 => write!(line, " after 1 attempt: "),
        attempts => write!(line, " after {attempts} attempts: "),
    };
    let _ = write!(line, "{warning}{}{warning:#}", Printable(&dead.reason));
    let payload = match message.and_then(|message| message.payload.as_ref()) {
        Some(Payload::Text(text) | Payload::Json(text)) => short(text),
        Some(Payload::Data(data)) => format!("{} bytes", data.len()),
        None => String::new(),
    };
    let _ = write!(line, " {faint}|{faint:#} {}", Printable(&payload));
    line
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tidings::pb::Message;

    use super::*;

    #[test]
    fn a_line_has_what_matters_and_the_payload_short() {
        let payload = Some(Payload::Text("ä".repeat(SHOWN + 1)));
        let dead = DeadLetter {
            dead_letter_id: "1-2-e".to_owned(),
            message: Some(Message { sequence: 2, payload, ..Message::default() }),
            reason: "exit status 1: no\nroom".to_owned(),
            delivery_attempts: 3,
            dead_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
            redrive_count: 0,
        };
        let line = line(&dead, &Palette::default());
        let begins = "1-2-e 1970-01-01T00:00:01.000Z #2 after 3 attempts: exit status 1: no\\nroom | ää";
        assert!(line.starts_with(begins) && line.ends_with("ä…"), "{line}");
    }
}
