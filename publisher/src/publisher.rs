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
use tidings_transport::Caller;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::{
    answer::Responder,
    request::{Publication, Terms},
};

/// A channel, and what will become of the messages that were handed to the broker for it.
pub(crate) type Started = (ChannelName, BoxFuture<'static, Published>);

/// What publishes, shared by all calls.
#[derive(Clone)]
pub(crate) struct Publisher(Arc<Shared>);

struct Shared {
    broker: broker::Shared,
    names: Names,
    shutdown: CancellationToken,
}

impl Publisher {
    /// Publishes through the broker until the token is cancelled; from then on everything is refused.
    pub(crate) fn new(broker: broker::Shared, names: Names, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Shared { broker, names, shutdown }))
    }

    /// What is asked of a request of a caller with these rights.
    pub(crate) fn terms<'a>(&'a self, caller: &'a Caller, rights: &'a Rights) -> Terms<'a> {
        Terms { names: &self.0.names, rights, subject: caller.subject() }
    }

    /// Takes the messages' position in their channel's order, now; what it answers need only be awaited.
    pub(crate) fn start(&self, publication: Publication) -> Started {
        let Publication { channel, drafts, min_replicas } = publication;
        let channel = channel.into_inner();
        let published = self.0.broker.publish(&channel, drafts, min_replicas);
        (channel, published)
    }

    /// All of a `Publish` or a `PublishBatch`, once its request was checked: the messages take their position now.
    /// `answer` makes of the receipts what the call is answered with, and `counted` ends with its code.
    pub(crate) fn publish<T: Send + 'static>(
        &self,
        checked: Result<Publication, Status>,
        counted: Publish,
        answer: fn(Responder, Vec<Receipt>) -> Result<T, Status>,
    ) -> impl Future<Output = Result<T, Status>> + Send + use<T> {
        let started = checked.and_then(|publication| match self.0.shutdown.is_cancelled() {
            true => Err(status::draining(Call::Publish)),
            false => Ok(self.start(publication)),
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
