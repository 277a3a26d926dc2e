//! `tidings subscription redrive`.

use clap::Args;
use serde::Serialize;
use tidings::{limits::SETTLED, pb::RedriveDeadLettersRequest};

use super::Asked;
use crate::{error::Error, output::Out, render};

/// Put dead letters back, to be delivered again
///
/// They have all their attempts again. Ids that name no dead letter are passed over.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings subscription redrive bills --all --rate 10
  tidings subscription redrive bills 1732449600000-42-33d5c4d73a7ff04c   ids are those of `tidings subscription dead`")]
pub(super) struct Redrive {
    /// The subscription
    name: String,
    /// Ids of dead letters, at most 1,000
    #[arg(value_name = "ID", required_unless_present = "all", num_args = 0..=SETTLED)]
    ids: Vec<String>,
    /// All that are there now
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// At most so many a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    rate: Option<i32>,
    #[command(flatten)]
    asked: Asked,
}

#[derive(Serialize)]
struct JsonRedriven {
    redriven_count: i64,
}

impl Redrive {
    pub(super) async fn run(self, out: &mut Out) -> Result<(), Error> {
        let request = RedriveDeadLettersRequest {
            name: self.name,
            dead_letter_ids: self.ids,
            all: self.all,
            max_per_second: self.rate.unwrap_or(0),
        };
        let mut client = self.asked.connect().await?;
        let answer = self.asked.of(async { Ok(client.redrive_dead_letters(request).await?) }).await?.into_inner();
        let redriven_count = answer.redriven_count;
        if self.asked.is_json() {
            out.line(render::to_json(&JsonRedriven { redriven_count }))?;
        } else {
            out.line(format_args!("redriven_count {redriven_count}"))?;
        }
        Ok(())
    }
}
