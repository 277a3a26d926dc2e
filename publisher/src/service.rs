//! `PublisherService`, as anyone who knows tonic reads it. Most calls take the fast paths ([`fast_path`](crate::fast_path),
//! [`RawStreams`](crate::stream::RawStreams)), which answer the same.

use futures_util::StreamExt as _;
use http::StatusCode;
use prost::Message as _;
use tidings::{
    codec::Counting,
    metrics::Publish,
    pb::{
        PublishBatchRequest, PublishBatchResponse, PublishRequest, PublishResponse, PublishStreamRequest,
        PublishStreamResponse, publisher_service_server::PublisherService,
    },
};
use tidings_transport::{DrainSignal, deadline};
use tonic::{Request, Response, Status, Streaming, codec::Codec as _};

use crate::{
    answer::Responder,
    operation::Publisher,
    request::{self, Place},
    stream::{Answers, Taken},
};

/// The service.
#[derive(Clone)]
pub(crate) struct Service(pub(crate) Publisher);

#[tonic::async_trait]
impl PublisherService for Service {
    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let counted = Publish::begin(1);
        let checked = request::single(request.into_inner(), self.0.names(), Place::Whole);
        self.0.publish(checked, counted, Responder::response_of_one).await.map(Response::new)
    }

    async fn publish_batch(
        &self,
        request: Request<PublishBatchRequest>,
    ) -> Result<Response<PublishBatchResponse>, Status> {
        let request = request.into_inner();
        let counted = Publish::begin(request.requests.len());
        let checked = request::batch(request, self.0.names());
        self.0.publish(checked, counted, Responder::response_of_batch).await.map(Response::new)
    }

    type PublishStreamStream = Streaming<PublishStreamResponse>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let drain = DrainSignal::of(request.extensions(), self.0.shutdown());
        let timeout = deadline::of_call(&request);
        let requests = request.into_inner().map(|taken| {
            let taken = taken?;
            Ok(Taken { bytes: taken.encoded_len(), request: taken.request })
        });
        let answers = Answers::new(self.0.clone(), requests, drain, timeout);
        let decoder = Counting::<PublishStreamRequest, PublishStreamResponse>::default().decoder();
        Ok(Response::new(Streaming::new_response(decoder, answers, StatusCode::OK, None, None)))
    }
}
