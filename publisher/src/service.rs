//! `PublisherService`, as anyone who knows tonic reads it: drafts go to the broker, receipts come back. Most calls take the fast paths
//! ([`fast_path`](crate::fast_path), [`RawStreams`](crate::stream::RawStreams)), which answer the same.

use std::sync::Arc;

use futures_util::{StreamExt as _, future::BoxFuture};
use http::StatusCode;
use prost::Message as _;
use tidings::{
    broker::{self, Published, Receipt},
    channel::{ChannelName, Names},
    codec::Counting,
    metrics::Publish,
    pb::{
        PublishBatchRequest, PublishBatchResponse, PublishRequest, PublishResponse, PublishStreamRequest,
        PublishStreamResponse, publisher_service_server::PublisherService,
    },
    status::{self, Call},
};
use tidings_transport::{DrainSignal, deadline};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming, codec::Codec as _};

use crate::{
    answer::{Responder, only},
    request::{self, Place, Publication},
    stream::{Answers, Taken},
};

/// A channel, and what will become of the messages that were handed to the broker for it.
pub(crate) type Started = (ChannelName, BoxFuture<'static, Published>);

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

    /// Cancelled when the server stops.
    pub(crate) fn shutdown(&self) -> &CancellationToken {
        &self.0.shutdown
    }

    pub(crate) fn names(&self) -> &Names {
        &self.0.names
    }

    /// Takes the messages' place in their channel's order, now; what it answers need only be awaited.
    pub(crate) fn start(&self, publication: Publication) -> Started {
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

    /// The same, unless the server stops.
    pub(crate) fn start_unless_draining(&self, publication: Publication) -> Result<Started, Status> {
        if self.0.shutdown.is_cancelled() {
            return Err(status::draining(Call::Publish));
        }
        Ok(self.start(publication))
    }

    async fn publish_now(&self, publication: Publication) -> Result<(ChannelName, Vec<Receipt>), Status> {
        let (channel, published) = self.start_unless_draining(publication)?;
        let receipts = published.await.map_err(|error| status::from_broker(error, Call::Publish))?;
        Ok((channel, receipts))
    }
}

/// The code that an answer has.
pub(crate) fn code<T>(answer: &Result<T, Status>) -> Code {
    answer.as_ref().map_or_else(Status::code, |_| Code::Ok)
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

    type PublishStreamStream = Streaming<PublishStreamResponse>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let drain = DrainSignal::of(request.extensions(), self.shutdown());
        let timeout = deadline::of_call(&request);
        let requests = request.into_inner().map(|taken| {
            let taken = taken?;
            Ok(Taken { bytes: taken.encoded_len(), request: taken.request })
        });
        let answers = Answers::new(self.clone(), requests, drain, timeout);
        let decoder = Counting::<PublishStreamRequest, PublishStreamResponse>::default().decoder();
        Ok(Response::new(Streaming::new_response(decoder, answers, StatusCode::OK, None, None)))
    }
}
