//! The operations: a request is checked, its drafts go to the broker, receipts come back. They know no protocol.

use prost::Message as _;
use tidings::{
    metrics,
    pb::{PublishBatchRequest, PublishRequest, PublishStreamRequest, PublishStreamResponse},
};
use tidings_transport::{
    CallContext,
    operation::{Bidirectional, Requests, Unary},
};
use tonic::Status;

use crate::{
    answer::{ReceiptOfOne, Receipts},
    publisher::{Publisher, charge},
    request::{self, RequestPath},
    stream::Answers,
};

/// `Publish`.
#[derive(Clone)]
pub(crate) struct Publish(pub(crate) Publisher);

impl Unary for Publish {
    type Request = PublishRequest;
    type Response = ReceiptOfOne;

    fn call(
        &self,
        context: CallContext,
        request: PublishRequest,
    ) -> impl Future<Output = Result<ReceiptOfOne, Status>> + Send + 'static {
        let counted = metrics::Publish::begin(1);
        let rights = context.caller().rights();
        let charged = charge(&context, 1, || request.encoded_len());
        let checked = charged
            .and_then(|()| request::single(request, self.0.terms(context.caller(), &rights), RequestPath::Whole));
        self.0.publish(&context, checked, counted, ReceiptOfOne::new)
    }
}

/// `PublishBatch`.
#[derive(Clone)]
pub(crate) struct PublishBatch(pub(crate) Publisher);

impl Unary for PublishBatch {
    type Request = PublishBatchRequest;
    type Response = Receipts;

    fn call(
        &self,
        context: CallContext,
        request: PublishBatchRequest,
    ) -> impl Future<Output = Result<Receipts, Status>> + Send + 'static {
        let counted = metrics::Publish::begin(request.requests.len());
        let rights = context.caller().rights();
        let charged = charge(&context, request.requests.len(), || request.encoded_len());
        let checked = charged.and_then(|()| request::batch(request, self.0.terms(context.caller(), &rights)));
        self.0.publish(&context, checked, counted, |responder, receipts| Ok(Receipts::new(responder, receipts)))
    }
}

/// `PublishStream`.
#[derive(Clone)]
pub(crate) struct PublishStream(pub(crate) Publisher);

impl Bidirectional for PublishStream {
    type Request = PublishStreamRequest;
    type Response = PublishStreamResponse;
    type Responses = Answers;

    fn open(&self, context: CallContext, requests: Requests<PublishStreamRequest>) -> Answers {
        Answers::new(self.0.clone(), requests, &context)
    }
}
