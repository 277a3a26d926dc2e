//! `PublisherService`: drafts go to the broker, receipts come back.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tidings::{
    broker::{self, Published, Receipt},
    channel::{ChannelName, Names},
    cursor,
    message::Epoch,
    metrics::Publish,
    pb::{
        self, PublishBatchRequest, PublishBatchResponse, PublishRequest, PublishResponse, PublishStreamRequest,
        publisher_service_server::PublisherService,
    },
    server::{Ending, deadline},
    status::{self, Call},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::{
    request::{self, Place, Publication},
    stream::Answers,
};

/// The service, shared by all calls.
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

    pub(crate) fn names(&self) -> &Names {
        &self.0.names
    }

    /// Takes the messages' place in their channel's order, now; what it answers need only be awaited.
    pub(crate) fn start(&self, publication: Publication) -> (ChannelName, BoxFuture<'static, Published>) {
        let Publication { channel, drafts, min_replicas } = publication;
        let published = self.0.broker.publish(&channel, drafts, min_replicas);
        (channel, published)
    }

    async fn publish_one(&self, request: PublishRequest) -> Result<PublishResponse, Status> {
        let publication = request::single(request, self.names(), Place::Whole)?;
        let (channel, receipts) = self.publish_now(publication).await?;
        Ok(Responder::new(channel).respond(only(&receipts)?))
    }

    async fn publish_together(&self, request: PublishBatchRequest) -> Result<PublishBatchResponse, Status> {
        let publication = request::batch(request, self.names())?;
        let (channel, receipts) = self.publish_now(publication).await?;
        let mut responder = Responder::new(channel);
        let responses = receipts.iter().map(|receipt| responder.respond(receipt)).collect();
        Ok(PublishBatchResponse { responses })
    }

    async fn publish_now(&self, publication: Publication) -> Result<(ChannelName, Vec<Receipt>), Status> {
        if self.0.shutdown.is_cancelled() {
            return Err(status::draining(Call::Publish));
        }
        let (channel, published) = self.start(publication);
        let receipts = published.await.map_err(|error| status::from_broker(error, Call::Publish))?;
        Ok((channel, receipts))
    }
}

/// Makes the answers of messages that were published together: mostly they have all but the sequence in common.
pub(crate) struct Responder {
    channel: ChannelName,
    hash: u64,
    series: Option<(Epoch, cursor::Series)>,
}

impl Responder {
    pub(crate) fn new(channel: ChannelName) -> Self {
        Self { hash: cursor::channel_hash(channel.as_str()), channel, series: None }
    }

    /// A receipt for the client, and a line in the log for who looks for it.
    pub(crate) fn respond(&mut self, receipt: &Receipt) -> PublishResponse {
        let Receipt { id, epoch, sequence, time_ms, duplicate, replicas } = *receipt;
        tracing::debug!(channel = %self.channel, %id, sequence, %epoch, duplicate, "published");
        let series = match self.series.take_if(|(of, _)| *of == epoch) {
            Some(series) => series,
            None => (epoch, cursor::Series::new(self.hash, Some(epoch))),
        };
        let (_, cursors) = self.series.insert(series);
        PublishResponse {
            message_id: id.hyphenated().to_string(),
            channel: self.channel.as_str().to_owned(),
            publish_time: Some(pb::timestamp(time_ms)),
            sequence,
            epoch: epoch.to_string(),
            cursor: cursors.text_at(sequence),
            duplicate,
            replicas: i32::try_from(replicas).unwrap_or(i32::MAX),
        }
    }
}

/// The code that an answer has.
pub(crate) fn code<T>(answer: &Result<T, Status>) -> Code {
    answer.as_ref().map_or_else(Status::code, |_| Code::Ok)
}

/// The receipt of a single message.
pub(crate) fn only(receipts: &[Receipt]) -> Result<&Receipt, Status> {
    receipts.first().ok_or_else(|| {
        tracing::error!("the broker gave no receipt for a message that it published");
        status::internal()
    })
}

#[tonic::async_trait]
impl PublisherService for Publisher {
    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let counted = Publish::begin(1);
        let answer = self.publish_one(request.into_inner()).await;
        counted.end(code(&answer));
        answer.map(Response::new)
    }

    async fn publish_batch(
        &self,
        request: Request<PublishBatchRequest>,
    ) -> Result<Response<PublishBatchResponse>, Status> {
        let request = request.into_inner();
        let counted = Publish::begin(request.requests.len());
        let answer = self.publish_together(request).await;
        counted.end(code(&answer));
        answer.map(Response::new)
    }

    type PublishStreamStream = Answers;

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let timeout = deadline::of(request.metadata().as_ref());
        let ending = Ending::of(request.extensions(), &self.0.shutdown);
        Ok(Response::new(Answers::new(self.clone(), request.into_inner(), ending, timeout)))
    }
}

#[cfg(test)]
mod tests {
    use tidings::{
        broker::Receipt,
        channel::Names,
        cursor,
        message::{Epoch, Position},
    };
    use uuid::Uuid;

    use super::Responder;

    #[test]
    fn an_answer_has_the_epoch_and_the_cursor_of_its_own_receipt() {
        let channel = Names::new("tidings", "").and_then(|names| names.parse("orders")).expect("valid");
        let mut responder = Responder::new(channel.clone());
        // A repeat is told with the receipt that it had in an epoch before.
        for (epoch, sequence) in [(1, 7), (1, 8), (2, 9), (1, 3)] {
            let epoch = Epoch::from_u64(epoch).expect("not 0");
            let id = Uuid::now_v7();
            let receipt = Receipt { id, epoch, sequence, time_ms: 0, duplicate: false, replicas: 0 };
            let answer = responder.respond(&receipt);
            assert_eq!((answer.message_id, answer.sequence), (id.to_string(), sequence));
            assert_eq!(answer.epoch, format!("{:016x}", epoch.as_u64()));
            assert_eq!(answer.cursor, cursor::encode(&channel, Position::new(epoch, sequence)));
        }
    }
}
