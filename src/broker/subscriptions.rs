//! What a broker keeps of durable subscriptions: their *books*.
//!
//! The books of a subscription say which message is to be handed out next, which are out (in [blocks](Block)), which
//! wait for a retry, and which are dead. Whoever hands out messages has read them, filtered them, and decided; the
//! broker only compares and writes: a [`Change`] is carried out as a whole where everything is as its caller takes it
//! to be, or not at all. So what is kept has one meaning on all brokers, and many processes may hand out at once. A
//! message is in at most one of these places: before `next`, and in a block or waiting or dead, or settled, of which
//! nothing is kept; or from `next` on.
//!
//! An ordering key is *closed* while a message of it is out or waits, and the others of it are *parked*: they wait for
//! the key, in their order. Whoever hands out says which messages have keys that count; the books know no others.
//!
//! Times are the broker's own clock.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::Error;
use crate::{
    channel::ChannelName,
    message::{Epoch, Position},
    subscription::{Attempts, Block, BlockId, Generation, OrderKey, SubscriptionName},
};

mod books;
mod letter;

pub use self::{
    books::{Books, Glance, Look, State, Unchanged},
    letter::{Letter, LetterId},
};

/// A subscription of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Its channel.
    pub channel: ChannelName,
    /// Its name.
    pub name: SubscriptionName,
}

/// Keeps the books of all subscriptions.
#[async_trait]
pub trait Subscriptions: Send + Sync + 'static {
    /// The channel for which a name was reserved. Whether there is a subscription is in its books.
    async fn channel_of(&self, name: &SubscriptionName) -> Result<Option<ChannelName>, Error>;

    /// The lowest `limit` names above one, in byte order, with the channels for which they are reserved.
    async fn names(&self, after: &str, limit: usize) -> Result<Vec<(SubscriptionName, ChannelName)>, Error>;

    /// Reserves the name, and creates the books. What was left by a call that ended in the middle is completed, or
    /// taken over by another channel after [`RESERVATION`](crate::limits::RESERVATION).
    async fn create(&self, place: &Place, new: &New) -> Result<Created, Error>;

    /// Looks into the books. `None` where there are none.
    async fn look(&self, place: &Place, look: Look) -> Result<Option<Books>, Error>;

    /// What shows whether the books have to be looked into at all: many are asked for each second. `None` where there
    /// are none.
    async fn glance(&self, place: &Place) -> Result<Option<Glance>, Error>;

    /// Replaces the settings, where the revision is this one.
    async fn set(&self, place: &Place, revision: u64, settings: &Bytes) -> Result<Set, Error>;

    /// Deletes the books, where they are so, if that is asked for; then the name.
    async fn delete(&self, place: &Place, only: Option<Unchanged>) -> Result<Set, Error>;

    /// Begins a new generation that hands out next what follows a position. What is out or waits is given up. `false`
    /// where there are no books.
    async fn seek(&self, place: &Place, to: Start, generation: Generation, hold: Hold) -> Result<bool, Error>;

    /// Carries out changes, each for itself.
    async fn apply(&self, place: &Place, generation: Generation, changes: &[Change]) -> Result<Applied, Error>;

    /// The blocks with these names, as they are; `None` for those that are not there.
    async fn blocks(&self, place: &Place, ids: &[BlockId]) -> Result<Vec<Option<Block>>, Error>;

    /// What became of messages that are in no block that their ack ids know.
    async fn fates(&self, place: &Place, generation: Generation, messages: &[(Epoch, i64)])
    -> Result<Vec<Fate>, Error>;

    /// Which keys are closed, in the order asked, and how many messages are parked.
    async fn closed(&self, place: &Place, keys: &[OrderKey]) -> Result<Closed, Error>;

    /// Messages that wait for a retry and are due, the longest due first.
    async fn due(&self, place: &Place, generation: Generation, limit: usize) -> Result<Vec<Due>, Error>;

    /// What is remembered of messages, in the order asked: their deliveries, none where nothing is.
    async fn remembered(&self, place: &Place, sequences: &[i64]) -> Result<Vec<Due>, Error>;

    /// Dead letters after one, the oldest first: until a limit of number or bytes is reached, one at least.
    async fn dead_letters(
        &self,
        place: &Place,
        after: Option<&LetterId>,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<(LetterId, Letter)>, Error>;

    /// Puts dead letters back, each due so long after the one before it; the first after `first`. Of a closed key it
    /// is parked behind all that are. Those that are not there are passed over, and so are those whose sequence is out
    /// or waits, as it may after a seek. Answers how many were put back.
    async fn redrive(
        &self,
        place: &Place,
        letters: &[LetterId],
        first: Duration,
        apart: Duration,
    ) -> Result<usize, Error>;

    /// Dead letters that are still to be published, the oldest first: a number at most, and no more bytes of JSON than
    /// a page has, one letter at least.
    ///
    /// The change that makes a letter puts it into this *outbox* in the same step, so none is forgotten; it stays there
    /// until somebody says that it was [sent](Self::sent), so one may be published twice, with the same
    /// [id](Letter::copy_id). A letter that is put back before that leaves the outbox too: it will be delivered, and
    /// nobody needs the copy. One that goes by its age or because there are too many leaves it as well, so that the
    /// outbox has no content of its own: that one is lost, and counted. A seek leaves the outbox as it is.
    async fn outbox(&self, place: &Place, limit: usize) -> Result<Vec<(LetterId, Letter)>, Error>;

    /// Takes letters out of the outbox: they were published, or can't be. Those that are not there are passed over. The
    /// letters themselves stay.
    async fn sent(&self, place: &Place, letters: &[LetterId]) -> Result<(), Error>;
}

/// A subscription to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    /// Its first generation.
    pub generation: Generation,
    /// Kept as they are.
    pub settings: Bytes,
    /// Where it begins.
    pub start: Start,
    /// How much of the log it holds from there on.
    pub hold: Hold,
}

/// How far a subscription keeps what it has not settled from being trimmed: beyond the history's own limits. The oldest
/// message that any subscription of the channel has not settled, and all after it, stay until they are older than this,
/// or the log has more bytes, or ten times the messages of the history's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// By age.
    pub age: Duration,
    /// By bytes of the log.
    pub bytes: u64,
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what is published from now on.
    End,
    /// After a position.
    After(Position),
}

/// What became of a subscription that was to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It is there.
    Done,
    /// One of this name was there.
    Exists,
    /// The name is being used for another channel at this moment.
    Busy,
    /// There are as many as there may be; how many that is.
    Full(usize),
}

/// What became of settings, or books, that were to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// It is done.
    Done,
    /// The revision is another.
    Differs,
    /// There are no books.
    Missing,
}

/// A change of the books. All that it takes for true is compared first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// Takes messages from `next` on.
    pub claim: Option<Claim>,
    /// Takes these out of those that wait: all have to be there, and due.
    pub take: Vec<i64>,
    /// Their deliveries, in the same order, as they must be remembered: another process may have delivered them
    /// meanwhile, and had them back. Empty where that is not compared.
    pub taken: Vec<Attempts>,
    /// Blocks as they must be, and as they will be.
    pub blocks: Vec<BlockChange>,
    /// Before this time it comes too early.
    pub not_before_ms: i64,
    /// How many messages may be out after it, where it adds to them.
    pub most_out: u64,
    /// Messages that will wait for a retry.
    pub wait: Vec<Waiting>,
    /// Settled messages, of which nothing is remembered any more.
    pub forget: Vec<i64>,
    /// Messages that are dead.
    pub dead: Vec<Letter>,
    /// How many messages are lost with it.
    pub lost: u64,
    /// Messages that are under way with it. Their keys, each once, must be open, and are closed by them.
    pub close: Vec<Keyed>,
    /// Messages that come after others of their keys, and wait for them. Of a key that is open the first is due at
    /// once, and closes it.
    pub park: Vec<Keyed>,
    /// Messages that are under way no more, whose keys are opened, if they have closed any: the next one of a key is
    /// due at once, and closes it again.
    pub open: Vec<i64>,
}

impl Change {
    /// How many messages more are out after it.
    pub fn added(&self) -> i64 {
        let count = |block: &Option<Block>| block.as_ref().map_or(0, Block::len) as i64;
        self.blocks.iter().map(|change| count(&change.to) - count(&change.from)).sum()
    }
}

/// A message, and its ordering key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyed {
    /// Its key.
    pub key: OrderKey,
    /// Its sequence.
    pub sequence: i64,
}

/// Which keys are closed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Closed {
    /// Of each key that was asked about, whether it is.
    pub keys: Vec<bool>,
    /// How many messages wait for their keys, of all.
    pub parked: u64,
}

/// Moves what is handed out next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// As it must be.
    pub from: i64,
    /// The last message that is taken, or passed over, at `from` or above. It must be in the channel's present history,
    /// in this epoch.
    pub to: Position,
    /// The settings' revision, as it must be.
    pub revision: u64,
}

/// A block as it is, and as it will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockChange {
    /// Its name.
    pub id: BlockId,
    /// As it must be; `None` where it must not be there.
    pub from: Option<Block>,
    /// As it will be; `None` where it goes.
    pub to: Option<Block>,
}

/// A message that waits for a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Its sequence.
    pub sequence: i64,
    /// When it is due.
    pub due_ms: i64,
    /// Its deliveries.
    pub attempts: Attempts,
}

/// What became of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// There are no books.
    Missing,
    /// Another generation has begun; nothing was done.
    Over(Generation),
    /// Whether each was carried out, and the state after them.
    Done(State, Vec<Outcome>),
}

/// What became of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out.
    Done,
    /// Something is not as it must be; nothing was done.
    Differs,
    /// More would be out than may be, or the broker has no room for its dead letters; nothing was done.
    Full,
}

/// What became of a message that is in no block that its ack id knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is settled.
    Settled,
    /// It is out again, waits, is dead or lost, or is handed out only later; or that is not known.
    Open,
}

/// A message that was delivered before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Its sequence.
    pub sequence: i64,
    /// Its deliveries.
    pub attempts: Attempts,
    /// Its JSON, where it was put back from the dead letters; otherwise the log has it.
    pub json: Option<Bytes>,
}
