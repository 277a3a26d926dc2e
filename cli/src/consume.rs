//! `tidings consume`: takes the messages of a subscription, and prints them or runs a command for each.

use std::{sync::Arc, time::Duration};

use clap::Args;
use tidings::{
    limits::{CONSUMER_MESSAGES, CONSUMER_MESSAGES_DEFAULT},
    pb::StartConsuming,
    printable::{Printable, printable},
};

use crate::{
    client::{Calls, SubscriberAddress},
    error::Error,
    output::{Out, OutputOrJson, note},
    subscription::duration,
};

mod exec;
mod ledger;
mod link;
mod signals;
mod worker;

use exec::Script;
use link::Link;
pub(crate) use signals::Signals;
use worker::{Mode, Worker};

/// Take messages of a subscription: print them, or run a command for each
///
/// Without --ack and --exec it only looks: it prints up to --concurrency messages, keeps them from other consumers, and
/// gives them back when it ends. No attempt is counted, unless it is killed or loses its connection.
///
/// With --exec a message is acknowledged when its command ends with exit code 0. Exit code 65 puts it aside as a dead
/// letter at once. Any other code gives it back, to be tried again as the subscription says; the code and the last line
/// of standard error are kept as the reason. While a command runs, its message's lease is extended.
///
/// Ctrl-C or SIGTERM begins nothing more, waits for the commands that run, and ends. A second signal kills them and
/// ends at once. Where the server could not be told that a message is done, it is delivered again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings consume bills                               looks, and gives back what it printed
  tidings consume bills --ack                         acknowledges each message that it printed
  tidings consume bills --exec ./bill                 the message's body is the command's standard input
  tidings consume bills --exec 'jq .total >> totals'  a line for a shell
  tidings consume bills --exec ./bill --concurrency 8 --count 1000
The command's environment has TIDINGS_CHANNEL, TIDINGS_MESSAGE_ID, TIDINGS_SEQUENCE, TIDINGS_EPOCH, TIDINGS_ATTEMPT,
TIDINGS_PUBLISH_TIME, TIDINGS_ORDERING_KEY, and TIDINGS_ATTRIBUTE_<KEY> for each attribute: its key in upper case,
with _ for what is no letter, digit or _.")]
pub(crate) struct Consume {
    /// The subscription
    name: String,
    /// Acknowledge each message after it was printed
    #[arg(long)]
    ack: bool,
    /// Run this for each message, by `sh -c`, with the body on its standard input; acknowledges on exit code 0
    #[arg(long, value_name = "CMD", conflicts_with_all = ["ack", "output", "json"])]
    exec: Option<String>,
    /// How many messages may be out at once [default: 1 with --exec, 100 without]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=CONSUMER_MESSAGES as i64))]
    concurrency: Option<i32>,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// How long this consumer has for a message: 1s to 10m [default: as the subscription says]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ack_deadline: Option<Duration>,
    /// How it prints; as JSON a message has its ack_id and its delivery_attempt too
    #[command(flatten)]
    output: OutputOrJson,
    #[command(flatten)]
    subscriber: SubscriberAddress,
    #[command(flatten)]
    calls: Calls,
}

impl Consume {
    /// Consumes until it is told to stop, nobody reads what it prints any more, or there were enough. Only a stream
    /// that was open once is opened again.
    pub(crate) async fn run(self, out: &mut Out, signals: Signals) -> Result<(), Error> {
        let is_json = self.output.is_json();
        let start = StartConsuming {
            name: self.name.clone(),
            max_outstanding_messages: self
                .limit()
                .min(i32::try_from(self.count.unwrap_or(u64::MAX)).unwrap_or(i32::MAX)),
            ack_deadline: self.ack_deadline.and_then(|deadline| deadline.try_into().ok()),
            ..StartConsuming::default()
        };
        let address = &self.subscriber.address;
        let client = self.calls.of(address, self.subscriber.connect_to_subscriptions(&self.calls)).await?;
        let opening = self.calls.of(address, Link::open(client, start, self.calls.duration()));
        let (link, subscription) = tokio::select! {
            opened = opening => opened?,
            () = signals.stopping() => return Ok(()),
        };
        if !is_json {
            note(self.beginning());
            if subscription.paused {
                note(format_args!(
                    "{0} is paused: nothing is delivered until `tidings subscription update {0} --resume`",
                    Printable(&self.name)
                ));
            }
        }
        let mode = match &self.exec {
            Some(command) => Mode::Run(Arc::new(Script::new(command.clone()))),
            None => Mode::Print { is_json, is_done: self.ack },
        };
        let mut worker = Worker::new(mode, link, self.limit(), self.count);
        worker.begin(&subscription, self.ack_deadline);
        worker.run(out, &signals, &self.calls, address).await
    }

    fn limit(&self) -> i32 {
        let default = if self.exec.is_some() { 1 } else { CONSUMER_MESSAGES_DEFAULT as i32 };
        self.concurrency.unwrap_or(default)
    }

    /// What it does, and until when.
    fn beginning(&self) -> String {
        let name = printable(&self.name);
        let what = match (&self.exec, self.ack) {
            (Some(command), _) => format!("consuming {name}, {} at a time: {}", self.limit(), Printable(command)),
            (None, true) => format!("consuming {name}, each message is acknowledged after it was printed"),
            (None, false) => {
                format!("looking at up to {} messages of {name}, which come back when this ends", self.limit())
            }
        };
        let end = match self.count {
            Some(1) => "ends after one message".to_owned(),
            Some(count) => format!("ends after {count} messages"),
            None => "Ctrl-C ends it".to_owned(),
        };
        format!("{what} ({end})")
    }
}
