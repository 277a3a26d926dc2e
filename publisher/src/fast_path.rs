//! The fast paths of `Publish` and `PublishBatch`, past the code generator: a message in, a receipt out, as bytes. The transport decides
//! which calls take them ([`FastPath`]); the same is done for all others by [`service`](crate::service).

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tidings::{codec, metrics::Publish, pb::PublishBatchRequest};
use tidings_transport::FastPath;
use tonic::Status;

use crate::{
    answer::Responder,
    operation::Publisher,
    request::{self, Place},
};

/// `Publish`.
pub(crate) struct Single(Publisher);

/// `PublishBatch`.
pub(crate) struct Together(Publisher);

impl Single {
    pub(crate) const PATH: &str = "/tidings.v1.PublisherService/Publish";

    pub(crate) fn new(publisher: Publisher) -> Self {
        Self(publisher)
    }
}

impl Together {
    pub(crate) const PATH: &str = "/tidings.v1.PublisherService/PublishBatch";

    pub(crate) fn new(publisher: Publisher) -> Self {
        Self(publisher)
    }
}

impl FastPath for Single {
    fn answer(&self, message: Bytes) -> Option<BoxFuture<'static, Result<Bytes, Status>>> {
        let counted = Publish::begin(1);
        let request = codec::decode(message);
        let checked = request.and_then(|request| request::single(request, self.0.names(), Place::Whole));
        Some(Box::pin(self.0.publish(checked, counted, Responder::frame_of_one)))
    }
}

impl FastPath for Together {
    fn answer(&self, message: Bytes) -> Option<BoxFuture<'static, Result<Bytes, Status>>> {
        let request = codec::decode::<PublishBatchRequest>(message);
        let counted = Publish::begin(request.as_ref().map_or(1, |batch| batch.requests.len()));
        let checked = request.and_then(|request| request::batch(request, self.0.names()));
        Some(Box::pin(self.0.publish(checked, counted, Responder::frame_of_batch)))
    }
}
