//! `Publish` and `PublishBatch` as most clients call them, past the code generator: a message in, a receipt out, as bytes. The
//! root crate decides which calls come here (`server::FastPath`); the same is done for all others by [`service`](crate::service).

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tidings::{
    broker::Receipt,
    codec,
    metrics::Publish,
    pb::PublishBatchRequest,
    status::{self, Call},
};
use tidings_transport::FastPath;
use tonic::Status;

use crate::{
    answer::Responder,
    request::{self, Place},
    service::{Publisher, Started, code},
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
        let publication = request.and_then(|request| request::single(request, self.0.names(), Place::Whole));
        let started = publication.and_then(|publication| self.0.start_unless_draining(publication));
        Some(Box::pin(finish(started, counted, Responder::frame_of_one)))
    }
}

impl FastPath for Together {
    fn answer(&self, message: Bytes) -> Option<BoxFuture<'static, Result<Bytes, Status>>> {
        let request = codec::decode::<PublishBatchRequest>(message);
        let counted = Publish::begin(request.as_ref().map_or(1, |batch| batch.requests.len()));
        let publication = request.and_then(|request| request::batch(request, self.0.names()));
        let started = publication.and_then(|publication| self.0.start_unless_draining(publication));
        Some(Box::pin(finish(started, counted, Responder::frame_of_batch)))
    }
}

/// Waits for the receipts and writes the answer.
async fn finish(
    started: Result<Started, Status>,
    counted: Publish,
    write: fn(Responder, &[Receipt]) -> Result<Bytes, Status>,
) -> Result<Bytes, Status> {
    let answer = match started {
        Ok((channel, published)) => match published.await {
            Ok(receipts) => write(Responder::new(channel), &receipts),
            Err(error) => Err(status::from_broker(error, Call::Publish)),
        },
        Err(status) => Err(status),
    };
    counted.end(code(&answer));
    answer
}
