//! `tidings subscription`: durable subscriptions created, shown, changed, moved and deleted, and their dead letters.

use clap::{Args, Subcommand};

use crate::{
    client::{Calls, SubscriberAddress, SubscriptionClient},
    error::Error,
    output::{Out, OutputOrJson},
};

mod create;
mod dead;
mod delete;
mod list;
mod print;
mod redrive;
mod seek;
mod settings;
mod show;
mod update;

use create::Create;
use dead::Dead;
use delete::Delete;
use list::List;
use redrive::Redrive;
use seek::Seek;
pub(crate) use settings::duration;
use show::Show;
use update::Update;

/// Manage durable subscriptions: work that one of several consumers does
///
/// A subscription hands each message of a channel to one consumer at a time. What is not acknowledged is delivered
/// again, and put aside as a dead letter when its attempts are used up. `tidings consume` takes the messages.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings subscription create bills --channel orders
  tidings subscription list
  tidings consume bills --exec ./bill
  tidings subscription dead bills
  tidings subscription redrive bills --all
`tidings subscription COMMAND --help` says more about each.")]
pub(crate) struct Subscription {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Create(Box<Create>),
    List(List),
    Show(Show),
    Update(Box<Update>),
    Delete(Delete),
    Seek(Seek),
    Dead(Dead),
    Redrive(Redrive),
}

impl Subscription {
    /// Does what was asked for, and prints what came of it.
    pub(crate) async fn run(self, out: &mut Out) -> Result<(), Error> {
        match self.what {
            What::Create(create) => create.run(out).await?,
            What::List(list) => list.run(out).await?,
            What::Show(show) => show.run(out).await?,
            What::Update(update) => update.run(out).await?,
            What::Delete(delete) => delete.run().await?,
            What::Seek(seek) => seek.run(out).await?,
            What::Dead(dead) => dead.run(out).await?,
            What::Redrive(redrive) => redrive.run(out).await?,
        }
        Ok(out.flush()?)
    }
}

/// How each of these prints, and whom it asks.
#[derive(Debug, Args)]
#[group(skip)]
struct Asked {
    #[command(flatten)]
    output: OutputOrJson,
    #[command(flatten)]
    subscriber: SubscriberAddress,
    #[command(flatten)]
    calls: Calls,
}

impl Asked {
    async fn connect(&self) -> Result<SubscriptionClient, Error> {
        self.of(self.subscriber.connect_to_subscriptions(&self.calls)).await
    }

    /// Waits for an answer.
    async fn of<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.calls.of(&self.subscriber.address, call).await
    }

    fn is_json(&self) -> bool {
        self.output.is_json()
    }
}
