//! `PublisherService`, as anyone who knows tonic reads it: each RPC is an operation. Most calls take a fast path to the
//! same operations, past this file and the generated code: [`Service::methods`] is their table.

use tidings::{
    limits::DECODE_BYTES,
    pb::{
        PublishBatchRequest, PublishBatchResponse, PublishRequest, PublishResponse, PublishStreamRequest,
        PublishStreamResponse,
        publisher_service_server::{PublisherService, PublisherServiceServer},
    },
};
use tidings_transport::{
    Method, Permission,
    operation::{self, Decoded},
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    operation::{Publish, PublishBatch, PublishStream},
    publisher::Publisher,
};

/// The service.
#[derive(Clone)]
pub(crate) struct Service {
    publish: Publish,
    publish_batch: PublishBatch,
    publish_stream: PublishStream,
}

impl Service {
    pub(crate) fn new(publisher: Publisher) -> Self {
        Self {
            publish: Publish(publisher.clone()),
            publish_batch: PublishBatch(publisher.clone()),
            publish_stream: PublishStream(publisher),
        }
    }

    /// The table of its methods.
    pub(crate) fn methods(&self) -> [Method; 3] {
        [
            Method::unary("/tidings.v1.PublisherService/Publish", Permission::Publish, self.publish.clone())
                .with_fast_path(),
            Method::unary("/tidings.v1.PublisherService/PublishBatch", Permission::Publish, self.publish_batch.clone())
                .with_fast_path(),
            Method::bidirectional(
                "/tidings.v1.PublisherService/PublishStream",
                Permission::Publish,
                self.publish_stream.clone(),
            )
            .with_fast_path(),
        ]
    }

    /// What the code generator makes of it.
    pub(crate) fn into_server(self) -> PublisherServiceServer<Self> {
        PublisherServiceServer::new(self).max_decoding_message_size(DECODE_BYTES)
    }
}

#[tonic::async_trait]
impl PublisherService for Service {
    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        operation::unary(&self.publish, request).await
    }

    async fn publish_batch(
        &self,
        request: Request<PublishBatchRequest>,
    ) -> Result<Response<PublishBatchResponse>, Status> {
        operation::unary(&self.publish_batch, request).await
    }

    type PublishStreamStream = Decoded<PublishStreamResponse>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        operation::bidirectional(&self.publish_stream, request)
    }
}
