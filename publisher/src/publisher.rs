//! What all operations publish through: the broker, and whether the server still takes anything.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tidings::{
    access::Rights,
    broker::{self, Published, Receipt},
    channel::{ChannelName, Names},
    metrics::Publish,
    status::{self, Call},
};
use tidings_transport::{Account, CallContext, Caller, Rated};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::{
    answer::Responder,
    new_channels::NewChannels,
    request::{Batch, Terms},
};

/// A channel, and what will become of the messages that were handed to the broker for it.
pub(crate) type Started = (ChannelName, BoxFuture<'static, Published>);

/// Takes messages, and the bytes of their request, from what the caller may publish.
///
/// # Errors
///
/// RESOURCE_EXHAUSTED: it may not publish so many now.
pub(crate) fn charge(context: &CallContext, messages: usize, bytes: impl FnOnce() -> usize) -> Result<(), Status> {
    context.take(Rated::Publishes, || messages as u64)?;
    context.take(Rated::BytesIn, || bytes() as u64)
}

/// What publishes, shared by all calls.
#[derive(Clone)]
pub(crate) struct Publisher(Arc<Shared>);

struct Shared {
    broker: broker::Shared,
    names: Names,
    new_channels: Arc<NewChannels>,
    shutdown: CancellationToken,
}

impl Publisher {
    /// Publishes through the broker until the token is cancelled; from then on everything is refused.
    pub(crate) fn new(broker: broker::Shared, names: Names, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Shared { broker, names, new_channels: NewChannels::new(), shutdown }))
    }

    /// What is asked of a request of a caller with these rights.
    pub(crate) fn terms<'a>(&'a self, caller: &'a Caller, rights: &'a Rights) -> Terms<'a> {
        Terms { names: &self.0.names, rights, sender: caller.sender() }
    }

    /// Takes the messages' position in their channel's order, now; what it answers need only be awaited.
    ///
    /// # Errors
    ///
    /// The account may not create the channel.
    pub(crate) fn start(&self, batch: Batch, account: Option<&Arc<Account>>) -> Result<Started, Status> {
        let Batch { channel, drafts, min_replicas } = batch;
        let channel = channel.into_inner();
        let publish = || self.0.broker.publish(&channel, drafts, min_replicas);
        let published = self.0.new_channels.publish(&channel, account, publish)?;
        Ok((channel, published))
    }

    /// All of a `Publish` or a `PublishBatch`, once its request was checked: the messages take their position now.
    /// `answer` makes of the receipts what the call is answered with, and `counted` ends with its code.
    pub(crate) fn publish<T: Send + 'static>(
        &self,
        context: &CallContext,
        checked: Result<Batch, Status>,
        counted: Publish,
        answer: fn(Responder, Vec<Receipt>) -> Result<T, Status>,
    ) -> impl Future<Output = Result<T, Status>> + Send + use<T> {
        let started = checked.and_then(|batch| match self.0.shutdown.is_cancelled() {
            true => Err(status::draining(Call::Publish)),
            false => self.start(batch, context.account()),
        });
        async move {
            let answered = match started {
                Ok((channel, published)) => match published.await {
                    Ok(receipts) => answer(Responder::new(channel), receipts),
                    Err(error) => Err(status::from_broker(error, Call::Publish)),
                },
                Err(status) => Err(status),
            };
            counted.end(answered.as_ref().map_or_else(Status::code, |_| Code::Ok));
            answered
        }
    }
}
